//! Lines of a file come once each with exact offsets, wherever it is cut, stopped and restarted.
#![expect(clippy::unwrap_used, reason = "helpers of tests count as tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use thalweg_connectors::file::JsonLinesSource;
use thalweg_connectors::provenance::PROVENANCE;
use thalweg_core::ErrorKind;
use thalweg_core::connector::source::{Polled, Source, Split};
use thalweg_core::testing::NoColumns;

use crate::file_support::{Random, folder_with};

type Lines = Vec<(i64, Vec<u8>)>;

/// What some programs begin a UTF-8 file with.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// What the source should say, worked out without any buffer, split or position.
fn naive(text: &[u8], max_line: usize) -> Lines {
    let mut lines = Vec::new();
    let mut start = 0;
    for piece in text.split_inclusive(|b| *b == b'\n') {
        let whole = piece;
        let piece = if start == 0 { piece.strip_prefix(MARK).unwrap_or(piece) } else { piece };
        let line = piece.strip_suffix(b"\n").map_or(piece, |l| l.strip_suffix(b"\r").unwrap_or(l));
        if !line.iter().all(u8::is_ascii_whitespace) || line.len() > max_line {
            lines.push((start, line[..line.len().min(max_line + 1)].to_vec()));
        }
        start += whole.len() as i64;
    }
    lines
}

fn lines_of(batch: &RecordBatch) -> Lines {
    let offsets = batch["offset"].as_primitive::<Int64Type>();
    let payloads = batch["payload"].as_binary::<i32>();
    offsets.values().iter().zip(payloads).map(|(o, p)| (*o, p.unwrap().to_vec())).collect()
}

/// Reads some splits with one reader; stops after `stop_after` rows, as an attempt that fails does.
fn read(
    source: &JsonLinesSource,
    splits: &mut BTreeMap<String, Split>,
    mut stop_after: usize,
) -> Lines {
    let mut reader = source.reader().unwrap();
    reader.assign(splits.values().cloned().collect()).unwrap();
    let mut lines = Lines::new();
    loop {
        match reader.poll(Duration::ZERO).unwrap() {
            Polled::Rows(rows) => {
                let taken = rows.batch.num_rows().min(stop_after);
                stop_after -= taken;
                lines.extend(lines_of(&rows.batch).into_iter().take(taken));
                let split = splits.get_mut(&rows.split).unwrap();
                for position in rows.next_positions.into_iter().take(taken) {
                    assert!(position > split.position);
                    split.position = position;
                }
                if stop_after == 0 {
                    return lines;
                }
            }
            Polled::Advanced { split, position } => {
                let split = splits.get_mut(&split).unwrap();
                assert!(position >= split.position && position >= split.end.unwrap());
                split.position = position;
            }
            Polled::Nothing | Polled::Properties { .. } => {}
            Polled::Exhausted => {
                assert!(splits.values().all(Split::is_finished));
                return lines;
            }
        }
    }
}

fn keyed(splits: Vec<Split>) -> BTreeMap<String, Split> {
    splits.into_iter().map(|s| (s.id.clone(), s)).collect()
}

fn read_all(source: &JsonLinesSource) -> Lines {
    read(source, &mut keyed(source.start_splits().unwrap()), usize::MAX)
}

fn random_text(random: &mut Random) -> Vec<u8> {
    let pieces: [&[u8]; 10] = [
        MARK,
        b"\n",
        b"\r\n",
        b" ",
        b"\r",
        b"{}",
        b"\xff\x80",
        "é".as_bytes(),
        b"abcdefghijkl",
        b"\t",
    ];
    let mut text = Vec::new();
    for _ in 0..random.below(40) {
        text.extend_from_slice(pieces[random.below(pieces.len())]);
    }
    text
}

#[test]
fn any_cut_any_number_of_readers_and_any_restart_yield_the_lines_of_a_naive_reader() {
    let mut random = Random(7);
    for case in 0..1500 {
        let text = random_text(&mut random);
        let (_folder, path) = folder_with("x.jsonl", &text);
        let max_line = if random.below(3) == 0 { 1 + random.below(12) } else { 1000 };
        let split_bytes = 1 + random.below(text.len() + 3) as u64;
        let new = || {
            JsonLinesSource::new(&path, Arc::new(NoColumns))
                .split_bytes(split_bytes)
                .max_line(max_line)
        };
        let genesis = new();
        let identity = genesis.identity().unwrap();
        let mut splits = keyed(genesis.start_splits().unwrap());
        let mut found = Lines::new();
        while splits.values().any(|s| !s.is_finished()) {
            let source = new();
            // An attempt: the splits are dealt to some readers, each of which stops somewhere.
            let readers = 1 + random.below(3);
            for split in splits.values_mut() {
                source.seal_position(split).unwrap();
            }
            source.verify(&identity, &splits.values().cloned().collect::<Vec<_>>()).unwrap();
            let mut hands = vec![BTreeMap::new(); readers];
            for (id, split) in std::mem::take(&mut splits) {
                hands[random.below(readers)].insert(id, split);
            }
            for mut hand in hands {
                let stop_after =
                    if random.below(2) == 0 { usize::MAX } else { 1 + random.below(4) };
                found.extend(read(&source, &mut hand, stop_after));
                splits.extend(hand);
            }
        }
        found.sort();
        assert_eq!(
            found,
            naive(&text, max_line),
            "case {case}: {:?}",
            String::from_utf8_lossy(&text)
        );
    }
}

#[test]
fn split_names_sort_like_their_positions() {
    let (_folder, path) = folder_with("x.jsonl", &b"12345\n".repeat(200));
    let splits =
        JsonLinesSource::new(path, Arc::new(NoColumns)).split_bytes(7).start_splits().unwrap();
    assert!(splits.windows(2).all(|w| w[0].id < w[1].id && w[0].end == Some(w[1].position)));
    assert_eq!(splits.last().unwrap().end, Some(1200));
}

#[test]
fn a_row_says_where_it_comes_from() {
    let (_folder, path) = folder_with("events.jsonl", b"\nfirst\r\nsecond");
    let source = JsonLinesSource::new(path, Arc::new(NoColumns));
    let mut reader = source.reader().unwrap();
    reader.assign(source.start_splits().unwrap()).unwrap();
    let Polled::Rows(rows) = reader.poll(Duration::ZERO).unwrap() else { panic!("no rows") };
    assert_eq!(rows.batch.schema(), source.schema());
    assert_eq!(
        rows.batch.schema().fields().iter().map(|f| f.name()).collect::<Vec<_>>(),
        PROVENANCE
    );
    assert_eq!(rows.batch["topic"].as_string::<i32>().value(1), "events.jsonl");
    assert_eq!(rows.batch["partition"].as_primitive::<Int32Type>().values(), &[0, 0]);
    assert_eq!(rows.batch["kafka_timestamp"].null_count(), 2);
    assert!(rows.batch["ingested_at"].as_primitive::<TimestampMicrosecondType>().value(0) > 0);
    assert_eq!(lines_of(&rows.batch), [(1, b"first".to_vec()), (8, b"second".to_vec())]);
    assert_eq!(rows.next_positions, [8, 14]);
    assert!(matches!(reader.poll(Duration::ZERO).unwrap(), Polled::Advanced { position: 14, .. }));
    assert!(matches!(reader.poll(Duration::ZERO).unwrap(), Polled::Exhausted));
    assert!(matches!(reader.poll(Duration::ZERO).unwrap(), Polled::Exhausted));
}

#[test]
fn an_empty_file_is_exhausted_at_once_and_verifies() {
    for text in [&b""[..], b"\n \r\n\n"] {
        let (_folder, path) = folder_with("x.jsonl", text);
        let source = JsonLinesSource::new(path, Arc::new(NoColumns));
        let identity = source.identity().unwrap();
        assert_eq!(read_all(&source), []);
        source.verify(&identity, &source.start_splits().unwrap()).unwrap();
    }
}

#[test]
fn bytes_that_are_not_utf_8_pass_through() {
    let (_folder, path) = folder_with("x.jsonl", b"\xff\x00\xfe\n\xc3\n");
    let source = JsonLinesSource::new(path, Arc::new(NoColumns));
    assert_eq!(read_all(&source), [(0, b"\xff\x00\xfe".to_vec()), (4, b"\xc3".to_vec())]);
}

#[test]
fn a_mark_before_the_first_line_is_no_part_of_it() {
    let (_folder, path) = folder_with("x.jsonl", &[MARK, b"{}\n", MARK, b"{}\n"].concat());
    let marked = [MARK, b"{}"].concat();
    for max_line in [2, 5] {
        let source = JsonLinesSource::new(&path, Arc::new(NoColumns)).max_line(max_line);
        let second = marked[..marked.len().min(max_line + 1)].to_vec();
        assert_eq!(read_all(&source), [(0, b"{}".to_vec()), (6, second)]);
    }
}

#[test]
fn what_is_no_text_of_lines_is_refused_before_any_is_read() {
    let files: [(&[u8], &str, &str); 9] = [
        (b"\x1f\x8b\x08", "compressed by gzip", "gunzip"),
        (b"\x28\xb5\x2f\xfd\x04", "compressed by zstd", "unzstd"),
        (b"\x04\x22\x4d\x18\x64", "compressed by lz4", "unlz4"),
        (b"\xfd7zXZ\0\0", "compressed by xz", "unxz"),
        (b"BZh91AY", "compressed by bzip2", "bunzip2"),
        (b"PK\x03\x04\x14", "a zip archive", "unzip"),
        (b"\xff\xfe{\0}\0", "text in UTF-16", "iconv"),
        (b"\xfe\xff\0{\0}", "text in UTF-16", "iconv"),
        (b"PAR1\x15", "Parquet", "as JSON lines"),
    ];
    for (bytes, what, way_out) in files {
        let (_folder, path) = folder_with("x.jsonl", bytes);
        let source = JsonLinesSource::new(&path, Arc::new(NoColumns));
        let refused = [
            JsonLinesSource::check(&path).unwrap_err(),
            source.identity().unwrap_err(),
            source.start_splits().unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            let told = error.to_string();
            assert!(told.contains(&format!("x.jsonl` is {what}, not lines")), "{told}");
            assert!(told.contains(way_out), "{told}");
        }
    }
    for bytes in [&b""[..], b"\x1f", b"P", b"{}\n", MARK] {
        let (_folder, path) = folder_with("x.jsonl", bytes);
        JsonLinesSource::check(&path).unwrap();
    }
}

#[test]
fn a_huge_line_is_handed_on_cut_off_and_the_lines_around_it_whole() {
    let huge = vec![b'x'; 5 << 20];
    let text = [b"before\n", &huge[..], b"\r\nafter\n"].concat();
    let (_folder, path) = folder_with("x.jsonl", &text);
    for split_bytes in [1 << 30, 1 << 20] {
        let source = JsonLinesSource::new(&path, Arc::new(NoColumns))
            .max_line(1000)
            .split_bytes(split_bytes);
        let lines = read_all(&source);
        let lengths: Vec<(i64, usize)> = lines.iter().map(|(o, p)| (*o, p.len())).collect();
        assert_eq!(lengths, [(0, 6), (7, 1001), (9 + (5 << 20), 5)]);
    }
}

#[test]
fn a_file_that_grows_while_it_is_read_is_read_to_its_first_length() {
    let (_folder, path) = folder_with("x.jsonl", b"one\ntw");
    let source = JsonLinesSource::new(&path, Arc::new(NoColumns));
    source.identity().unwrap();
    std::fs::write(&path, b"one\ntwo\nthree\n").unwrap();
    assert_eq!(read_all(&source), [(0, b"one".to_vec()), (4, b"tw".to_vec())]);
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_data_loss() {
    for kept in 0..7 {
        let (_folder, path) = folder_with("x.jsonl", b"one\ntwo\n");
        let source = JsonLinesSource::new(&path, Arc::new(NoColumns)).split_bytes(4);
        let splits = source.start_splits().unwrap();
        std::fs::write(&path, &b"one\ntwo\n"[..kept]).unwrap();
        let mut reader = source.reader().unwrap();
        reader.assign(splits).unwrap();
        let error = loop {
            match reader.poll(Duration::ZERO) {
                Ok(Polled::Exhausted) => panic!("the loss of {} bytes went unnoticed", 8 - kept),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::DataLoss);
    }
}

#[test]
fn many_lines_come_in_batches_of_a_bounded_size() {
    let text = b"{\"some\":\"event\"}\n".repeat(20_000);
    let (_folder, path) = folder_with("x.jsonl", &text);
    let source = JsonLinesSource::new(path, Arc::new(NoColumns));
    let mut reader = source.reader().unwrap();
    reader.assign(source.start_splits().unwrap()).unwrap();
    let mut sizes = Vec::new();
    while let Polled::Rows(rows) = reader.poll(Duration::ZERO).unwrap() {
        sizes.push(rows.batch.num_rows());
    }
    assert_eq!(sizes, [4096, 4096, 4096, 4096, 3616]);
}
