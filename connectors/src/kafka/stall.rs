//! A reader that gets nothing although there is something.
//!
//! librdkafka forgets all its brokers when one of them tells it of none, as the only one of a cluster may that has hung for
//! longer than its session with the controller, and never looks for them again (its issue 5301). Nothing says so: the
//! broker is asked by a client of its own, and another consumer goes on at the positions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use thalweg_core::Result;
use tracing::warn;

use super::cluster::Ask;
use super::leader_epoch;
use super::reader::KafkaReader;

/// For how long nothing may come until it is looked at.
const QUIET: Duration = Duration::from_secs(10);
/// How long the broker may take to answer: stopping waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Since when nothing has come.
#[derive(Debug, Default)]
pub(super) struct Stall {
    since: Option<Instant>,
    /// Where the partitions ended when it was looked at last.
    ends: BTreeMap<i32, i64>,
}

impl KafkaReader {
    /// Nothing came at `now`. What was there at one look and has not come until the next one does not come any more;
    /// true when another consumer reads on.
    pub(super) fn nothing_came(&mut self, now: Instant) -> Result<bool> {
        let since = *self.stall.since.get_or_insert(now);
        if now.saturating_duration_since(since) < QUIET || self.partitions.is_empty() {
            return Ok(false);
        }
        self.stall.since = Some(now);
        if self.misses_something() {
            warn!(topic = %self.config.topic, "there are messages and none come: another consumer begins at the positions");
            self.begin_again()?;
            return Ok(true);
        }
        let numbers: Vec<i32> = self.partitions.keys().copied().collect();
        match self.topic()?.offsets(&numbers, Ask::High, PATIENCE) {
            Ok(ends) => self.stall.ends = ends,
            // Away, or forgotten by this client, too.
            Err(error) if error.kind().is_retryable() => self.topic = None,
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    fn misses_something(&self) -> bool {
        self.partitions.iter().any(|(number, partition)| {
            let end = self.stall.ends.get(number).copied().unwrap_or_default();
            partition.position < partition.end.map_or(end, |bound| bound.min(end))
        })
    }

    fn begin_again(&mut self) -> Result<()> {
        let again = self.partitions.iter().map(|(number, partition)| {
            leader_epoch::assigned(*number, partition.position, partition.last)
        });
        let list: Vec<_> = again.collect();
        self.stall = Stall::default();
        self.topic = None;
        self.consumer = self.cluster.consumer()?;
        self.consumer.assign(&list).map_err(|e| self.broken("assign partitions", &e))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use thalweg_core::connector::source::{Polled, Source, SourceReader};
    use thalweg_core::testing::NoColumns;

    use super::*;
    use crate::clock::instant;
    use crate::kafka::{DemoBroker, KafkaConfig, KafkaSource, TopicWriter};

    /// The positions behind the messages that come until `last` has.
    fn read(reader: &mut KafkaReader, last: i64) -> Vec<i64> {
        let mut positions = Vec::new();
        for _ in 0..1_200 {
            if let Polled::Rows(rows) = reader.poll(Duration::from_millis(100)).unwrap() {
                positions.extend(rows.next_positions);
            }
            if positions.last() == Some(&last) {
                break;
            }
        }
        positions
    }

    #[test]
    fn what_is_there_and_does_not_come_is_read_by_another_consumer_once() {
        let broker = DemoBroker::start("events", 1).unwrap();
        let servers = broker.bootstrap_servers();
        let writer = TopicWriter::new(servers, "events", &BTreeMap::new()).unwrap();
        let write = |messages: usize| {
            for _ in 0..messages {
                writer.send(None, Some(b"x"), None).unwrap();
            }
            writer.flush(Duration::from_mins(2)).unwrap();
        };
        let source = KafkaSource::new(KafkaConfig::new(servers, "events"), Arc::new(NoColumns));
        let splits = source.start_splits().unwrap();
        let mut reader = source.kafka_reader().unwrap();
        reader.assign(splits).unwrap();
        write(3);
        assert_eq!(read(&mut reader, 3), [1, 2, 3]);
        // There is nothing: however often it is looked at.
        let first = instant();
        for look in 0..4 {
            assert!(!reader.nothing_came(first + QUIET * look).unwrap());
        }
        write(4);
        // What has come since the last look may be on its way.
        let mut look = 4;
        assert!(!reader.nothing_came(first + QUIET * look).unwrap());
        // A broker that is slow to answer tells a look nothing, and is asked by the next one.
        while reader.stall.ends != BTreeMap::from([(0, 7)]) {
            look += 1;
            assert!(look < 64, "the broker does not answer");
            assert!(!reader.nothing_came(first + QUIET * look).unwrap());
        }
        assert!(!reader.nothing_came(first + QUIET * look + QUIET / 2).unwrap());
        assert!(reader.nothing_came(first + QUIET * (look + 1)).unwrap());
        assert_eq!(read(&mut reader, 7), [4, 5, 6, 7]);
    }
}
