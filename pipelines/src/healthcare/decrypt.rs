//! `decrypt`: shows messages of bronze or quarantine to somebody who has the key.

mod places;
mod visible;

use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use thalweg_core::crypto::{MasterKey, open_payload};
use thalweg_core::{Error, Result, error};
use thalweg_objects::Place;
use thalweg_operators::seal::payload_aad;

use super::graph::{BRONZE, QUARANTINE};
use places::Places;
pub use visible::Visible;

/// Print messages as they were received, decrypted, one a line
#[derive(Debug, Clone, Args)]
pub struct DecryptArgs {
    /// Folder of the tables, or URL of their prefix in an object store
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data_dir: Place,

    /// Table
    #[arg(long, value_enum, default_value_t = SealedTable::Bronze)]
    pub table: SealedTable,

    /// Topic or file; of all when not given
    #[arg(long, value_name = "T")]
    pub topic: Option<String>,

    /// Partition
    #[arg(long, value_name = "P", default_value_t = 0)]
    pub partition: i32,

    /// Offsets from A up to, but without, B
    #[arg(long, value_name = "A..B", value_parser = offsets)]
    pub offsets: Range<i64>,

    /// Key file, used when `THALWEG_PHI_KEY` is not set [default: beside the data folder]
    #[arg(long, value_name = "F")]
    pub key_file: Option<PathBuf>,

    /// File of the audit log [default: DIR.audit.jsonl, beside a folder]
    #[arg(long, value_name = "F")]
    pub audit_log: Option<PathBuf>,
}

/// A table that holds encrypted payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SealedTable {
    /// Every message
    #[value(name = "bronze/events")]
    Bronze,
    /// Every message that is no valid event
    #[value(name = "quarantine/events")]
    Quarantine,
}

impl SealedTable {
    /// The table's path below the data folder.
    pub fn path(self) -> &'static str {
        match self {
            Self::Bronze => BRONZE,
            Self::Quarantine => QUARANTINE,
        }
    }
}

/// What names a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Column `topic`.
    pub topic: Arc<str>,
    /// Column `partition`.
    pub partition: i32,
    /// Column `offset`.
    pub offset: i64,
}

/// A row of such a table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealedRow {
    /// Where the message was.
    pub at: Position,
    /// Column `payload`; null for a tombstone.
    pub payload: Option<Vec<u8>>,
}

impl fmt::Debug for SealedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { topic, partition, offset } = &self.at;
        write!(f, "SealedRow({topic}-{partition} at {offset})")
    }
}

/// Which rows are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Topic; every one when `None`.
    pub topic: Option<String>,
    /// Partition.
    pub partition: i32,
    /// Offsets.
    pub offsets: Range<i64>,
}

impl Wanted {
    /// Whether a row is among them.
    pub fn contains(&self, topic: &str, partition: i32, offset: i64) -> bool {
        self.topic.as_deref().is_none_or(|wanted| wanted == topic)
            && self.partition == partition
            && self.offsets.contains(&offset)
    }
}

/// What is about to be opened, for whoever may want to know. No value of a message is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// How many messages.
    pub rows: usize,
    /// Where they are, one for each topic: `topic/partition/from..to`, `to` itself left out.
    pub places: Vec<String>,
    /// A line about it, with the key.
    pub line: String,
}

/// Reads one version of a table: what this module is handed, so that it knows nothing about how it is stored. Blocking.
pub trait SealedRows {
    /// The numbers of the files that may have rows that are `wanted`.
    fn files(&self, wanted: &Wanted) -> Result<Vec<usize>>;

    /// Where the rows of a file that are `wanted` were, in any order. Nothing is held of payloads.
    fn positions(&self, file: usize, wanted: &Wanted) -> Result<Vec<Position>>;

    /// The rows of a file that are `wanted`, in any order.
    fn rows(&self, file: usize, wanted: &Wanted) -> Result<Vec<SealedRow>>;
}

impl DecryptArgs {
    /// The rows asked for.
    pub fn wanted(&self) -> Wanted {
        let Self { topic, partition, offsets, .. } = self.clone();
        Wanted { topic, partition, offsets }
    }

    /// What is asked for, as one text: the same for the same rows.
    pub fn asked(&self) -> String {
        let (table, topic) = (self.table.path(), self.topic.as_deref().unwrap_or("*"));
        format!("{table} {topic}/{}/{}..{}", self.partition, self.offsets.start, self.offsets.end)
    }
}

/// Writes the decrypted messages to `out`, by topic and offset, each byte by byte and a line feed behind it, and tells `audit` what is opened. That comes first, so that
/// nothing is opened without it: the table is looked through without its payloads, and then read file by file. No more is
/// held than one file, and what others have that belongs in front of it; of each file, which row is its first, and of the
/// messages, in which stretches they are.
///
/// # Errors
/// [`thalweg_core::ErrorKind::Corrupt`] when the key is another one or a payload is damaged, naming the row.
pub fn decrypt(
    args: &DecryptArgs,
    tables: &dyn SealedRows,
    key: &MasterKey,
    out: &mut dyn Write,
    audit: &mut dyn FnMut(&Opening) -> Result<()>,
) -> Result<usize> {
    let (table, wanted) = (args.table.path(), args.wanted());
    // By its first row each, with how many there are. What comes in front of the next file's first row is complete.
    let mut files: Vec<(Position, usize, usize)> = Vec::new();
    let mut places = Places::default();
    for number in tables.files(&wanted)? {
        let rows = tables.positions(number, &wanted)?;
        files.extend(rows.iter().min().map(|first| (first.clone(), number, rows.len())));
        places.add(rows);
    }
    files.sort_unstable();
    let all: usize = files.iter().map(|(_, _, rows)| rows).sum();
    let line = format!(
        "decrypt: {all} rows of {table}, partition {}, offsets {}..{}, with key {}",
        args.partition,
        args.offsets.start,
        args.offsets.end,
        key.key_id()
    );
    audit(&Opening { rows: all, places: places.told(), line })?;
    let mut waiting: Vec<SealedRow> = Vec::new();
    for (at, (_, number, found)) in files.iter().enumerate() {
        let rows = tables.rows(*number, &wanted)?;
        if rows.len() != *found {
            return Err(Error::corrupt(format!("{table} was changed while it was read")));
        }
        waiting.extend(rows);
        waiting.sort_unstable();
        let next = files.get(at + 1).map(|(first, ..)| first);
        let ready = next.map_or(waiting.len(), |next| waiting.partition_point(|r| r.at < *next));
        for row in waiting.drain(..ready) {
            print(table, &row, key, out)?;
        }
    }
    out.flush().map_err(|e| error::io("write a message", e))?;
    Ok(all)
}

fn print(table: &str, row: &SealedRow, key: &MasterKey, out: &mut dyn Write) -> Result<()> {
    let Position { topic, partition, offset } = &row.at;
    let mut aad = Vec::new();
    payload_aad(table, topic, *partition, *offset, &mut aad);
    let opened = row.payload.as_deref().map(|sealed| open_payload(key, &aad, sealed)).transpose();
    let message = opened.map_err(|e| e.at(format!("{table}, {row:?}")))?.unwrap_or_default();
    let written = out.write_all(&message).and_then(|()| out.write_all(b"\n"));
    written.map_err(|e| error::io("write a message", e))
}

fn offsets(text: &str) -> Result<Range<i64>, String> {
    let range = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    range
        .filter(|r: &Range<i64>| r.start >= 0 && r.start < r.end)
        .ok_or_else(|| "offsets are given as A..B, such as 0..100; B itself is left out".to_owned())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use clap::Parser;
    use thalweg_core::ErrorKind;
    use thalweg_core::crypto::ColumnSealer;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        decrypt: DecryptArgs,
    }

    fn line(offsets: &str) -> Result<DecryptArgs, clap::Error> {
        Line::try_parse_from(["decrypt", "--offsets", offsets, "--table", "bronze/events"])
            .map(|line| line.decrypt)
    }

    /// Rows by file, and how many bytes were written when a file was read.
    struct Rows {
        files: Vec<Vec<SealedRow>>,
        out: Written,
        read: RefCell<Vec<(usize, usize)>>,
    }

    impl Rows {
        fn of(&self, file: usize, wanted: &Wanted) -> Vec<SealedRow> {
            let wanted = |r: &&SealedRow| wanted.contains(&r.at.topic, r.at.partition, r.at.offset);
            self.files[file].iter().filter(wanted).cloned().collect()
        }
    }

    impl SealedRows for Rows {
        fn files(&self, _: &Wanted) -> Result<Vec<usize>> {
            Ok((0..self.files.len()).collect())
        }

        fn positions(&self, file: usize, wanted: &Wanted) -> Result<Vec<Position>> {
            Ok(self.of(file, wanted).into_iter().map(|row| row.at).collect())
        }

        fn rows(&self, file: usize, wanted: &Wanted) -> Result<Vec<SealedRow>> {
            self.read.borrow_mut().push((file, self.out.0.borrow().len()));
            Ok(self.of(file, wanted))
        }
    }

    #[derive(Clone, Default)]
    struct Written(Rc<RefCell<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn sealed(key: &Arc<MasterKey>) -> Rows {
        let mut sealer = ColumnSealer::new(key).unwrap();
        let mut row = |offset: i64, text: Option<&[u8]>| {
            let mut aad = Vec::new();
            payload_aad(BRONZE, "events", 0, offset, &mut aad);
            let payload = text.map(|text| {
                let mut payload = Vec::new();
                sealer.seal_into(&aad, text, &mut payload).unwrap();
                payload
            });
            SealedRow { at: Position { topic: "events".into(), partition: 0, offset }, payload }
        };
        let files = vec![
            vec![row(14, Some(b"e"))],
            vec![row(12, Some(b"c")), row(10, Some(b"\xff"))],
            vec![],
            vec![row(11, None), row(13, Some(b"d"))],
        ];
        Rows { files, out: Written::default(), read: RefCell::default() }
    }

    #[test]
    fn a_range_of_messages_is_printed_in_order_and_told_about_without_them() {
        let key = Arc::new(MasterKey::generate().unwrap());
        let (sealed, mut told) = (sealed(&key), Vec::new());
        let mut out = sealed.out.clone();
        let args = line("10..13").unwrap();
        let mut audit = |opening: &Opening| {
            told.push(opening.clone());
            Ok(())
        };
        assert_eq!(decrypt(&args, &sealed, &key, &mut out, &mut audit).unwrap(), 3);
        assert_eq!(*out.0.borrow(), b"\xff\n\nc\n");
        let line = format!(
            "decrypt: 3 rows of bronze/events, partition 0, offsets 10..13, with key {}",
            key.key_id()
        );
        assert_eq!(told, [Opening { rows: 3, places: vec!["events/0/10..13".to_owned()], line }]);
    }

    #[test]
    fn files_are_read_one_by_one_and_what_is_complete_is_written_before_the_next() {
        let key = Arc::new(MasterKey::generate().unwrap());
        let sealed = sealed(&key);
        let mut out = sealed.out.clone();
        let args = line("0..20").unwrap();
        assert_eq!(decrypt(&args, &sealed, &key, &mut out, &mut |_| Ok(())).unwrap(), 5);
        assert_eq!(*out.0.borrow(), b"\xff\n\nc\nd\ne\n");
        // The second has a row that belongs behind the first row of the third; the one without rows is not read.
        assert_eq!(*sealed.read.borrow(), [(1, 0), (3, 2), (0, 7)]);
    }

    #[test]
    fn the_same_rows_are_asked_for_in_the_same_words() {
        let asked = line("10..13").unwrap();
        assert_eq!(asked.asked(), "bronze/events */0/10..13");
        let topic = DecryptArgs { topic: Some("events".to_owned()), ..asked };
        assert_eq!(topic.asked(), "bronze/events events/0/10..13");
    }

    #[test]
    fn what_cannot_be_told_is_not_opened() {
        let key = Arc::new(MasterKey::generate().unwrap());
        let mut out = Vec::new();
        let mut audit = |_: &Opening| Err(Error::transient("full"));
        let done = decrypt(&line("10..13").unwrap(), &sealed(&key), &key, &mut out, &mut audit);
        assert!(done.is_err());
        assert!(out.is_empty());
    }

    #[test]
    fn a_row_that_was_moved_does_not_open_and_is_named() {
        let key = Arc::new(MasterKey::generate().unwrap());
        let mut rows = sealed(&key);
        rows.files[1][0].at.offset = 15;
        let args = line("0..20").unwrap();
        let error = decrypt(&args, &rows, &key, &mut Vec::new(), &mut |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("SealedRow(events-0 at 15)"), "{error}");
        let other = MasterKey::generate().unwrap();
        let error = decrypt(&args, &rows, &other, &mut Vec::new(), &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("is not the key in use"), "{error}");
    }

    #[test]
    fn offsets_are_a_range() {
        assert_eq!(line("5..6").unwrap().offsets, 5..6);
        for wrong in ["5", "..5", "5..", "6..6", "-1..3", "5..=6", "a..b"] {
            assert!(line(wrong).is_err(), "{wrong}");
        }
    }
}
