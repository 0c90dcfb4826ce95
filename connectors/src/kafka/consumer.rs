//! Consumers, whose end is not waited for without end.

use std::ops::Deref;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use thalweg_core::Result;
use tracing::warn;

use super::client::{self, Events, TUNING};
use super::config::KafkaConfig;

/// A group name for consumers that have none: librdkafka assigns partitions only under some name. Nothing is ever
/// committed under it, and it is never joined.
const NO_GROUP: &str = "thalweg-no-group";
/// How long the end of a consumer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A consumer that reads nothing until partitions are assigned to it.
///
/// Its end waits for the coordinator of its group, which a broker that hung may never name again. Nobody of ours joins a
/// group, and who needs an answer to a commit has waited for it: whoever drops a consumer goes on after a second, and what is
/// left of it ends with its broker or the process.
pub(super) struct GroupConsumer(Option<BaseConsumer<Events>>);

impl GroupConsumer {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self> {
        Self::at(config, "read_committed")
    }

    /// The same; `isolation` also says whether reading group offsets waits for transactions that are open.
    pub(super) fn at(config: &KafkaConfig, isolation: &str) -> Result<Self> {
        let mut client = client::base(&config.bootstrap_servers, &TUNING, &config.properties)?;
        client
            .set("group.id", config.group_id.as_deref().unwrap_or(NO_GROUP))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("isolation.level", isolation)
            .set("allow.auto.create.topics", "false");
        let consumer = client.create_with_context(Events::default());
        Ok(Self(Some(consumer.map_err(client::creation_error)?)))
    }
}

impl Deref for GroupConsumer {
    type Target = BaseConsumer<Events>;

    #[expect(clippy::expect_used, reason = "only the drop takes it out")]
    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("a consumer is there until it is dropped")
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        let consumer = self.0.take();
        let (ended, end) = mpsc::channel::<()>();
        let closing = thread::Builder::new().name("close-consumer".to_owned()).spawn(move || {
            drop(consumer);
            drop(ended);
        });
        // Without a thread it was closed here.
        if closing.is_ok() && end.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            warn!(
                "a consumer does not end, since its group's coordinator does not answer; it is left to itself"
            );
        }
    }
}
