//! The committer: one per job and cluster, for live commits and recovery alike.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use rdkafka::config::ClientConfig;
use thalweg_core::connector::sink::{
    BoxFuture, Committed, Committer, PendingCommit, Target, TargetExpectation, TargetStatus,
};
use thalweg_core::connector::staging::{DecidedCheckpoint, StagedBytes};
use thalweg_core::connector::standing::{Standing, standing};
use thalweg_core::{CheckpointId, Error, Result};

use super::KIND;
use super::brokers::Brokers;
use super::cluster::{Cluster, Reading, TRIES};
use super::config::KafkaSinkConfig;
use super::decide::{check_kept, check_marker, fenced, not_kept};
use super::limits::AskedLimits;
use super::messages::messages;
use super::sessions::{Sessions, locked};
#[cfg(test)]
use super::simulation::mutation;
use super::staged::unpack;
use crate::background;
use crate::kafka::{client, producer};

/// Commits to the topics of one cluster.
///
/// Its futures want a tokio runtime with threads for blocking work. Topics do not wait for each other.
pub struct KafkaCommitter {
    shared: Arc<Shared>,
}

/// The committer's work. Blocking.
pub(super) struct Shared {
    config: KafkaSinkConfig,
    cluster: Arc<dyn Cluster>,
    sessions: Sessions,
    /// The longest message of each topic that was opened.
    limits: Mutex<HashMap<String, usize>>,
    /// What the brokers allow.
    allowed: Arc<AskedLimits>,
}

impl KafkaCommitter {
    /// Serves the topics of a cluster. Brokers are not contacted yet.
    pub fn new(config: KafkaSinkConfig) -> Self {
        let cluster = Arc::new(Brokers::new(config.clone()));
        Self::over(config, cluster)
    }

    /// Serves the topics of `cluster`, which stands for the one that `config` names.
    #[cfg(feature = "test-util")]
    pub fn on_cluster(config: KafkaSinkConfig, cluster: Arc<dyn Cluster>) -> Self {
        Self::over(config, cluster)
    }

    fn over(config: KafkaSinkConfig, cluster: Arc<dyn Cluster>) -> Self {
        Self { shared: Arc::new(Shared::new(config, cluster)) }
    }

    /// Whether a transaction may last as long as rows gather for it.
    pub(super) fn check_interval(&self, interval: Duration) -> Result<()> {
        self.shared.config.check_interval(interval)
    }

    /// The longest message that `topic` takes, once it has been opened.
    pub(super) fn message_limit(&self, topic: &str) -> Option<usize> {
        locked(&self.shared.limits).get(topic).copied()
    }

    /// Settings of a producer without transactions, to a topic that takes `limit` bytes at once.
    pub(super) fn producer_settings(&self, limit: Option<usize>) -> Result<ClientConfig> {
        self.shared.config.check()?;
        let config = &self.shared.config;
        // Whoever sends at once wants it there soon.
        let own = [("linger.ms", "1"), producer::ANY_LENGTH];
        let tuning = [&producer::TUNING[..], &own[..]].concat();
        let mut client = client::base(&config.bootstrap_servers, &tuning, &config.properties)?;
        let own = config.properties.get(producer::BATCH_SIZE).map(String::as_str);
        if let Some(bytes) = limit.and_then(|limit| producer::batch_size(limit, own)) {
            client.set(producer::BATCH_SIZE, bytes);
        }
        Ok(client)
    }

    /// Work that nobody can call off: whoever began it waits for its end (P6). Its calls have limits.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        background::waiting("work for kafka", move || work(&shared)).await?
    }
}

impl Shared {
    pub(super) fn new(config: KafkaSinkConfig, cluster: Arc<dyn Cluster>) -> Self {
        let allowed = Arc::<AskedLimits>::default();
        let sessions = Sessions::new(config.clone(), Arc::clone(&cluster), Arc::clone(&allowed));
        Self { config, cluster, sessions, limits: Mutex::default(), allowed }
    }

    pub(super) fn open(
        &self,
        target: &Target,
        app_id: &str,
        expected: &TargetExpectation,
    ) -> Result<TargetStatus> {
        self.config.check()?;
        let exactly_once = target.definition.get("exactly_once").is_none_or(|flag| flag == true);
        if exactly_once {
            self.config.message_timeout()?;
        }
        let topic = &target.path;
        let Some(found) = self.cluster.topic(topic, expected.id.is_none())? else {
            return Err(Error::data_loss(format!(
                "topic `{topic}` is missing though checkpoints were sent to it"
            )));
        };
        let id = format!("{}/{topic}", found.cluster);
        if expected.id.as_ref().is_some_and(|known| *known != id) {
            return Err(Error::data_loss(format!(
                "topic `{topic}` is in another cluster than the one that checkpoints were sent to"
            )));
        }
        if let Some(limit) = found.limit {
            locked(&self.limits).insert(topic.clone(), limit);
        }
        if exactly_once {
            self.allowed.check(&self.config, || self.cluster.broker_limits(topic, &found))?;
        }
        let txn = if exactly_once { self.marker(topic, app_id, expected)? } else { None };
        let txn = match txn {
            None if exactly_once && expected.txn.is_none() => {
                again(topic, || self.first_marker(topic, app_id))?
            }
            txn => txn,
        };
        if let Some(marker) = txn {
            self.sessions.found(topic, app_id, marker);
        }
        Ok(TargetStatus { id, txn, version: txn.unwrap_or_default().0 })
    }

    fn marker(
        &self,
        topic: &str,
        app_id: &str,
        expected: &TargetExpectation,
    ) -> Result<Option<CheckpointId>> {
        let marker = self.cluster.marker(topic, app_id, Reading::Unsettled)?;
        if check_marker(topic, app_id, marker, expected).is_ok() {
            return Ok(marker);
        }
        // A transaction that was answered may take a moment more until its marker shows.
        let marker = self.cluster.marker(topic, app_id, Reading::Settled)?;
        check_marker(topic, app_id, marker, expected)?;
        Ok(marker)
    }

    /// Writes that nothing was sent, where nothing is written: a marker that is gone behind a chain's first commit would else be
    /// taken for one that was not there yet, and the commit be made again.
    fn first_marker(&self, topic: &str, app_id: &str) -> Result<Option<CheckpointId>> {
        let (mut session, found) = self.sessions.begin(topic, app_id, None)?;
        let marker = found.unwrap_or(CheckpointId::GENESIS);
        if found.is_none() {
            session.commit(marker, |_| Ok(()))?;
            if session.marker()?.is_none() {
                return Err(not_kept(&self.config.bootstrap_servers));
            }
        }
        self.sessions.keep(topic, app_id, session, marker);
        Ok(Some(marker))
    }

    /// `checkpoint` is `None` when the messages are given up.
    pub(super) fn commit(
        &self,
        pending: &PendingCommit,
        checkpoint: Option<&dyn DecidedCheckpoint>,
    ) -> Result<Committed> {
        again(&pending.path, || self.try_commit(pending, checkpoint))
    }

    fn try_commit(
        &self,
        pending: &PendingCommit,
        checkpoint: Option<&dyn DecidedCheckpoint>,
    ) -> Result<Committed> {
        let (topic, app_id, n) = (&pending.path, &pending.app_id, pending.checkpoint);
        let keep = |session, replayed| {
            self.sessions.keep(topic, app_id, session, n);
            Ok(Committed { version: n.0, replayed })
        };
        let kept = self.sessions.take(app_id);
        let is_new = kept.is_none();
        let (mut session, marker) = if let Some((session, marker)) = kept {
            // While it is not fenced nobody else moves the marker. An attempt that failed behind its commit comes again.
            (session, Some(marker))
        } else {
            self.sessions.begin(topic, app_id, checkpoint)?
        };
        let standing = standing(marker, n);
        #[cfg(test)]
        let standing = mutation::standing(standing);
        match standing {
            Standing::Done => return keep(session, true),
            Standing::Fenced => return Err(fenced(pending)),
            Standing::Missing => {}
        }
        if checkpoint.is_some() && !pending.staged.is_empty() {
            session.clear()?;
        }
        session.commit(n, |send| {
            let Some(checkpoint) = checkpoint else { return Ok(()) };
            for item in &pending.staged {
                let part = StagedBytes::of_item(item).ok_or_else(|| {
                    Error::corrupt(format!("checkpoint {n} names no messages for `{topic}`"))
                })?;
                for batch in unpack(checkpoint, &part)? {
                    let all = messages(&batch).ok_or_else(|| {
                        Error::corrupt(format!("the messages in {} are damaged", part.path))
                    })?;
                    all.into_iter().try_for_each(&mut *send)?;
                }
            }
            Ok(())
        })?;
        if is_new {
            check_kept(&self.config.bootstrap_servers, pending, session.marker()?)?;
        }
        keep(session, false)
    }

    /// Between two checkpoints, when nobody else uses the sessions.
    pub(super) fn refresh(&self, checkpoint: &dyn DecidedCheckpoint) {
        self.sessions.refresh(checkpoint);
    }
}

impl Committer for KafkaCommitter {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn open<'a>(
        &'a self,
        target: &'a Target,
        app_id: &'a str,
        expected: &'a TargetExpectation,
        _adopt: bool,
    ) -> BoxFuture<'a, Result<TargetStatus>> {
        let (target, app_id, expected) = (target.clone(), app_id.to_owned(), expected.clone());
        self.blocking(move |shared| shared.open(&target, &app_id, &expected)).boxed()
    }

    fn commit<'a>(
        &'a self,
        pending: &'a PendingCommit,
        checkpoint: &'a Arc<dyn DecidedCheckpoint>,
    ) -> BoxFuture<'a, Result<Committed>> {
        let (pending, checkpoint) = (pending.clone(), Arc::clone(checkpoint));
        self.blocking(move |shared| shared.commit(&pending, Some(checkpoint.as_ref()))).boxed()
    }

    fn void<'a>(&'a self, pending: &'a PendingCommit) -> BoxFuture<'a, Result<Committed>> {
        let pending = pending.clone();
        self.blocking(move |shared| shared.commit(&pending, None)).boxed()
    }

    fn version<'a>(&'a self, _path: &'a str) -> BoxFuture<'a, Result<u64>> {
        // A topic has no versions that readers could ask for.
        std::future::ready(Ok(0)).boxed()
    }

    fn refresh<'a>(&'a self, checkpoint: &'a Arc<dyn DecidedCheckpoint>) -> BoxFuture<'a, ()> {
        let checkpoint = Arc::clone(checkpoint);
        self.blocking(move |shared| {
            shared.refresh(checkpoint.as_ref());
            Ok(())
        })
        .map(|done| {
            if let Err(error) = done {
                tracing::warn!(%error, "markers were not refreshed");
            }
        })
        .boxed()
    }
}

/// Tries what a new session may mend.
fn again<T>(topic: &str, mut call: impl FnMut() -> Result<T>) -> Result<T> {
    let mut last = None;
    for _ in 0..TRIES {
        match call() {
            Err(error) if error.kind().is_retryable() => {
                tracing::warn!(topic, %error, "trying again");
                last = Some(error);
            }
            done => return done,
        }
    }
    Err(last.unwrap_or_else(|| Error::internal("no try was made")))
}

impl fmt::Debug for KafkaCommitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaCommitter")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;
    use crate::kafka::sink::cluster::{BrokerLimits, FoundTopic, Transactions};

    const DAY: Duration = Duration::from_hours(24);

    /// Brokers that remember an offset for a day.
    struct Forgetful;

    impl Cluster for Forgetful {
        fn topic(&self, _: &str, _: bool) -> Result<Option<FoundTopic>> {
            Ok(Some(FoundTopic { cluster: String::new(), limit: None }))
        }

        fn broker_limits(&self, _: &str, _: &FoundTopic) -> Result<BrokerLimits> {
            Ok(BrokerLimits { transaction: None, retention: Some(DAY) })
        }

        fn producer(&self, _: &str, _: &str) -> Result<Box<dyn Transactions>> {
            Err(Error::internal("nobody asks"))
        }

        fn marker(&self, _: &str, _: &str, _: Reading) -> Result<Option<CheckpointId>> {
            Ok(Some(CheckpointId::GENESIS))
        }

        fn now(&self) -> Instant {
            crate::clock::instant()
        }

        fn wait(&self, _: Duration) {}
    }

    #[test]
    fn markers_are_written_again_sooner_where_brokers_forget_them_sooner() {
        let shared = Shared::new(KafkaSinkConfig::new("b:1"), Arc::new(Forgetful));
        assert_eq!(shared.sessions.every(), DAY);
        let definition = json!({ "exactly_once": true });
        let target = Target { kind: KIND.to_owned(), path: "t".to_owned(), definition };
        shared.open(&target, "job/chain/0/sink", &TargetExpectation::default()).unwrap();
        assert_eq!(shared.sessions.every(), DAY / 2);
    }

    #[test]
    fn batches_of_a_producer_without_transactions_fit_into_their_topic() {
        let committer = KafkaCommitter::new(KafkaSinkConfig::new("127.0.0.1:1"));
        let size = |limit| {
            let settings = committer.producer_settings(limit).unwrap();
            settings.get(producer::BATCH_SIZE).map(str::to_owned)
        };
        assert_eq!(size(Some(400)).as_deref(), Some("400"));
        assert_eq!(size(None), None);
    }
}
