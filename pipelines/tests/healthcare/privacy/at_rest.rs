//! At rest: the files of a run, what it and maintenance say, and decoded columns.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{SECRETS, has, misplaced};

use crate::support::{TABLES, ends_with, healthcare, rows, run_file, shown, succeed, write_events};

fn files_below(folder: &Path, all: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, all) } else { all.push(path) }
    }
}

#[test]
fn no_identity_value_reaches_a_disk_or_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, 200_000, 31);
    // In front, so that they are no late ones and in state when it stops: half of all is read by then.
    let told: Vec<String> =
        misplaced(7, &[0, 10]).iter().map(|event| format!("{event}\n")).collect();
    let events = told.concat() + &fs::read_to_string(&input).unwrap();
    fs::write(&input, events).unwrap();
    let original = fs::read_to_string(&input).unwrap();
    assert!(SECRETS.iter().all(|s| original.contains(s)), "the secrets are there to be found");
    let data = folder.path().join("data");
    // Stopped with open windows, so that state is on disk; everything is logged.
    let mut command = run_file(&data, &input);
    command.args(["--checkpoint-interval", "30ms", "--events", "100000"]);
    let stopped = command.env("THALWEG_LOG", "trace").output().unwrap();
    assert!(stopped.status.success(), "{}", shown(&stopped));
    let state = data.join("checkpoints/state");
    assert!(fs::read_dir(&state).unwrap().next().is_some(), "operator state is there");
    let finished = run_file(&data, &input).env("THALWEG_LOG", "trace").output().unwrap();
    assert!(finished.status.success(), "{}", shown(&finished));

    // Merged files and what the log tells of them are looked at, too; the old ones stay.
    let mut maintain = healthcare();
    maintain.args(["maintain", "--min-files", "2", "--data-dir"]).arg(&data);
    let maintained = maintain.env("THALWEG_LOG", "trace").output().unwrap();
    assert!(maintained.status.success(), "{}", shown(&maintained));

    let mut files = Vec::new();
    files_below(&data, &mut files);
    let mut haystacks: Vec<(String, Vec<u8>)> =
        files.iter().map(|p| (p.display().to_string(), fs::read(p).unwrap())).collect();
    for (name, output) in
        [("first run", &stopped), ("second run", &finished), ("maintenance", &maintained)]
    {
        haystacks.push((format!("standard output of the {name}"), output.stdout.clone()));
        haystacks.push((format!("standard error of the {name}"), output.stderr.clone()));
    }
    for table in TABLES {
        let text: String = rows(&data, table).into_keys().collect();
        haystacks.push((format!("decoded columns of {table}"), text.into_bytes()));
    }
    for (place, bytes) in haystacks {
        for secret in SECRETS {
            assert!(!has(&bytes, secret), "{place} discloses part of an identity");
        }
    }
    let silver: String = rows(&data, "silver/events").into_keys().collect();
    assert!(silver.contains("Z*** Q***") && silver.contains("***-**-1"), "masked values are there");
}

/// The same command, of a user who shares every file.
fn sharing(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 000; exec \"$@\"", "sh"]).stdin(Stdio::null());
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// What group and others may do, with everything in a folder, by whoever may most.
fn shared(folder: &Path) -> u32 {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077;
    let mut bits = mode(folder);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bits |= if path.is_dir() { shared(&path) } else { mode(&path) };
    }
    bits
}

#[test]
fn nobody_but_the_owner_may_read_what_a_run_or_a_report_has_written() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, 2_000, 37);
    for (mask, allowed) in [(None, 0), (Some("027"), 0o050), (Some("007"), 0o070)] {
        let place = folder.path().join(mask.unwrap_or("default"));
        let (data, reports) = (place.join("data"), place.join("reports"));
        let mut report = healthcare();
        report.args(["report", "--date", "2025-11-24", "--data-dir"]).arg(&data);
        report.arg("--out").arg(&reports);
        for mut command in [run_file(&data, &input), report] {
            if let Some(mask) = mask {
                command.env("THALWEG_UMASK", mask);
            }
            succeed(&mut sharing(&command));
        }
        assert!(fs::read_dir(data.join("silver/events")).unwrap().next().is_some());
        assert!(fs::read_dir(&reports).unwrap().next().is_some());
        assert_eq!((shared(&data), shared(&reports)), (allowed, allowed), "{mask:?}");
    }
    let data = folder.path().join("none");
    let output = ends_with(run_file(&data, &input).env("THALWEG_UMASK", "u=rwx"), 2);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("THALWEG_UMASK"),
        "{}",
        shown(&output)
    );
    assert!(!data.exists());
}

#[test]
fn a_file_with_a_secret_that_others_may_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("data"), folder.path().join("config.toml"));
    fs::create_dir(&data).unwrap();
    fs::write(&config, "[kafka.properties]\nsasl.password = \"hunter2\"\n").unwrap();
    for (mode, warned) in [(0o600, false), (0o640, true), (0o644, true)] {
        fs::set_permissions(&config, fs::Permissions::from_mode(mode)).unwrap();
        let mut monitor = healthcare();
        monitor.args(["monitor", "--data-dir"]).arg(&data).arg("--config").arg(&config);
        let output = monitor.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(told.contains("sasl.password"), warned, "{mode:o}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
