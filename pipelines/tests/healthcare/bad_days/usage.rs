//! Wrong usage, which nobody need try again, has an exit code of its own.

use std::fs;

use crate::support::{self, healthcare, misuse, run_file};

#[test]
fn wrong_usage_is_exit_code_two() {
    for arguments in [
        &["run", "--no-such-flag"][..],
        &["run", "--input", "a", "--bootstrap-servers", "b"],
        &["run", "--topic", "t"],
        &["run", "--parallelism", "0"],
        &["run", "--parallelism", "129"],
        &["run", "--checkpoint-interval", "0s"],
        &["produce"],
        &["alerts", "acknowledge", "7/heart-rate-high/1764018000000000", "--by", "Joy"],
        &[],
    ] {
        let output = healthcare().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", support::shown(&output));
    }
}

#[test]
fn settings_that_are_wrong_are_wrong_usage_of_every_command_that_has_them() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("data/checkpoints")).unwrap();
    let alert = "7/heart-rate-high/1764018000000000";
    let wrong = |arguments: &[&str]| {
        let mut command = healthcare();
        misuse(command.args(arguments).args(["--config", "wrong.toml"]).current_dir(folder.path()))
    };
    fs::write(folder.path().join("wrong.toml"), "[kafka]\nno_such_setting = 1\n").unwrap();
    for arguments in [
        &["run"][..],
        &["produce"],
        &["graph"],
        &["alerts", "acknowledge", alert, "--by", "Joy"],
        &["checkpoints", "verify"],
        &["serve", "--http", "127.0.0.1:0"],
    ] {
        let told = wrong(arguments);
        assert!(told.contains("wrong.toml"), "{arguments:?}: {told}");
    }
    // Each setting by itself could be right.
    let settings = "[kafka]\nbootstrap_servers = 'h:1'\n[mirror]\ntopic = 'healthcare_events'\n";
    fs::write(folder.path().join("wrong.toml"), settings).unwrap();
    for arguments in [&["run"][..], &["graph"], &["checkpoints", "verify"]] {
        let told = wrong(arguments);
        assert!(told.contains("cannot be read and hold"), "{arguments:?}: {told}");
    }
    for (arguments, why) in [
        (&["checkpoints", "list", "--data-dir", "elsewhere"][..], "there are no checkpoints"),
        (&["alerts", "acknowledge", "7", "--by", "Joy"], "an alert is named"),
    ] {
        let told = misuse(healthcare().args(arguments).current_dir(folder.path()));
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn a_file_that_has_no_lines_is_wrong_usage_and_nothing_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (folder.path().join("events.jsonl.gz"), folder.path().join("data"));
    for (bytes, told) in [(Some(b"\x1f\x8b\x08\0"), "(gunzip)"), (None, "does not exist")] {
        match bytes {
            Some(bytes) => fs::write(&input, bytes).unwrap(),
            None => fs::remove_file(&input).unwrap(),
        }
        let said = misuse(&mut run_file(&data, &input));
        assert!(said.contains(told), "{said}");
        assert!(!data.exists());
    }
}
