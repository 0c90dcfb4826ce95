//! Why messages were not delivered, and which of the reasons another attempt would not mend.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use thalweg_core::Error;

use super::client;

/// The error for messages that a broker refuses whenever they come; `None`: another attempt may do better.
pub(super) fn error(code: Option<Code>, topic: &str) -> Option<Error> {
    Some(match code? {
        Code::InvalidTimestamp => Error::config(format!(
            "topic `{topic}` refuses the time of a message: look at this machine's clock, and at the topic's \
             message.timestamp.before.max.ms and message.timestamp.after.max.ms"
        )),
        // Of several messages with a time that is refused the library says no more.
        Code::InvalidRecord => Error::config(format!(
            "topic `{topic}` refuses a message: where its cleanup.policy is compact, each one needs a key: choose a key column \
             that is never null, or another policy; else its time is refused: look at this machine's clock, and at the topic's \
             message.timestamp.before.max.ms and message.timestamp.after.max.ms"
        )),
        Code::PolicyViolation => Error::config(format!(
            "topic `{topic}` refuses a message by a policy of its brokers: ask who runs them"
        )),
        Code::MessageSizeTooLarge => client::too_long(topic),
        Code::TopicAuthorizationFailed => client::may_not_write(topic),
        Code::ClusterAuthorizationFailed => client::may_write_nowhere(topic),
        _ => return None,
    })
}

/// Why a message could not be delivered.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: Option<Code>,
    pub(super) reason: String,
}

impl Failure {
    pub(super) fn of(error: &KafkaError) -> Self {
        Self { code: client::code(error), reason: client::reason(error) }
    }
}

/// The failure to tell: the first of those that another attempt would not mend, else the first at all. Messages that went
/// with one that was refused, or were not sent any more behind it, often come before it and say less.
#[derive(Debug, Default)]
pub(super) struct Failures {
    told: Mutex<Option<Failure>>,
    /// Whether there is one: each message that is sent asks.
    any: AtomicBool,
}

impl Failures {
    pub(super) fn add(&self, error: &KafkaError) {
        let failure = Failure::of(error);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref().is_none_or(|told| weight(told.code) < weight(failure.code)) {
            *told = Some(failure);
        }
        self.any.store(true, Ordering::Release);
    }

    pub(super) fn get(&self) -> Option<Failure> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How much a code says.
fn weight(code: Option<Code>) -> u8 {
    match code {
        Some(Code::InvalidDifferentRecord) => 0,
        code if error(code, "").is_none() => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::ErrorKind;

    use super::*;

    #[test]
    fn what_a_broker_refuses_whenever_it_comes_is_not_tried_again_and_says_what_to_do() {
        for (code, says) in [
            (Code::InvalidTimestamp, "message.timestamp.before.max.ms"),
            (Code::InvalidRecord, "cleanup.policy"),
            (Code::InvalidRecord, "message.timestamp.after.max.ms"),
            (Code::PolicyViolation, "policy of its brokers"),
            (Code::MessageSizeTooLarge, "max.message.bytes"),
            (Code::TopicAuthorizationFailed, "grant WRITE"),
            (Code::ClusterAuthorizationFailed, "IDEMPOTENT_WRITE"),
        ] {
            let error = error(Some(code), "t").unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            let told = error.to_string();
            assert!(told.contains("topic `t`") && told.contains(says), "{told}");
        }
        for passing in [None, Some(Code::MessageTimedOut), Some(Code::InvalidDifferentRecord)] {
            assert!(error(passing, "t").is_none(), "{passing:?}");
        }
    }

    #[test]
    fn the_message_that_was_refused_is_told_and_not_those_that_went_with_it() {
        let failures = Failures::default();
        let told = || failures.get().and_then(|failure| failure.code);
        assert_eq!(told(), None);
        for (code, then) in [
            (Code::InvalidDifferentRecord, Code::InvalidDifferentRecord),
            (Code::MessageTimedOut, Code::MessageTimedOut),
            (Code::InvalidDifferentRecord, Code::MessageTimedOut),
            (Code::PurgeQueue, Code::MessageTimedOut),
            (Code::InvalidRecord, Code::InvalidRecord),
            (Code::PolicyViolation, Code::InvalidRecord),
            (Code::MessageTimedOut, Code::InvalidRecord),
        ] {
            failures.add(&KafkaError::MessageProduction(code));
            assert_eq!(told(), Some(then), "{code:?}");
        }
    }
}
