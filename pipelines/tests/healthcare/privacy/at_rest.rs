//! At rest: the files of a run, what it and maintenance say, and decoded columns.

use std::fs;
use std::path::Path;

use super::{SECRETS, has};

use crate::support::{TABLES, healthcare, rows, run_file, shown, write_events};

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
