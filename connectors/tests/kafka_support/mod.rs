//! What the Kafka tests share: sources and writers, and a record of what a reader said.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use thalweg_connectors::kafka::{KafkaConfig, KafkaSource, TopicWriter};
use thalweg_core::connector::source::{Polled, Source, SourceReader, Split};
use thalweg_core::testing::NoColumns;

pub(crate) const WAIT: Duration = Duration::from_millis(50);
/// Polls without rows until a test gives up: two minutes. How many bring rows, and how few, is the machine's business.
const MOST_QUIET: u32 = 2_400;

pub(crate) fn source(config: KafkaConfig) -> KafkaSource {
    KafkaSource::new(config, Arc::new(NoColumns))
}

pub(crate) fn writer(servers: &str, topic: &str) -> TopicWriter {
    TopicWriter::new(servers, topic, &BTreeMap::new()).unwrap()
}

/// Sends `count` numbered messages round the partitions and waits for them.
pub(crate) fn produce(
    servers: &str,
    topic: &str,
    partitions: i32,
    numbers: std::ops::Range<usize>,
) {
    let writer = writer(servers, topic);
    for number in numbers {
        let partition = number as i32 % partitions;
        writer.send_to(partition, Some(number.to_string().as_bytes()), None).unwrap();
    }
    writer.flush(Duration::from_mins(2)).unwrap();
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) offset: i64,
    pub(crate) timestamp: Option<i64>,
    pub(crate) payload: Option<String>,
}

/// Everything a reader has said, checked on the way in.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) rows: BTreeMap<String, Vec<Row>>,
    pub(crate) positions: BTreeMap<String, i64>,
    pub(crate) properties: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) exhausted: bool,
}

impl Seen {
    pub(crate) fn count(&self) -> usize {
        self.rows.values().map(Vec::len).sum()
    }

    pub(crate) fn payloads(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.rows.values().flatten().filter_map(|row| row.payload.clone()).collect();
        all.sort_by_key(|text| (text.len(), text.clone()));
        all
    }

    /// `splits` of `source` as a checkpoint would keep them.
    pub(crate) fn stored(&self, source: &KafkaSource, splits: &[Split]) -> Vec<Split> {
        let mut splits = at(splits, &self.positions);
        for split in &mut splits {
            if let Some(properties) = self.properties.get(&split.id) {
                split.properties.clone_from(properties);
            }
            source.seal_position(split).unwrap();
        }
        splits
    }

    pub(crate) fn take(&mut self, polled: Polled) {
        match polled {
            Polled::Nothing => {}
            Polled::Exhausted => self.exhausted = true,
            Polled::Advanced { split, position } => {
                self.positions.insert(split, position);
            }
            Polled::Properties { split, properties } => {
                self.properties.insert(split, properties);
            }
            Polled::Rows(rows) => {
                let number: i32 = rows.split.strip_prefix("partition-").unwrap().parse().unwrap();
                let column = |name: &str| rows.batch.column_by_name(name).unwrap();
                assert!(
                    column("partition")
                        .as_primitive::<arrow_array::types::Int32Type>()
                        .values()
                        .iter()
                        .all(|&p| p == number)
                );
                let offsets = column("offset").as_primitive::<Int64Type>();
                let times = column("kafka_timestamp").as_primitive::<TimestampMicrosecondType>();
                let payloads = column("payload").as_binary::<i32>();
                assert_eq!(rows.next_positions.len(), rows.batch.num_rows());
                assert!(rows.batch.num_rows() > 0);
                let seen = self.rows.entry(rows.split.clone()).or_default();
                for row in 0..rows.batch.num_rows() {
                    let offset = offsets.value(row);
                    assert!(
                        self.positions.get(&rows.split).is_none_or(|&next| offset >= next),
                        "{} goes back to {offset}",
                        rows.split
                    );
                    assert_eq!(rows.next_positions[row], offset + 1);
                    self.positions.insert(rows.split.clone(), offset + 1);
                    let payload = (!payloads.is_null(row))
                        .then(|| String::from_utf8(payloads.value(row).to_vec()).unwrap());
                    let timestamp = (!times.is_null(row)).then(|| times.value(row));
                    seen.push(Row { offset, timestamp, payload });
                }
            }
        }
    }

    /// Polls until `done`; fails when nothing comes for two minutes.
    pub(crate) fn read(
        &mut self,
        reader: &mut dyn SourceReader,
        mut done: impl FnMut(&Self) -> bool,
    ) {
        let mut quiet = 0;
        while quiet < MOST_QUIET {
            if done(self) {
                return;
            }
            let polled = reader.poll(WAIT).unwrap();
            quiet = if matches!(polled, Polled::Rows(_)) { 0 } else { quiet + 1 };
            self.take(polled);
        }
        panic!("still waiting: {} rows, {:?}, {}", self.count(), self.positions, self.exhausted);
    }
}

/// Polls until the reader fails; rows are put aside. At most two minutes without any.
pub(crate) fn failure(reader: &mut dyn SourceReader, seen: &mut Seen) -> thalweg_core::Error {
    let mut quiet = 0;
    while quiet < MOST_QUIET {
        match reader.poll(WAIT) {
            Ok(polled) => {
                quiet = if matches!(polled, Polled::Rows(_)) { 0 } else { quiet + 1 };
                seen.take(polled);
            }
            Err(error) => return error,
        }
    }
    panic!("no error came")
}

/// A reader of all of `source`'s splits, from `splits`.
pub(crate) fn reader(source: &dyn Source, splits: Vec<Split>) -> Box<dyn SourceReader> {
    let mut reader = source.reader().unwrap();
    reader.assign(splits).unwrap();
    reader
}

/// `splits` at `positions`, with nothing else that a checkpoint would keep.
pub(crate) fn at(splits: &[Split], positions: &BTreeMap<String, i64>) -> Vec<Split> {
    let mut splits = splits.to_vec();
    for split in &mut splits {
        if let Some(&position) = positions.get(&split.id) {
            split.position = position;
        }
    }
    splits
}

pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}
