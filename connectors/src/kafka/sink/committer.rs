//! The committer: one per job and cluster, for live commits and recovery alike.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::FutureExt;
use rdkafka::config::ClientConfig;
use thalweg_core::connector::sink::{
    BoxFuture, Committed, Committer, Cut, PendingCommit, Target, TargetExpectation, TargetStatus,
};
use thalweg_core::connector::staging::{DecidedCheckpoint, StagedBytes};
use thalweg_core::connector::standing::{Standing, standing};
use thalweg_core::{CheckpointId, Error, Result};

use super::KIND;
use super::config::KafkaSinkConfig;
use super::decide::{check_kept, check_marker, fenced};
use super::messages::messages;
use super::session::{Marker, Session};
use super::staged::unpack;
use crate::clock::instant;
use crate::kafka::config::KafkaConfig;
use crate::kafka::topic::TopicClient;
use crate::kafka::{admin, client, producer};

/// Sessions that one commit may use up before the attempt is given up.
const TRIES: u32 = 3;

/// Commits to the topics of one cluster.
///
/// Its futures want a tokio runtime with threads for blocking work. Topics do not wait for each other.
pub struct KafkaCommitter {
    shared: Arc<Shared>,
}

struct Shared {
    config: KafkaSinkConfig,
    /// The session of each sink, by application id; none after an error.
    sessions: Mutex<HashMap<String, Kept>>,
    /// The longest message of each topic that was opened.
    limits: Mutex<HashMap<String, usize>>,
}

/// A session between two commits.
struct Kept {
    session: Session,
    /// Where its marker stands.
    marker: CheckpointId,
    /// When the marker was written.
    written: Instant,
}

impl KafkaCommitter {
    /// Serves the topics of a cluster. Brokers are not contacted yet.
    pub fn new(config: KafkaSinkConfig) -> Self {
        let (sessions, limits) = Default::default();
        Self { shared: Arc::new(Shared { config, sessions, limits }) }
    }

    /// The longest message that `topic` takes, once it has been opened.
    pub(super) fn message_limit(&self, topic: &str) -> Option<usize> {
        locked(&self.shared.limits).get(topic).copied()
    }

    /// Settings of a producer without transactions.
    pub(super) fn producer_settings(&self) -> Result<ClientConfig> {
        self.shared.config.check()?;
        let config = &self.shared.config;
        // Whoever sends at once wants it there soon.
        let own = [("linger.ms", "1"), producer::ANY_LENGTH];
        let tuning = [&producer::TUNING[..], &own[..]].concat();
        client::base(&config.bootstrap_servers, &tuning, &config.properties)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.map_err(|_| Error::internal("work for kafka panicked"))?
    }
}

impl Shared {
    fn open(
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
        let mut reader = KafkaConfig::new(&self.config.bootstrap_servers, topic);
        reader.properties = client::connection_properties(&self.config.properties);
        let found = TopicClient::new(&reader)?;
        if found.partitions()?.is_none() {
            if expected.id.is_some() {
                return Err(Error::data_loss(format!(
                    "topic `{topic}` is missing though checkpoints were sent to it"
                )));
            }
            // The broker's own number of partitions.
            admin::ensure_topic(&self.config.bootstrap_servers, topic, -1, &reader.properties)?;
        }
        let id = format!("{}/{topic}", found.cluster_id().unwrap_or_default());
        if expected.id.as_ref().is_some_and(|known| *known != id) {
            return Err(Error::data_loss(format!(
                "topic `{topic}` is in another cluster than the one that checkpoints were sent to"
            )));
        }
        let limit = admin::topic_setting(&reader, "max.message.bytes")?;
        if let Some(limit) = limit.and_then(|limit| limit.parse().ok()) {
            locked(&self.limits).insert(topic.clone(), limit);
        }
        let txn = if exactly_once { self.marker(topic, app_id, expected)? } else { None };
        Ok(TargetStatus { id, txn, version: txn.unwrap_or_default().0 })
    }

    fn marker(
        &self,
        topic: &str,
        app_id: &str,
        expected: &TargetExpectation,
    ) -> Result<Option<CheckpointId>> {
        let marker = Marker::unsettled(&self.config, topic, app_id)?.read()?;
        if check_marker(topic, app_id, marker, expected).is_ok() {
            return Ok(marker);
        }
        // A transaction that was answered may take a moment more until its marker shows.
        let marker = Marker::new(&self.config, topic, app_id)?.read()?;
        check_marker(topic, app_id, marker, expected)?;
        Ok(marker)
    }

    /// `checkpoint` is `None` when the messages are given up.
    fn commit(
        &self,
        pending: &PendingCommit,
        checkpoint: Option<&dyn DecidedCheckpoint>,
    ) -> Result<Committed> {
        let mut last = None;
        for _ in 0..TRIES {
            match self.try_commit(pending, checkpoint) {
                Err(error) if error.kind().is_retryable() => {
                    tracing::warn!(topic = pending.path, %error, "trying again");
                    last = Some(error);
                }
                done => return done,
            }
        }
        Err(last.unwrap_or_else(|| Error::internal("no try was made")))
    }

    fn try_commit(
        &self,
        pending: &PendingCommit,
        checkpoint: Option<&dyn DecidedCheckpoint>,
    ) -> Result<Committed> {
        let (topic, app_id, n) = (&pending.path, &pending.app_id, pending.checkpoint);
        let keep = |session, replayed| {
            let kept = Kept { session, marker: n, written: instant() };
            locked(&self.sessions).insert(app_id.clone(), kept);
            Ok(Committed { version: n.0, replayed })
        };
        // Taken out: whatever ends this early ends the session as well. A strict sink begins a new one at once.
        let kept = locked(&self.sessions).remove(app_id);
        let kept = kept.filter(|kept| !self.config.strict && kept.session.is_settled());
        let is_new = kept.is_none();
        let (mut session, marker) = if let Some(kept) = kept {
            // While it is not fenced nobody else moves the marker. An attempt that failed behind its commit comes again.
            (kept.session, Some(kept.marker))
        } else {
            // A copy that wakes up late must not take the transactions from the job's owner.
            if !checkpoint.map_or(Ok(true), DecidedCheckpoint::is_newest)? {
                return Err(fenced(pending));
            }
            let session = Session::begin(&self.config, topic, app_id)?;
            let marker = session.marker()?;
            (session, marker)
        };
        match standing(marker, n) {
            Standing::Done => return keep(session, true),
            Standing::Fenced => return Err(fenced(pending)),
            Standing::Missing => {}
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
}

impl Shared {
    /// Writes markers again that a sink without rows would let expire.
    fn refresh(&self, now: Instant) {
        let after = self.config.marker_refresh;
        let mut sessions = locked(&self.sessions);
        let stale: Vec<String> = sessions
            .iter()
            .filter(|(_, kept)| now.saturating_duration_since(kept.written) >= after)
            .map(|(app_id, _)| app_id.clone())
            .collect();
        let taken: Vec<_> =
            stale.into_iter().filter_map(|id| sessions.remove(&id).map(|k| (id, k))).collect();
        drop(sessions);
        for (app_id, mut kept) in taken {
            match kept.session.commit(kept.marker, |_| Ok(())) {
                Ok(()) => {
                    let kept = Kept { written: now, ..kept };
                    locked(&self.sessions).insert(app_id, kept);
                }
                // The next commit begins a session of its own.
                Err(error) => tracing::warn!(group = app_id, %error, "a marker was not refreshed"),
            }
        }
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

    fn publish_cut<'a>(&'a self, _cut: &'a Cut) -> BoxFuture<'a, Result<()>> {
        // Between two checkpoints nobody else uses the sessions.
        self.blocking(|shared| {
            shared.refresh(instant());
            Ok(())
        })
        .boxed()
    }
}

impl fmt::Debug for KafkaCommitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaCommitter")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half-done in these maps by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
