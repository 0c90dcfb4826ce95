//! A disk that is full ends the job with one clear line; with room again, the next run goes on and nothing is lost.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::env;
use std::fs;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::{Command, Output};

use support::{KEY, assert_same_tables, run_file, shown, succeed, write_events};

/// Runs a script where a small disk of its own can be mounted; `None`, said past the test's capture, where the system
/// does not let us. `THALWEG_REQUIRE_SMALL_DISK=1` makes that a failure.
fn on_a_small_disk(folder: &Path, script: &str) -> Option<Output> {
    let mount =
        format!("mount -t tmpfs -o size=60m tmpfs '{}' || exit 77; {script}", folder.display());
    let output = Command::new("unshare").args(["-rm", "sh", "-c", &mount]).output();
    let ran = output.ok().filter(|output| {
        let began = output.status.success() || !output.stdout.is_empty();
        began && output.status.code() != Some(77)
    });
    let required = env::var("THALWEG_REQUIRE_SMALL_DISK").is_ok_and(|required| required == "1");
    assert!(
        ran.is_some() || !required,
        "THALWEG_REQUIRE_SMALL_DISK=1, but none can be mounted here"
    );
    if ran.is_none() {
        drop(writeln!(
            stderr(),
            "\n*** SKIPPED full_disk: no small disk can be mounted here ***\n"
        ));
    }
    ran
}

/// Of a script: runs the job in the folder `data` of the disk, and says how it ended.
fn run(config: &Path, input: &Path) -> String {
    format!(
        "export THALWEG_PHI_KEY={KEY} RUST_BACKTRACE=0
         run() {{ '{binary}' run --quiet --config '{config}' --data-dir data --input '{input}' \"$@\" 2> errors; echo code $?; grep -c -F 'error: ' errors; grep -F 'error: ' errors; }}",
        binary = env!("CARGO_BIN_EXE_healthcare"),
        config = config.display(),
        input = input.display(),
    )
}

#[test]
fn a_full_disk_is_told_and_the_job_goes_on_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, 30_000, 51);
    let calm = folder.path().join("calm");
    succeed(&mut run_file(&calm, &input));
    let (disk, kept) = (folder.path().join("disk"), folder.path().join("kept"));
    fs::create_dir(&disk).unwrap();
    let config = folder.path().join("config.toml");
    fs::write(&config, "[runtime]\nrestart_attempts = 1\n").unwrap();
    let script = format!(
        "{run}; cd '{disk}'; head -c 54M /dev/zero > filler; run; rm filler; run; cp -r data '{kept}'",
        run = run(&config, &input),
        disk = disk.display(),
        kept = kept.display(),
    );
    let Some(output) = on_a_small_disk(&disk, &script) else { return };
    let told = shown(&output);
    assert!(told.contains("code 1\n1\nerror: ") && told.contains("the disk is full"), "{told}");
    assert!(told.contains("code 0\n0\n"), "{told}");
    assert_same_tables(&calm, &kept);
}

/// Fills a small disk below the reserve between two runs; `prepared` by a line of the script.
fn below_the_reserve(seed: u64, folder: &Path, prepared: &str) -> Option<String> {
    let input = folder.join("events.jsonl");
    write_events(&input, 30_000, seed);
    let calm = folder.join("calm");
    succeed(&mut run_file(&calm, &input));
    let (disk, kept) = (folder.join("disk"), folder.join("kept"));
    fs::create_dir(&disk).unwrap();
    let config = folder.join("config.toml");
    fs::write(&config, "[runtime]\ndisk_reserve = \"8MiB\"\n").unwrap();
    // 6 MiB are left for the second run.
    let script = format!(
        "{run}; cd '{disk}'; {prepared}; run --events 10000
         head -c $(($(df -k --output=avail . | tail -n 1) - 6144))K /dev/zero > filler
         run; rm filler; run; cp -r data '{kept}'",
        run = run(&config, &input),
        disk = disk.display(),
        kept = kept.display(),
    );
    let told = shown(&on_a_small_disk(&disk, &script)?);
    assert!(told.contains("code 1\n1\nerror: "), "{told}");
    assert!(told.contains("MiB left, less than disk_reserve, 8.0 MiB: free some space"), "{told}");
    assert!(!told.contains("the disk is full"), "{told}");
    assert_eq!(told.matches("code 0\n0\n").count(), 2, "{told}");
    assert_same_tables(&calm, &kept);
    Some(told)
}

#[test]
fn a_disk_with_less_than_the_reserve_ends_the_job_before_it_is_full_and_with_room_the_job_goes_on()
{
    let folder = tempfile::tempdir().unwrap();
    below_the_reserve(52, folder.path(), "true");
}

#[test]
fn a_disk_of_tables_alone_has_the_reserve_too() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("checkpoints");
    fs::create_dir(&elsewhere).unwrap();
    let apart = format!("mkdir data; ln -s '{}' data/checkpoints", elsewhere.display());
    let Some(told) = below_the_reserve(53, folder.path(), &apart) else { return };
    let table = format!("the disk of {}/data/", folder.path().join("disk").display());
    assert!(told.contains(&table), "{told}");
}
