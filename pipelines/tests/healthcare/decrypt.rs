//! `healthcare decrypt` over a table of several files.

use std::fs;

use crate::support::{data_files, fail, healthcare, run_file, succeed, write_events};

#[test]
fn a_message_is_found_by_what_the_log_tells_and_files_without_it_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (folder.path().join("events.jsonl"), folder.path().join("data"));
    write_events(&input, 20_000, 5);
    succeed(run_file(&data, &input).args(["--events", "5000"]));
    let bronze = data.join("bronze/events");
    let first = data_files(&bronze);
    succeed(&mut run_file(&data, &input));
    let mut later = data_files(&bronze);
    later.retain(|file| !first.contains(file));
    assert!(!first.is_empty() && !later.is_empty(), "{} and {}", first.len(), later.len());
    for file in later {
        fs::write(file, "damaged").unwrap();
    }
    let decrypt = |offsets: &str| {
        let mut command = healthcare();
        command.args(["decrypt", "--offsets", offsets, "--data-dir"]).arg(&data);
        command
    };
    let lines = fs::read_to_string(&input).unwrap();
    let message = succeed(&mut decrypt("0..1"));
    assert_eq!(message.trim_end(), lines.lines().next().unwrap());
    let broken = fail(&mut decrypt("0..9000000000"));
    assert!(broken.contains("a file of table bronze/events cannot be read"), "{broken}");
}
