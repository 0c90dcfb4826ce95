//! By which leader the last message was written: at a start it tells whether the log was cut short before our position.
//!
//! A log that an unclean election cut short and that has grown again is as long as before. The leader of today knows where
//! the messages of each earlier epoch end, and librdkafka compares that with a position as soon as it first hears of a
//! leader, where the partition was assigned together with an epoch. It knows the epoch of each message; its safe wrapper
//! shows none and takes none.
#![expect(unsafe_code, reason = "the safe wrapper knows no epochs of leaders")]

use std::collections::BTreeMap;
use std::ffi::CString;

use rdkafka::bindings as native;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg_core::connector::source::Split;

use super::cluster::Assigned;

/// What a split's properties call the epoch.
const EPOCH: &str = "leader_epoch";

/// What they call the offset behind the last message, where the position is further: an epoch says nothing about the
/// markers and aborted records between the two, which later leaders may have written.
const END: &str = "leader_epoch_end";

/// What they call the position that both belong to. Versions that know no epochs keep them and move the position on.
const AT: &str = "leader_epoch_position";

/// The last message that was read of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastRead {
    /// The epoch of the leader that wrote it.
    epoch: i32,
    /// The offset behind it.
    pub(super) end: i64,
}

impl LastRead {
    /// `None` where no epoch is known: the message is in a format of before Apache Kafka 0.11.
    pub(super) fn new(epoch: i32, end: i64) -> Option<Self> {
        (epoch >= 0 && end > 0).then_some(Self { epoch, end })
    }

    /// What a checkpoint remembers; `None` from versions that stored no epochs, and where nothing was read yet.
    pub(super) fn stored_in(split: &Split) -> Option<Self> {
        split.properties.get(AT).filter(|at| **at == split.position.to_string())?;
        let epoch = split.properties.get(EPOCH)?.parse::<i32>().ok()?;
        let end = match split.properties.get(END) {
            // Rows before it may not have left yet.
            Some(end) => end.parse::<i64>().ok()?.min(split.position),
            None => split.position,
        };
        Self::new(epoch, end)
    }
}

/// What a checkpoint stores with `position`.
///
/// It holds for positions before it as well, of rows that were read and have not left yet: a message of a later epoch stands
/// only in a log that has not been cut short before it.
pub(super) fn properties(last: Option<LastRead>, position: i64) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    if let Some(last) = last {
        properties.insert(EPOCH.to_owned(), last.epoch.to_string());
        if last.end != position {
            properties.insert(END.to_owned(), last.end.to_string());
        }
    }
    properties
}

/// Completes what is stored with a position, once it is known which that is.
pub(super) fn seal(split: &mut Split) {
    if split.properties.contains_key(EPOCH) {
        split.properties.insert(AT.to_owned(), split.position.to_string());
    }
}

/// The epoch of the leader that wrote `message`; negative where it is unknown.
pub(super) fn epoch_of(message: &BorrowedMessage<'_>) -> i32 {
    // SAFETY: a message lives as long as it is borrowed, and librdkafka only reads it.
    unsafe { native::rd_kafka_message_leader_epoch(message.ptr()) }
}

/// A partition to be read from behind the last message, whose epoch is compared, or from `position` where none is known.
pub(super) fn assigned(partition: i32, position: i64, last: Option<LastRead>) -> Assigned {
    let from = last.map_or(position, |last| last.end.min(position));
    Assigned { partition, from, epoch: last.map(|last| last.epoch) }
}

/// Adds a partition to those to assign.
pub(super) fn add(
    list: &mut TopicPartitionList,
    topic: &str,
    assigned: &Assigned,
) -> KafkaResult<()> {
    let Assigned { partition, from, epoch } = *assigned;
    list.add_partition_offset(topic, partition, Offset::Offset(from))?;
    let Some(epoch) = epoch else { return Ok(()) };
    let name = CString::new(topic)?;
    // SAFETY: the list lives and is borrowed by nobody else, and so does its element; the name outlives the call.
    unsafe {
        let found =
            native::rd_kafka_topic_partition_list_find(list.ptr(), name.as_ptr(), partition);
        if found.is_null() {
            return Err(KafkaError::SetPartitionOffset(Code::UnknownPartition));
        }
        native::rd_kafka_topic_partition_set_leader_epoch(found, epoch);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(position: i64, properties: BTreeMap<String, String>) -> Split {
        let mut split = Split { id: "partition-00000".to_owned(), position, end: None, properties };
        seal(&mut split);
        split
    }

    fn stored(position: i64, properties: &[(&str, &str)]) -> Option<LastRead> {
        let owned = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        LastRead::stored_in(&split(position, owned.collect()))
    }

    #[test]
    fn what_is_stored_is_what_was_read() {
        let last = LastRead::new(3, 10);
        assert!(last.is_some());
        // At the last message, and behind markers.
        for position in [10, 12] {
            let split = split(position, properties(last, position));
            assert_eq!(LastRead::stored_in(&split), last, "{position}");
        }
        // A row that had not left yet.
        assert_eq!(stored(7, &[(EPOCH, "3")]), LastRead::new(3, 7));
        assert_eq!(stored(7, &[(EPOCH, "3"), (END, "10")]), LastRead::new(3, 7));
    }

    #[test]
    fn a_position_that_an_older_version_moved_on_has_no_epoch() {
        for last in [LastRead::new(3, 10), LastRead::new(3, 8)] {
            let mut split = split(10, properties(last, 10));
            assert_eq!(LastRead::stored_in(&split), last);
            split.position = 11;
            assert_eq!(LastRead::stored_in(&split), None);
            // This version has read a message of it.
            split.properties = properties(LastRead::new(4, 11), 11);
            seal(&mut split);
            assert_eq!(LastRead::stored_in(&split), LastRead::new(4, 11));
        }
    }

    #[test]
    fn without_an_epoch_nothing_is_compared() {
        assert_eq!(properties(None, 5), BTreeMap::new());
        assert_eq!(LastRead::new(-1, 5), None);
        for unknown in ["", "-1", "x", "99999999999"] {
            assert_eq!(stored(5, &[(EPOCH, unknown)]), None, "{unknown}");
        }
        assert_eq!(stored(5, &[(END, "5")]), None);
        assert_eq!(stored(5, &[(EPOCH, "0"), (END, "x")]), None);
        assert_eq!(stored(0, &[(EPOCH, "0")]), None, "nothing stands before the first offset");
    }

    #[test]
    fn a_checkpoint_of_before_epochs_were_stored_is_read() {
        let older = r#"{"id":"partition-00000","position":5,"end":null}"#;
        let mut split: Split = serde_json::from_str(older).unwrap();
        seal(&mut split);
        assert_eq!((split.position, LastRead::stored_in(&split)), (5, None));
        assert_eq!(serde_json::to_string(&split).unwrap(), older);
    }

    #[test]
    fn a_partition_is_assigned_behind_the_last_message_with_its_epoch() {
        let mut list = TopicPartitionList::new();
        add(&mut list, "t", &assigned(0, 12, LastRead::new(3, 10))).unwrap();
        add(&mut list, "t", &assigned(1, 12, None)).unwrap();
        for (partition, offset, epoch) in [(0, 10, 3), (1, 12, -1)] {
            let found = list.find_partition("t", partition).map(|found| found.offset());
            assert_eq!(found, Some(Offset::Offset(offset)));
            // SAFETY: the list lives, and the partition is in it.
            let found = unsafe {
                let name = c"t".as_ptr();
                let found = native::rd_kafka_topic_partition_list_find(list.ptr(), name, partition);
                native::rd_kafka_topic_partition_get_leader_epoch(found)
            };
            assert_eq!(found, epoch);
        }
    }
}
