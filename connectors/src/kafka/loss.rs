//! Words and policy for positions, partitions and topics that are gone.

use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_core::{Error, Result};
use tracing::warn;

use super::config::{KafkaConfig, OnDataLoss};

/// A position that the broker does not have.
pub(super) struct Loss {
    pub(super) partition: i32,
    pub(super) position: i64,
    pub(super) low: i64,
    /// The end, when the position may lie behind it.
    pub(super) high: Option<i64>,
}

impl Loss {
    fn text(&self, topic: &str) -> String {
        let Self { partition, position, low, high } = self;
        match high {
            Some(high) if position > high => format!(
                "topic `{topic}` partition {partition} ends at offset {high}, before position {position}: it was truncated or re-created"
            ),
            _ => format!(
                "topic `{topic}` partition {partition} begins at offset {low}, behind position {position}: the messages between were deleted before they were read"
            ),
        }
    }

    /// An error, or a warning and a count if the policy is to go on at the first offset.
    pub(super) fn pass(&self, config: &KafkaConfig, losses: &AtomicU64) -> Result<()> {
        self.report(config)?;
        count(losses);
        Ok(())
    }

    /// The same where nobody goes on yet: whoever does counts.
    pub(super) fn report(&self, config: &KafkaConfig) -> Result<()> {
        let text = self.text(&config.topic);
        match config.on_data_loss {
            OnDataLoss::Fail => Err(Error::data_loss(format!(
                "{text}; pass --fresh for a new run, or set on_data_loss = \"reset\" to go on at the partition's first offset"
            ))),
            OnDataLoss::Reset => {
                warn!(topic = %config.topic, partition = self.partition, to = self.low, "position reset: {text}");
                Ok(())
            }
        }
    }
}

/// For a topic that was deleted and created again: an error, or a warning and a count if the policy is to go on. Positions
/// that the new one has are then gone on from, since nothing says which of its messages were read before.
pub(super) fn created_again(config: &KafkaConfig, losses: &AtomicU64) -> Result<()> {
    let text = format!(
        "topic `{}` was deleted and created again: the positions of the checkpoint mean nothing in it",
        config.topic
    );
    other_messages(config, &text, losses)
}

/// For a log that was cut short before a position and has grown past it: the same.
pub(super) fn cut_short(config: &KafkaConfig, losses: &AtomicU64) -> Result<()> {
    let text = format!(
        "topic `{}` was cut short, as by an unclean election of a leader, and has grown again: other messages stand where \
         some were that had been read",
        config.topic
    );
    other_messages(config, &text, losses)
}

fn other_messages(config: &KafkaConfig, text: &str, losses: &AtomicU64) -> Result<()> {
    match config.on_data_loss {
        OnDataLoss::Fail => Err(Error::data_loss(format!(
            "{text}; pass --fresh for a new run, or set on_data_loss = \"reset\" to go on at the same offsets, which never \
             reads what stands before them now"
        ))),
        OnDataLoss::Reset => {
            warn!(topic = %config.topic, "messages before our positions are not read: {text}");
            count(losses);
            Ok(())
        }
    }
}

fn count(losses: &AtomicU64) {
    losses.fetch_add(1, Ordering::Relaxed);
}

/// The error for a topic that was there and is not any more.
pub(super) fn deleted(topic: &str) -> Error {
    Error::data_loss(format!(
        "topic `{topic}` does not exist any more; create and fill it again and pass --fresh for a new run"
    ))
}

/// The error for a partition that was there and is not any more.
pub(super) fn no_partition(topic: &str, partition: i32) -> Error {
    Error::data_loss(format!(
        "topic `{topic}` has no partition {partition} any more: it was re-created with fewer; pass --fresh for a new run"
    ))
}

/// The error for a partition that one broker does not know, of a topic that is not known to be another one: its partitions never
/// go, so that broker is behind.
pub(super) fn fewer_partitions(topic: &str, partition: i32) -> Error {
    Error::transient(format!(
        "a broker knows fewer partitions of topic `{topic}` than were found before, not {partition}: it is behind the others, \
         and is asked again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_policy_lets_pass_is_counted_and_what_it_does_not_names_the_way_out() {
        let mut config = KafkaConfig::new("b:1", "t");
        let losses = AtomicU64::new(0);
        let loss = Loss { partition: 0, position: 1, low: 5, high: None };
        let all = |config: &KafkaConfig| {
            [loss.pass(config, &losses), created_again(config, &losses), cut_short(config, &losses)]
        };
        for told in all(&config) {
            let told = told.unwrap_err().to_string();
            assert!(
                told.contains("--fresh") && told.contains("on_data_loss = \"reset\""),
                "{told}"
            );
        }
        assert_eq!(losses.load(Ordering::Relaxed), 0);
        config.on_data_loss = OnDataLoss::Reset;
        assert!(all(&config).iter().all(Result::is_ok));
        assert_eq!(losses.load(Ordering::Relaxed), 3);
        loss.report(&config).unwrap();
        assert_eq!(losses.load(Ordering::Relaxed), 3, "nobody has gone on yet");
    }
}
