//! What goes wrong on bad days has a clear outcome: one line, exit code 1, nothing half-done.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod given_up;
mod rejected;
mod spelled;
mod usage;

use std::fs;
use std::io::Write;

use crate::support::{
    self, count, data_files, fail, healthcare, misuse, run_file, start, succeed, table_log,
    wait_until, write_events,
};

pub(crate) fn small(folder: &std::path::Path) -> std::path::PathBuf {
    let input = folder.join("events.jsonl");
    write_events(&input, 2_000, 21);
    input
}

/// A run with settings of its own, in a file beside the data folder.
pub(crate) fn with_settings(
    data: &std::path::Path,
    input: &std::path::Path,
    settings: &str,
) -> std::process::Command {
    let config = data.with_extension("toml");
    fs::write(&config, settings).unwrap();
    let mut command = run_file(data, input);
    command.arg("--config").arg(config);
    command
}

pub(crate) fn checkpoints(data: &std::path::Path) -> std::process::Command {
    let mut command = healthcare();
    command.args(["checkpoints", "--data-dir"]).arg(data);
    command
}

/// How the entries of the audit log about an action ended, what they are about, and with how many rows.
pub(crate) fn written(data: &std::path::Path, action: &str) -> Vec<(String, String, u64)> {
    let log = fs::read_to_string(data.with_extension("audit.jsonl")).unwrap_or_default();
    let entries = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let entries = entries.filter(|entry| entry["action"] == action);
    let told = |entry: serde_json::Value| {
        let about = [&entry["kind"], &entry["tables"][0], &entry["places"][0]];
        let about: Vec<&str> = about.into_iter().filter_map(|text| text.as_str()).collect();
        let outcome = entry["outcome"].as_str().unwrap().to_owned();
        (outcome, about.join(" "), entry["rows"].as_u64().unwrap())
    };
    entries.map(told).collect()
}

#[test]
fn a_chain_that_is_begun_anew_is_written_down_and_one_that_goes_on_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (small(folder.path()), folder.path().join("data"));
    succeed(&mut run_file(&data, &input));
    succeed(&mut run_file(&data, &input));
    assert!(written(&data, "chain").is_empty());
    succeed(run_file(&data, &input).arg("--fresh"));
    succeed(run_file(&data, &input).args(["--fresh", "--adopt-tables"]));
    let outcome = |text: &str, about: &str| (text.to_owned(), about.to_owned(), 0_u64);
    let expected = ["fresh", "fresh_adopt"]
        .into_iter()
        .flat_map(|about| [outcome("begun", about), outcome("done", about)]);
    assert_eq!(written(&data, "chain"), expected.collect::<Vec<_>>());
}

#[test]
fn the_same_finished_input_again_does_nothing_and_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (small(folder.path()), folder.path().join("data"));
    succeed(&mut run_file(&data, &input));
    let files = data_files(&data.join("silver/events"));
    let again = succeed(&mut run_file(&data, &input));
    assert!(again.starts_with("finished: 2000 events"), "{again}");
    assert_eq!(data_files(&data.join("silver/events")), files);
}

#[test]
fn death_behind_the_last_manifest_leaves_a_finished_job() {
    let folder = tempfile::tempdir().unwrap();
    let (input, calm) = (small(folder.path()), folder.path().join("calm"));
    succeed(&mut run_file(&calm, &input));
    for step in ["manifest.after", "commit.after", "cut.before"] {
        let data = folder.path().join(step);
        // One checkpoint has it all.
        let mut run = run_file(&data, &input);
        let died = run.env("FAILPOINTS", format!("{step}=return(exit)")).output().unwrap();
        assert_eq!(died.status.code(), None, "{step}");
        assert!(succeed(checkpoints(&data).arg("inspect")).contains("\"finished\": true"));
        let again = succeed(&mut run_file(&data, &input));
        assert!(again.starts_with("finished: 2000 events"), "{again}");
        support::assert_same_tables(&calm, &data);
    }
}

#[test]
fn a_grown_a_replaced_and_a_missing_input_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (small(folder.path()), folder.path().join("data"));
    succeed(&mut run_file(&data, &input));
    let mut file = fs::OpenOptions::new().append(true).open(&input).unwrap();
    writeln!(file, "{{}}").unwrap();
    assert!(fail(&mut run_file(&data, &input)).contains("grown"));
    let length = fs::metadata(&input).unwrap().len() as usize;
    fs::write(&input, vec![b'x'; length - 3]).unwrap();
    fail(&mut run_file(&data, &input));
    fs::remove_file(&input).unwrap();
    assert!(misuse(&mut run_file(&data, &input)).contains("does not exist"));
}

#[test]
fn a_second_process_on_the_same_folder_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (small(folder.path()), folder.path().join("data"));
    // It does not end before it is killed.
    let mut first = start(run_file(&data, &input).env("FAILPOINTS", "commit.before=sleep(600000)"));
    let manifest = data.join("checkpoints").join(format!("manifest-{:020}.json", 0));
    wait_until(&mut first, "the first manifest", || manifest.exists());
    let told = fail(&mut run_file(&data, &input));
    assert!(told.contains("another process"), "{told}");
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_damaged_checkpoint_stops_the_job_before_it_reads_anything() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, 200_000, 23);
    let data = folder.path().join("data");
    succeed(run_file(&data, &input).args(["--events", "100000", "--checkpoint-interval", "50ms"]));
    let rows = count(&data, "silver/events");
    let newest = |prefix: &str, folder: &std::path::Path| {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(prefix))
            .collect();
        names.sort();
        names.pop().unwrap()
    };
    let manifest = newest("manifest-", &data.join("checkpoints"));
    let intact = fs::read(&manifest).unwrap();
    fs::write(&manifest, &intact[..intact.len() / 2]).unwrap();
    assert!(fail(&mut run_file(&data, &input)).contains("damaged"));
    fs::write(&manifest, &intact).unwrap();
    let state = newest("0", &data.join("checkpoints/state"));
    let stored = fs::read(&state).unwrap();
    let mut flipped = stored.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&state, &flipped).unwrap();
    assert!(fail(&mut run_file(&data, &input)).contains("damaged"));
    fs::remove_file(&state).unwrap();
    let told = fail(&mut run_file(&data, &input));
    assert!(told.contains("is missing: restore the checkpoint folder"), "{told}");
    let told = fail(checkpoints(&data).arg("verify"));
    assert!(told.contains("is missing"), "{told}");
    fs::write(&state, &stored).unwrap();
    assert_eq!(count(&data, "silver/events"), rows, "nothing was written meanwhile");
    succeed(&mut run_file(&data, &input));
}

#[test]
fn another_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (small(folder.path()), folder.path().join("data"));
    // From a file that the first run makes beside the folder, readable by its owner alone.
    succeed(run_file(&data, &input).env_remove("THALWEG_PHI_KEY"));
    let file = folder.path().join("data.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    succeed(run_file(&data, &input).env_remove("THALWEG_PHI_KEY"));
    let told = fail(&mut run_file(&data, &input));
    assert!(told.contains("key"), "{told}");
    fs::remove_file(&file).unwrap();
    let told = fail(run_file(&data, &input).env_remove("THALWEG_PHI_KEY"));
    assert!(told.contains("key") && !file.exists(), "{told}");
}

#[test]
fn a_table_deleted_under_the_job_is_noticed_and_a_fresh_chain_makes_it_anew() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, 200_000, 24);
    let data = folder.path().join("data");
    succeed(run_file(&data, &input).args(["--events", "100000", "--checkpoint-interval", "50ms"]));
    fs::remove_dir_all(data.join("silver/events")).unwrap();
    let told = fail(&mut run_file(&data, &input));
    assert!(told.contains("silver/events") && told.contains("--fresh"), "{told}");
    let before = count(&data, "bronze/events");
    succeed(run_file(&data, &input).args(["--fresh", "--events", "10000"]));
    assert_eq!(count(&data, "bronze/events"), before + 10_000);
    let silver = count(&data, "silver/events");
    assert!((5_000..=10_000).contains(&silver), "{silver}");
    succeed(checkpoints(&data).arg("verify"));
}

#[test]
fn tables_that_no_checkpoint_knows_are_refused_unless_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (small(folder.path()), folder.path().join("data"));
    succeed(&mut run_file(&data, &input));
    fs::remove_dir_all(data.join("checkpoints")).unwrap();
    assert!(fail(&mut run_file(&data, &input)).contains("--adopt-tables"));
    let before = count(&data, "bronze/events");
    let summary = succeed(run_file(&data, &input).arg("--adopt-tables"));
    assert_eq!(count(&data, "bronze/events"), 2 * before);
    // What was there counts: the summary tells of all rows, and all rows are as they should be.
    let told = |line: &str| line.trim().starts_with("bronze ") && line.contains(" 4000 rows");
    assert!(summary.lines().any(told), "{summary}");
    let verified = succeed(checkpoints(&data).arg("verify"));
    assert!(verified.contains("as they should be"), "{verified}");
}

#[test]
fn tables_that_were_adopted_by_a_job_that_died_before_its_first_checkpoint_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (small(folder.path()), folder.path().join("data"));
    succeed(&mut run_file(&data, &input));
    fs::remove_dir_all(data.join("checkpoints")).unwrap();
    for step in ["recover.opened", "manifest.before"] {
        let mut run = run_file(&data, &input);
        run.arg("--adopt-tables").env("FAILPOINTS", format!("{step}=return(exit)"));
        assert_eq!(run.output().unwrap().status.code(), None, "{step}");
        let verified = succeed(checkpoints(&data).arg("verify"));
        assert!(verified.contains("as they should be"), "{step}: {verified}");
    }
    // The tables know the chain by now.
    succeed(&mut run_file(&data, &input));
    assert_eq!(count(&data, "bronze/events"), 4_000);
    let verified = succeed(checkpoints(&data).arg("verify"));
    assert!(verified.contains("as they should be"), "{verified}");
}

#[test]
fn a_fresh_chain_goes_on_in_the_same_tables() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (small(folder.path()), folder.path().join("data"));
    succeed(&mut run_file(&data, &input));
    succeed(run_file(&data, &input).arg("--fresh"));
    assert_eq!(count(&data, "bronze/events"), 4_000);
    let text = succeed(healthcare().args(["checkpoints", "--data-dir"]).arg(&data).arg("verify"));
    assert!(text.contains("as they should be"), "{text}");
}

/// A job over 40,000 events that was stopped after every 8,000 of the first 32,000: the newest checkpoint at each stop.
fn stopped_four_times(data: &std::path::Path, input: &std::path::Path) -> Vec<u64> {
    write_events(input, 40_000, 25);
    let stops = ["8000", "16000", "24000", "32000"].map(|events| {
        succeed(run_file(data, input).args(["--events", events]));
        inspected(data, None)["number"].as_u64().unwrap()
    });
    stops.to_vec()
}

fn inspected(data: &std::path::Path, number: Option<u64>) -> serde_json::Value {
    let mut command = checkpoints(data);
    command.arg("inspect").args(number.map(|number| number.to_string()));
    serde_json::from_str(&succeed(&mut command)).unwrap()
}

#[test]
fn checkpoints_can_be_listed_inspected_and_gone_back_to() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (folder.path().join("events.jsonl"), folder.path().join("data"));
    let stops = stopped_four_times(&data, &input);
    let list = succeed(checkpoints(&data).arg("list"));
    // Number and rows read, of each line; a kind of two words is none of these.
    let listed: Vec<(u64, u64)> = list
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter_map(|words| Some((words.first()?.parse().ok()?, words.get(2)?.parse().ok()?)))
        .collect();
    assert_eq!(listed.first(), Some(&(0, 0)), "{list}");
    assert_eq!(listed.last(), Some(&(stops[3], 32_000)), "{list}");
    for (stop, read) in stops.iter().zip([8_000, 16_000, 24_000, 32_000]) {
        assert!(listed.contains(&(*stop, read)), "{list}");
        let manifest = inspected(&data, Some(*stop));
        assert_eq!(manifest["number"], *stop);
        let sinks = manifest["sinks"].as_array().unwrap();
        let bronze = sinks.iter().find(|sink| sink["uid"] == "bronze").unwrap();
        assert_eq!(bronze["rows"], read);
    }
    let told = succeed(checkpoints(&data).args(["rewind", "--to", &stops[1].to_string()]));
    assert!(!table_log::told_to_restore(&told).is_empty(), "{told}");
    assert_eq!(inspected(&data, None)["kind"]["from"], stops[1]);
    let about = format!("checkpoint/{}", stops[1]);
    let expected = ["begun", "done"].map(|outcome| (outcome.to_owned(), about.clone(), 0_u64));
    assert_eq!(written(&data, "rewind"), expected);
    // The tables are left as they are: the rows between the two checkpoints are written once more, and no others.
    succeed(&mut run_file(&data, &input));
    assert_eq!(count(&data, "bronze/events"), 40_000 + 16_000);
    let parts = count(&data, "silver/events") + count(&data, "quarantine/events");
    assert_eq!(parts, 40_000 + 16_000);
    succeed(checkpoints(&data).arg("verify"));
}

#[test]
fn a_rewind_with_restored_tables_leaves_the_rows_of_an_undisturbed_run() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (folder.path().join("events.jsonl"), folder.path().join("data"));
    let stops = stopped_four_times(&data, &input);
    let told = succeed(checkpoints(&data).args(["rewind", "--to", &stops[1].to_string()]));
    let restores = table_log::told_to_restore(&told);
    assert!(restores.len() >= support::TABLES.len(), "{told}");
    for (table, version) in restores {
        table_log::restore(&data.join(table), version);
    }
    assert_eq!(count(&data, "bronze/events"), 16_000);
    succeed(&mut run_file(&data, &input));
    let calm = folder.path().join("calm");
    succeed(&mut run_file(&calm, &input));
    support::assert_same_tables(&calm, &data);
    succeed(checkpoints(&data).arg("verify"));
}

#[test]
fn too_little_memory_ends_the_job_with_one_line_and_a_higher_limit_goes_on_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, 100_000, 27);
    let (calm, data) = (folder.path().join("calm"), folder.path().join("limited"));
    succeed(&mut run_file(&calm, &input));
    let limited = "[runtime]\nmemory_limit = \"1MiB\"\ncheckpoint_interval = \"10ms\"\n";
    let told = fail(&mut with_settings(&data, &input, limited));
    assert!(told.contains("stayed above memory_limit, 1.0 MiB: raise it"), "{told}");
    succeed(&mut with_settings(&data, &input, "[runtime]\nmemory_limit = \"1TiB\"\n"));
    support::assert_same_tables(&calm, &data);
    succeed(checkpoints(&data).arg("verify"));
}

#[test]
fn transactions_shorter_than_the_time_between_checkpoints_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (small(folder.path()), folder.path().join("data"));
    let config = folder.path().join("healthcare.toml");
    fs::write(&config, "[mirror]\ntransaction_timeout = \"30s\"\n").unwrap();
    let mut run = run_file(&data, &input);
    run.args(["--mirror-topic", "silver", "--mirror-servers", "127.0.0.1:1", "--config"])
        .arg(config);
    let told = misuse(run.args(["--checkpoint-interval", "45s"]));
    assert!(told.contains("mirror.transaction_timeout must be at least 45s"), "{told}");
}

/// Every file below a folder, with its length and when it was last written.
fn standing(folder: &std::path::Path) -> std::collections::BTreeSet<String> {
    let mut all = std::collections::BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        if found.is_dir() {
            all.extend(standing(&entry.path()));
        }
        all.insert(format!(
            "{} {} {:?}",
            entry.path().display(),
            found.len(),
            found.modified().unwrap()
        ));
    }
    all
}

#[test]
fn a_demo_is_refused_where_a_job_reads_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (small(folder.path()), folder.path().join("data"));
    succeed(&mut run_file(&data, &input));
    let before = standing(folder.path());
    // What it reads was forgotten.
    let demo = |data: &std::path::Path| {
        let mut command = healthcare();
        command.args(["run", "--quiet", "--events", "100", "--data-dir"]).arg(data);
        command
    };
    for fresh in [&[] as &[&str], &["--fresh"]] {
        let told = fail(demo(&data).args(fresh));
        assert!(
            told.contains("holds a job that reads file `events.jsonl`: pass --input"),
            "{told}"
        );
        assert!(told.contains("or another --data-dir"), "{told}");
    }
    assert_eq!(standing(folder.path()), before);
    // A demo after a demo goes on with its tables, and none comes after a job of its own accord.
    let demos = folder.path().join("demos");
    for _ in 0..2 {
        succeed(&mut demo(&demos));
    }
    // Nor does a job go on where demos were, unless it is told to begin anew over their tables.
    let refused = run_file(&demos, &input).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", support::shown(&refused));
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("holds the demo's data, which are made up"), "{told}");
    assert!(told.contains("pass another --data-dir"), "{told}");
    succeed(run_file(&demos, &input).arg("--fresh"));
    assert!(fail(&mut demo(&demos)).contains("holds a job that reads file"));
}

#[test]
fn a_checkpoint_folder_from_an_old_backup_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, 100_000, 26);
    let data = folder.path().join("data");
    let (now, old) = (data.join("checkpoints"), folder.path().join("old"));
    succeed(run_file(&data, &input).args(["--events", "50000"]));
    assert!(
        std::process::Command::new("cp").arg("-r").args([&now, &old]).status().unwrap().success()
    );
    succeed(&mut run_file(&data, &input));
    fs::remove_dir_all(&now).unwrap();
    fs::rename(&old, &now).unwrap();
    let told = fail(&mut run_file(&data, &input));
    assert!(told.contains("old copy"), "{told}");
    // What the tables hold beyond it no checkpoint knows.
    let told = fail(run_file(&data, &input).arg("--fresh"));
    assert!(told.contains("--adopt-tables"), "{told}");
    let before = count(&data, "bronze/events");
    succeed(run_file(&data, &input).arg("--adopt-tables"));
    assert_eq!(count(&data, "bronze/events"), before + 100_000);
}
