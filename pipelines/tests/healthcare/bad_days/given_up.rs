//! A checkpoint that was decided and can never be committed: a person gives its rows up.

use std::fs;

use super::{checkpoints, small, written};

use crate::support::{count, fail, run_file, shown, succeed};

/// A job that died behind a decided checkpoint, and whose files for `sinks` are gone: the checkpoint, and the rows that
/// wait for the first of them.
fn undecidable(data: &std::path::Path, input: &std::path::Path, sinks: &[&str]) -> (String, u64) {
    let died = run_file(data, input).env("FAILPOINTS", "manifest.after=return(exit)").output();
    assert_eq!(died.unwrap().status.code(), None);
    let inspect = succeed(checkpoints(data).arg("inspect"));
    let manifest: serde_json::Value = serde_json::from_str(&inspect).unwrap();
    let waits = |sink: &str| {
        let all = manifest["pending"].as_array().unwrap();
        all.iter().find(|p| p["sink"] == sink).unwrap().clone()
    };
    for sink in sinks {
        let pending = waits(sink);
        let file = pending["staged"][0]["path"].as_str().unwrap();
        fs::remove_file(data.join(pending["path"].as_str().unwrap()).join(file)).unwrap();
    }
    (manifest["number"].to_string(), waits(sinks[0])["rows"].as_u64().unwrap())
}

#[test]
fn rows_that_cannot_be_committed_are_given_up_by_a_person_only() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (small(folder.path()), folder.path().join("data"));
    let (number, rows) = undecidable(&data, &input, &["silver"]);
    let told = fail(&mut run_file(&data, &input));
    assert!(told.contains("checkpoints resolve") && told.contains("silver"), "{told}");

    let resolve = |sink: &str, void: &str| {
        let mut command = checkpoints(&data);
        command.args(["resolve", "--sink", sink, "--void", void]);
        command
    };
    let wrong = fail(&mut resolve("silver", "77"));
    assert!(wrong.contains("not the newest"), "{wrong}");
    let told = succeed(&mut resolve("silver", &number));
    assert!(told.contains(&format!("{rows} rows in 1 files")), "{told}");
    assert_eq!(succeed(&mut resolve("silver", &number)), told, "asked again");
    let about = format!("silver_events checkpoint/{number}");
    let expected = [
        ("begun".to_owned(), "checkpoint/77".to_owned(), 0),
        ("failed".to_owned(), "checkpoint/77".to_owned(), 0),
        ("begun".to_owned(), about.clone(), rows),
        ("done".to_owned(), about, rows),
    ];
    assert_eq!(written(&data, "resolve")[..4], expected);
    let wrong = fail(&mut resolve("bronze", &number));
    assert!(wrong.contains("committed to table bronze/events already"), "{wrong}");
    succeed(&mut run_file(&data, &input));
    assert_eq!(count(&data, "silver/events"), 0);
    assert_eq!(count(&data, "bronze/events"), 2_000);
    succeed(checkpoints(&data).arg("verify"));
}

#[test]
fn giving_rows_up_may_die_anywhere_and_go_on_by_itself_or_when_asked_again() {
    for (died_at, again) in [
        ("recover.opened", false),
        ("commit.before", true),
        ("entry.after", false),
        ("cut.before", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (input, data) = (small(folder.path()), folder.path().join("data"));
        let (number, _) = undecidable(&data, &input, &["silver"]);
        let resolve = || {
            let mut command = checkpoints(&data);
            command.args(["resolve", "--sink", "silver", "--void", &number]);
            command
        };
        let died = resolve().env("FAILPOINTS", format!("{died_at}=return(exit)")).output().unwrap();
        assert_eq!(died.status.code(), None, "{died_at}: {}", shown(&died));
        if again {
            succeed(&mut resolve());
        }
        succeed(&mut run_file(&data, &input));
        let counts = (count(&data, "silver/events"), count(&data, "bronze/events"));
        assert_eq!(counts, (0, 2_000), "{died_at}");
        succeed(checkpoints(&data).arg("verify"));
    }
}

#[test]
fn rows_of_two_tables_are_given_up_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (small(folder.path()), folder.path().join("data"));
    let (number, _) = undecidable(&data, &input, &["silver", "bronze"]);
    let resolve = |sink: &str| {
        let mut command = checkpoints(&data);
        command.args(["resolve", "--sink", sink, "--void", &number]);
        command
    };
    let told = fail(&mut resolve("silver"));
    assert!(told.contains("sink `bronze`"), "{told}");
    succeed(&mut resolve("bronze"));
    succeed(&mut run_file(&data, &input));
    assert_eq!((count(&data, "silver/events"), count(&data, "bronze/events")), (0, 0));
    assert!(count(&data, "gold/kpis") > 0);
    succeed(checkpoints(&data).arg("verify"));
}
