//! What the exactly-once sink asks of a cluster, call by call. Behind it stands librdkafka, or a simulation.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use thalweg_core::{CheckpointId, Error, Result};

/// Sessions that one commit may use up before the attempt is given up.
pub(super) const TRIES: u32 = 3;
/// Calls until a step is given up.
const CALLS: u32 = 6;
/// Before the second call, doubled before each further one: a broker that has just started, or taken over from another,
/// refuses at once.
const PAUSE: Duration = Duration::from_millis(100);

/// One message, borrowed from a batch of them.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// `None`: without a key.
    pub key: Option<&'a [u8]>,
    /// A JSON object.
    pub value: &'a [u8],
    /// `None`: when it is sent.
    pub timestamp_ms: Option<i64>,
}

/// What brokers allow; `None` where they do not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BrokerLimits {
    /// How long a transaction may be open.
    pub transaction: Option<Duration>,
    /// How long an offset is remembered.
    pub retention: Option<Duration>,
}

impl BrokerLimits {
    /// Of brokers that are played.
    pub const NONE: Self =
        Self { transaction: Some(Duration::MAX), retention: Some(Duration::MAX) };
}

/// A call that did not come to its end. Whether it was done is unknown.
#[derive(Debug)]
pub struct Refusal {
    /// The same call again goes on where this one stood.
    pub may_pass: bool,
    /// Why, in our words.
    pub error: Error,
}

/// What a call came to.
pub type Answer<T> = std::result::Result<T, Refusal>;

/// A topic as it was found.
#[derive(Debug)]
pub struct FoundTopic {
    /// Empty where brokers give their cluster no id.
    pub cluster: String,
    /// The longest message that it takes, if the brokers tell.
    pub limit: Option<usize>,
}

/// What reading does about transactions that are open or being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Wait for their outcome.
    Settled,
    /// Do not: a dead process may have left one that only the broker's timeout or the next session ends.
    Unsettled,
}

/// The brokers, and the clock that their patience is compared with. Blocking.
pub trait Cluster: Send + Sync {
    /// A topic; one that is missing is made first where `create` says so.
    fn topic(&self, topic: &str, create: bool) -> Result<Option<FoundTopic>>;

    /// What the brokers allow, as far as they tell. `topic` is one of theirs, and was found.
    fn broker_limits(&self, topic: &str, found: &FoundTopic) -> Result<BrokerLimits>;

    /// A producer that has not yet fenced anybody. `app_id` is its transactional id, and the group of its marker.
    fn producer(&self, topic: &str, app_id: &str) -> Result<Box<dyn Transactions>>;

    /// The newest checkpoint that was sent to a topic.
    fn marker(&self, topic: &str, app_id: &str, reading: Reading) -> Result<Option<CheckpointId>>;

    /// By their clock.
    fn now(&self) -> Instant;

    /// Lets that time pass.
    fn wait(&self, pause: Duration);
}

/// A producer of transactions and the marker beside it. Blocking.
pub trait Transactions: Send {
    /// Ends whatever an earlier producer left open, and from now on refuses it.
    fn init(&self) -> Answer<()>;
    /// Begins a transaction.
    fn begin(&self) -> Answer<()>;
    /// Queues a message. An earlier one that could not be delivered is told here or by the commit.
    fn send(&self, message: Message<'_>) -> Result<()>;
    /// Moves the marker to `n`, within the transaction.
    fn mark(&self, n: CheckpointId) -> Answer<()>;
    /// Ends the transaction: what was sent and the marker are to be seen, both or neither.
    fn commit(&self) -> Answer<()>;
    /// A courtesy to readers: what a session leaves open the next one ends.
    fn abort(&self);
    /// Looks where the topic ends, for as long as it is kept.
    fn ends(&self) -> Result<Box<dyn Ends + '_>>;
    /// Where the marker stands. Waits for the outcome of a transaction that moves it.
    fn marker(&self) -> Answer<Option<CheckpointId>>;
    /// The number of the newest report on what has been sent.
    fn report(&self) -> u64;
    /// How often ends of transactions, or markers where they are more, had been sent at a time after report `number`; `None`
    /// if nobody tells.
    fn sent_after(&self, number: u64) -> Option<i64>;
}

/// Looks where each partition of a topic ends. Blocking.
pub trait Ends {
    /// Behind its last message, or before the first transaction that is open.
    fn look(&self, reading: Reading) -> Answer<BTreeMap<i32, i64>>;
}

/// Calls again as long as that helps.
///
/// # Errors
/// That of the last call.
pub fn attempts<T>(cluster: &dyn Cluster, mut call: impl FnMut() -> Answer<T>) -> Result<T> {
    let mut calls = 0;
    loop {
        match call() {
            Ok(value) => return Ok(value),
            Err(refusal) if calls + 1 < CALLS && refusal.may_pass => {
                cluster.wait(PAUSE * 2_u32.pow(calls));
            }
            Err(refusal) => return Err(refusal.error),
        }
        calls += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::sessions::locked;
    use super::*;

    /// Brokers that only know how long was waited between calls, in ms.
    #[derive(Default)]
    struct Waited(Mutex<Vec<u128>>);

    impl Cluster for Waited {
        fn topic(&self, _: &str, _: bool) -> Result<Option<FoundTopic>> {
            Ok(None)
        }

        fn broker_limits(&self, _: &str, _: &FoundTopic) -> Result<BrokerLimits> {
            Ok(BrokerLimits::default())
        }

        fn producer(&self, _: &str, _: &str) -> Result<Box<dyn Transactions>> {
            Err(Error::internal("nobody asks"))
        }

        fn marker(&self, _: &str, _: &str, _: Reading) -> Result<Option<CheckpointId>> {
            Ok(None)
        }

        fn now(&self) -> Instant {
            crate::clock::instant()
        }

        fn wait(&self, pause: Duration) {
            locked(&self.0).push(pause.as_millis());
        }
    }

    fn refused(may_pass: bool) -> Answer<u32> {
        Err(Refusal { may_pass, error: Error::transient("not the coordinator") })
    }

    #[test]
    fn who_is_refused_at_once_does_not_ask_again_at_once() {
        let cluster = Waited::default();
        let mut calls = 0;
        let found = attempts(&cluster, || {
            calls += 1;
            if calls < 4 { refused(true) } else { Ok(calls) }
        });
        assert_eq!(found.unwrap(), 4);
        assert_eq!(*locked(&cluster.0), [100, 200, 400]);
    }

    #[test]
    fn calls_are_given_up_when_they_do_not_help() {
        let cluster = Waited::default();
        attempts(&cluster, || refused(false)).unwrap_err();
        assert_eq!(*locked(&cluster.0), [0_u128; 0]);
        attempts(&cluster, || refused(true)).unwrap_err();
        assert_eq!(*locked(&cluster.0), [100, 200, 400, 800, 1_600]);
    }
}
