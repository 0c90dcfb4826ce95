//! `decrypt`: shows messages of bronze or quarantine to somebody who has the key.

use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use thalweg_core::crypto::{MasterKey, open_payload};
use thalweg_core::{Result, error};
use thalweg_objects::Place;
use thalweg_operators::seal::payload_aad;

use super::graph::{BRONZE, QUARANTINE};

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

/// A row of such a table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealedRow {
    /// Column `topic`.
    pub topic: String,
    /// Column `partition`.
    pub partition: i32,
    /// Column `offset`.
    pub offset: i64,
    /// Column `payload`; null for a tombstone.
    pub payload: Option<Vec<u8>>,
}

impl fmt::Debug for SealedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedRow({}-{} at {})", self.topic, self.partition, self.offset)
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

/// Reads the tables: what this module is handed, so that it knows nothing about how they are stored. Blocking.
pub trait SealedRows {
    /// The rows of the newest version of `table` that are `wanted`, in any order.
    fn rows(&self, table: &str, wanted: &Wanted) -> Result<Vec<SealedRow>>;
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

/// More places than an entry of the audit log should list.
const MANY: usize = 64;

/// Where sorted rows are: a place for each stretch without a gap, or by topic if those are many.
fn places(rows: &[SealedRow]) -> Vec<String> {
    let stretch = |rows: &[SealedRow]| {
        let (first, last) = (rows.first()?, rows.last()?);
        let SealedRow { topic, partition, offset, .. } = first;
        Some(format!("{topic}/{partition}/{offset}..{}", last.offset.saturating_add(1)))
    };
    let beside = |a: &SealedRow, b: &SealedRow| a.topic == b.topic;
    let follows = |a: &SealedRow, b: &SealedRow| beside(a, b) && b.offset - 1 == a.offset;
    let mut places: Vec<String> = rows.chunk_by(follows).filter_map(stretch).collect();
    if places.len() > MANY {
        places = rows.chunk_by(beside).filter_map(stretch).collect();
    }
    let more = places.len().saturating_sub(MANY);
    if more > 0 {
        places.truncate(MANY);
        places.push(format!("and {more} more"));
    }
    places
}

/// Writes the decrypted messages to `out`, by topic and offset, and tells `audit` what is opened. That comes first, so that
/// nothing is opened without it.
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
    let table = args.table.path();
    let mut rows = tables.rows(table, &args.wanted())?;
    rows.sort_unstable();
    let line = format!(
        "decrypt: {} rows of {table}, partition {}, offsets {}..{}, with key {}",
        rows.len(),
        args.partition,
        args.offsets.start,
        args.offsets.end,
        key.key_id()
    );
    audit(&Opening { rows: rows.len(), places: places(&rows), line })?;
    let mut aad = Vec::new();
    for row in &rows {
        payload_aad(table, &row.topic, row.partition, row.offset, &mut aad);
        let opened =
            row.payload.as_deref().map(|sealed| open_payload(key, &aad, sealed)).transpose();
        let message = opened.map_err(|e| e.at(format!("{table}, {row:?}")))?.unwrap_or_default();
        out.write_all(&message)
            .and_then(|()| out.write_all(b"\n"))
            .map_err(|e| error::io("write a message", e))?;
    }
    out.flush().map_err(|e| error::io("write a message", e))?;
    Ok(rows.len())
}

fn offsets(text: &str) -> Result<Range<i64>, String> {
    let range = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    range
        .filter(|r: &Range<i64>| r.start >= 0 && r.start < r.end)
        .ok_or_else(|| "offsets are given as A..B, such as 0..100; B itself is left out".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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

    struct Rows(Vec<SealedRow>);

    impl SealedRows for Rows {
        fn rows(&self, table: &str, wanted: &Wanted) -> Result<Vec<SealedRow>> {
            assert_eq!(table, BRONZE);
            let wanted = |r: &&SealedRow| wanted.contains(&r.topic, r.partition, r.offset);
            Ok(self.0.iter().filter(wanted).cloned().collect())
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
            SealedRow { topic: "events".to_owned(), partition: 0, offset, payload }
        };
        Rows(vec![row(12, Some(b"c")), row(10, Some(b"\xff")), row(11, None), row(13, Some(b"d"))])
    }

    #[test]
    fn a_range_of_messages_is_printed_in_order_and_told_about_without_them() {
        let key = Arc::new(MasterKey::generate().unwrap());
        let (mut out, mut told) = (Vec::new(), Vec::new());
        let args = line("10..13").unwrap();
        let mut audit = |opening: &Opening| {
            told.push(opening.clone());
            Ok(())
        };
        assert_eq!(decrypt(&args, &sealed(&key), &key, &mut out, &mut audit).unwrap(), 3);
        assert_eq!(out, b"\xff\n\nc\n");
        let line = format!(
            "decrypt: 3 rows of bronze/events, partition 0, offsets 10..13, with key {}",
            key.key_id()
        );
        assert_eq!(told, [Opening { rows: 3, places: vec!["events/0/10..13".to_owned()], line }]);
    }

    #[test]
    fn what_is_opened_is_told_by_stretches_of_each_topic() {
        let row = |topic: &str, offset: i64| SealedRow {
            topic: topic.to_owned(),
            partition: 2,
            offset,
            payload: None,
        };
        assert!(places(&[]).is_empty());
        let two = [row("a", 3), row("a", 4), row("a", 9), row("b", 10)];
        assert_eq!(places(&two), ["a/2/3..5", "a/2/9..10", "b/2/10..11"]);
        let gaps: Vec<SealedRow> = (0..65).map(|n| row("a", 2 * n)).collect();
        assert_eq!(places(&gaps[1..]).len(), 64);
        assert_eq!(places(&gaps), ["a/2/0..129"]);
        let many: Vec<SealedRow> = (100..200).map(|n| row(&n.to_string(), i64::MAX)).collect();
        let told = places(&many);
        assert_eq!((told.len(), told.last().unwrap().as_str()), (65, "and 36 more"));
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
        let mut audit = |_: &Opening| Err(thalweg_core::Error::transient("full"));
        let done = decrypt(&line("10..13").unwrap(), &sealed(&key), &key, &mut out, &mut audit);
        assert!(done.is_err());
        assert!(out.is_empty());
    }

    #[test]
    fn a_row_that_was_moved_does_not_open_and_is_named() {
        let key = Arc::new(MasterKey::generate().unwrap());
        let mut rows = sealed(&key);
        rows.0[0].offset = 14;
        let args = line("0..20").unwrap();
        let error = decrypt(&args, &rows, &key, &mut Vec::new(), &mut |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("SealedRow(events-0 at 14)"), "{error}");
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
