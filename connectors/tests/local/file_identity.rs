//! A job goes on only with the file it began with.
#![expect(clippy::unwrap_used, reason = "helpers of tests count as tests")]

use std::path::Path;
use std::sync::Arc;

use thalweg_connectors::file::JsonLinesSource;
use thalweg_core::connector::source::{Source, Split};
use thalweg_core::testing::NoColumns;
use thalweg_core::{Error, ErrorKind};

use crate::file_support::folder_with;

fn source(path: &Path) -> JsonLinesSource {
    JsonLinesSource::new(path, Arc::new(NoColumns)).split_bytes(50_000)
}

/// Begins with `before`, reads to byte `position`, then finds `after`.
fn verify(before: &[u8], position: i64, after: &[u8]) -> Result<(), Error> {
    let (_folder, path) = folder_with("x.jsonl", before);
    let source = source(&path);
    let identity = source.identity()?;
    let mut splits = source.start_splits()?;
    for split in &mut splits {
        split.position = split.position.max(position.min(split.end.unwrap()));
        source.seal_position(split)?;
    }
    std::fs::write(&path, after).unwrap();
    source.verify(&identity, &splits)
}

#[test]
fn the_same_bytes_pass_wherever_reading_stands() {
    let text = b"{\"a\":1}\n".repeat(30_000);
    for position in [0, 8, 4096, 4104, 120_000, 240_000] {
        verify(&text, position, &text).unwrap();
    }
}

#[test]
fn every_change_is_refused_with_its_cause_and_the_way_out() {
    let text = b"{\"a\":1}\n".repeat(30_000);
    let with = |at: usize, byte: u8| {
        let mut changed = text.clone();
        changed[at] = byte;
        changed
    };
    let cases = [
        ([&text[..], b"{}\n"].concat(), "has grown since the job began (240000 → 240003 bytes)"),
        (text[..8000].to_vec(), "has shrunk since the job began (240000 → 8000 bytes)"),
        (Vec::new(), "has shrunk since the job began (240000 → 0 bytes)"),
        (with(5, b'2'), "is not the file the job began with"),
        ([&with(5, b'2')[..], b"{}\n"].concat(), "is not the file the job began with"),
        (
            with(119_997, b'2'),
            "has changed since it was read (the bytes before byte 120000 differ)",
        ),
    ];
    for (after, want) in cases {
        let error = verify(&text, 120_000, &after).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IncompatibleState);
        let text = error.to_string();
        assert!(text.starts_with("input `x.jsonl` ") && text.contains(want), "{text}");
        assert!(
            text.ends_with("start a new chain with --fresh or use the original file"),
            "{text}"
        );
    }
}

/// Not for what the file has there later, and without a look at it.
#[test]
fn a_position_is_sealed_once() {
    let mut text = b"{\"a\":1}\n".repeat(30_000);
    let (_folder, path) = folder_with("x.jsonl", &text);
    let first = source(&path);
    let identity = first.identity().unwrap();
    let start = first.start_splits().unwrap();
    // As a reader tells it, which knows of no hash.
    let at = |position| Split { position, ..start[2].clone() };
    let sealed = |source: &JsonLinesSource, mut split: Split| {
        source.seal_position(&mut split).unwrap();
        split
    };
    let stored = sealed(&first, at(120_000));
    text[119_997] = b'2';
    std::fs::write(&path, &text).unwrap();
    assert_eq!(sealed(&first, at(120_000)), stored);
    let restarted = source(&path);
    assert_eq!(sealed(&restarted, stored.clone()), stored);
    let error = restarted.verify(&identity, std::slice::from_ref(&stored)).unwrap_err();
    assert!(error.to_string().contains("has changed since it was read"), "{error}");
    // What has moved is sealed where it stands, and so is what an older release has stored without a position.
    let moved = sealed(&first, Split { position: 120_008, ..stored.clone() });
    assert_ne!(moved.properties["before"], stored.properties["before"]);
    first.verify(&identity, &[moved]).unwrap();
    let mut older = stored.clone();
    older.properties.remove("before_at").unwrap();
    let again = sealed(&restarted, older);
    assert_ne!(again.properties["before"], stored.properties["before"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(sealed(&restarted, stored.clone()), stored);
    assert_eq!(sealed(&restarted, at(120_000)), again);
}

#[test]
fn a_short_file_that_has_grown_is_not_called_another() {
    let error = verify(b"a\n", 0, b"a\nb\n").unwrap_err();
    assert!(error.to_string().contains("has grown since the job began (2 → 4 bytes)"), "{error}");
}

#[test]
fn an_empty_file_that_got_lines_is_refused() {
    assert!(verify(b"", 0, b"a\n").unwrap_err().to_string().contains("has grown"));
}

#[test]
fn a_file_may_move_to_another_folder_but_not_change_its_name() {
    let (folder, path) = folder_with("x.jsonl", b"a\n");
    let identity = source(&path).identity().unwrap();
    std::fs::create_dir(folder.path().join("moved")).unwrap();
    let (moved, renamed) = (folder.path().join("moved/x.jsonl"), folder.path().join("y.jsonl"));
    std::fs::copy(&path, &moved).unwrap();
    std::fs::copy(&path, &renamed).unwrap();
    source(&moved).verify(&identity, &[]).unwrap();
    let error = source(&renamed).verify(&identity, &[]).unwrap_err();
    assert!(
        error.to_string().contains("is `y.jsonl`, but the job began with `x.jsonl`"),
        "{error}"
    );
}

#[test]
fn another_kind_of_source_is_refused() {
    let (_folder, path) = folder_with("x.jsonl", b"a\n");
    let identity = [("cluster".to_owned(), "c1".to_owned())].into();
    let error = source(&path).verify(&identity, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IncompatibleState);
}

#[test]
fn what_cannot_be_read_is_one_clear_line() {
    let (folder, path) = folder_with("x.jsonl", b"a\n");
    let cases = [
        (folder.path().join("none.jsonl"), "does not exist: check the path"),
        (folder.path().to_owned(), "is a folder: name a file in it"),
        (path.join("below"), "is a file: check the path"),
    ];
    for (path, want) in cases {
        let source = source(&path);
        for error in [source.identity().unwrap_err(), source.start_splits().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            let text = thalweg_core::error::chain(&error);
            assert!(text.contains(want) && !text.contains('\n'), "{text}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_device_is_refused_because_it_cannot_be_read_again() {
    let error = source(Path::new("/dev/null")).identity().unwrap_err();
    assert!(error.to_string().contains("is not a regular file"), "{error}");
}
