//! Refusals that pass: of brokers that have just started, that make the topics they need themselves, or have not heard of a
//! topic yet.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};

use super::KafkaServerError;

/// What is refused for so long has been refused.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until there is an answer, or a refusal that does not pass.
pub(super) fn ask<T>(
    what: &str,
    mut question: impl FnMut() -> KafkaResult<T>,
) -> Result<T, KafkaServerError> {
    let begun = Instant::now();
    loop {
        match question() {
            Ok(answer) => return Ok(answer),
            Err(cause) if passes(&cause) && begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
            Err(cause) => return Err(KafkaServerError::Kafka { what: what.to_owned(), cause }),
        }
    }
}

/// Whether the same question may have an answer soon. A client that has waited in vain for a broker has waited long enough.
fn passes(error: &KafkaError) -> bool {
    let code = match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    matches!(
        code,
        Some(
            // The first look at a group makes the topic that remembers groups, whose leaders take up their work one by one.
            Code::NotCoordinator
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::UnstableOffsetCommit
                // A broker that is behind the others, or whose leader has just changed.
                | Code::UnknownTopicOrPartition
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::OffsetNotAvailable
                // Of several brokers a busy machine has held one up until it was taken for dead.
                | Code::InvalidReplicationFactor
                // A connection that broke.
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
        )
    )
}

/// The partitions of a topic; for one that a broker does not know there is none but an error.
pub(super) fn partitions(
    consumer: &BaseConsumer,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<Vec<i32>> {
    let seen = consumer.fetch_metadata(Some(topic), timeout)?;
    let found = seen.topics().iter().find(|found| found.name() == topic);
    if let Some(fault) = found.and_then(MetadataTopic::error) {
        return Err(KafkaError::MetadataFetch(Code::from(fault)));
    }
    let all = found.into_iter().flat_map(MetadataTopic::partitions).map(MetadataPartition::id);
    let all: Vec<i32> = all.collect();
    if all.is_empty() {
        return Err(KafkaError::MetadataFetch(Code::UnknownTopicOrPartition));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_asked_again_and_what_does_not_is_told_at_once() {
        let refusals = [
            KafkaError::OffsetFetch(Code::NotCoordinator),
            KafkaError::AdminOp(Code::InvalidReplicationFactor),
            KafkaError::MetadataFetch(Code::UnknownTopicOrPartition),
        ];
        let mut refusals = refusals.into_iter();
        let answered = ask("look", || refusals.next().map_or(Ok(7), Err));
        assert_eq!(answered.unwrap(), 7);

        let mut asked = 0;
        let refused = ask("look", || {
            asked += 1;
            Err::<(), _>(KafkaError::MetadataFetch(Code::TopicAuthorizationFailed))
        });
        let told = refused.unwrap_err().to_string();
        assert!(told.starts_with("could not look: "), "{told}");
        assert_eq!(asked, 1);
    }
}
