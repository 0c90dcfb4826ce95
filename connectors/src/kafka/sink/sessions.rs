//! What a process knows of its sinks between two commits: their sessions, and markers that must not expire.
//!
//! A broker forgets the offsets of a group that nothing is written for during its `offsets.retention.minutes`. So the
//! marker of a sink without rows is written again behind checkpoints of the job: by the session that is there or, behind
//! a start or an error, by a new one. That is a commit without rows, and as safe as one (P28). Only whose manifest
//! still is the newest begins a session, so a copy that wakes up late fences no owner; but for one that has found no marker
//! at all, at the beginning of a chain, where an owner that it fences begins another. It moves no marker back either: a
//! session reads the marker when all earlier producers are fenced and their transactions ended, writes nothing where
//! it is ahead, and cannot write once a later session has begun.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thalweg_core::connector::staging::DecidedCheckpoint;
use thalweg_core::connector::standing::{Standing, standing};
use thalweg_core::{CheckpointId, Error, Result};

use super::cluster::Cluster;
use super::config::KafkaSinkConfig;
use super::limits::AskedLimits;
use super::session::Session;
#[cfg(test)]
use super::simulation::mutation;

/// A refresh that failed is tried again after this part of the time between two.
const AGAIN: u32 = 24;

/// Longer is never, and a time as long can still be added to an instant.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// One sink between two commits.
struct Kept {
    topic: String,
    /// None behind a start or an error.
    session: Option<Session>,
    /// Where the marker stands.
    marker: CheckpointId,
    /// From when on the marker is to be written again: at once when nobody knows when it was.
    due: Option<Instant>,
}

/// The sinks of one cluster, by application id.
pub(super) struct Sessions {
    config: KafkaSinkConfig,
    cluster: Arc<dyn Cluster>,
    /// What the brokers allow.
    allowed: Arc<AskedLimits>,
    kept: Mutex<BTreeMap<String, Kept>>,
}

impl Sessions {
    pub(super) fn new(
        config: KafkaSinkConfig,
        cluster: Arc<dyn Cluster>,
        allowed: Arc<AskedLimits>,
    ) -> Self {
        Self { config, cluster, allowed, kept: Mutex::default() }
    }

    /// After how long a marker is written again.
    pub(super) fn every(&self) -> Duration {
        self.allowed.refresh(&self.config).min(LONGEST)
    }

    /// The session that goes on, and where its marker stands. Taken out: whatever ends a commit early ends the session
    /// as well. A strict sink begins a new one at once.
    pub(super) fn take(&self, app_id: &str) -> Option<(Session, CheckpointId)> {
        let kept = locked(&self.kept).remove(app_id)?;
        Some((self.settled(kept.session)?, kept.marker))
    }

    fn settled(&self, session: Option<Session>) -> Option<Session> {
        session.filter(|session| !self.config.strict && session.is_settled())
    }

    /// A new session, and where its marker stands. A copy that wakes up late must not take the transactions from the
    /// job's owner: without a `checkpoint` nobody is asked.
    pub(super) fn begin(
        &self,
        topic: &str,
        app_id: &str,
        checkpoint: Option<&dyn DecidedCheckpoint>,
    ) -> Result<(Session, Option<CheckpointId>)> {
        if !checkpoint.map_or(Ok(true), DecidedCheckpoint::is_newest)? {
            return Err(Error::fenced(format!(
                "a later checkpoint than the one that is finished stands, so nothing is sent to topic `{topic}`: \
                 another instance owns this job"
            )));
        }
        let timeout = self.config.transaction_timeout;
        let session = Session::begin(&self.cluster, topic, app_id, timeout)?;
        let marker = session.marker()?;
        #[cfg(test)]
        let marker = mutation::marker(marker);
        Ok((session, marker))
    }

    /// Until the next commit. A session that found the checkpoint done does not know when: the marker is due.
    pub(super) fn keep(&self, topic: &str, app_id: &str, session: Session, marker: CheckpointId) {
        let due = session.written().map(|at| at + self.every());
        let kept = Kept { topic: topic.to_owned(), session: Some(session), marker, due };
        locked(&self.kept).insert(app_id.to_owned(), kept);
    }

    /// Where a start found the marker. Nobody knows when it was written, so it is due. A session that is here knows
    /// better, unless others have gone on; and one that could not be written has its time already.
    pub(super) fn found(&self, topic: &str, app_id: &str, marker: CheckpointId) {
        #[cfg(test)]
        if !mutation::remembers() {
            return;
        }
        let knows =
            |kept: &Kept| kept.marker >= marker && (kept.session.is_some() || kept.due.is_some());
        let mut all = locked(&self.kept);
        if !all.get(app_id).is_some_and(knows) {
            let kept = Kept { topic: topic.to_owned(), session: None, marker, due: None };
            all.insert(app_id.to_owned(), kept);
        }
    }

    /// Writes markers again that would expire. What fails is tried again, though not at every checkpoint of the job: each try
    /// may wait for a broker.
    pub(super) fn refresh(&self, checkpoint: &dyn DecidedCheckpoint) {
        let now = self.cluster.now();
        let is_due = |kept: &Kept| kept.due.is_none_or(|due| due <= now);
        #[cfg(test)]
        let is_due = |kept: &Kept| mutation::is_due(is_due(kept));
        let due: Vec<_> = locked(&self.kept).extract_if(.., |_, kept| is_due(kept)).collect();
        let mut silent = false;
        for (app_id, kept) in due {
            let later = Some(now + self.every() / AGAIN);
            // The same brokers: they are waited for once, not for each sink.
            if silent {
                locked(&self.kept).insert(app_id, Kept { due: later, ..kept });
                continue;
            }
            let Kept { topic, session, marker, .. } = kept;
            match self.write_again(&topic, &app_id, session, marker, checkpoint) {
                Ok(session) => self.keep(&topic, &app_id, session, marker),
                Err(error) => {
                    tracing::warn!(group = app_id, %error, "a marker was not refreshed");
                    silent = error.kind().is_retryable();
                    let kept = Kept { topic, session: None, marker, due: later };
                    locked(&self.kept).insert(app_id, kept);
                }
            }
        }
    }

    fn write_again(
        &self,
        topic: &str,
        app_id: &str,
        session: Option<Session>,
        marker: CheckpointId,
        checkpoint: &dyn DecidedCheckpoint,
    ) -> Result<Session> {
        let mut session = if let Some(session) = self.settled(session) {
            session
        } else {
            let (session, found) = self.begin(topic, app_id, Some(checkpoint))?;
            if standing(found, marker) == Standing::Fenced {
                return Err(Error::fenced("it is ahead: another instance owns this job"));
            }
            if found.is_none() {
                tracing::warn!(
                    topic,
                    group = app_id,
                    "the marker was gone and is written again: it expired, or the topic was deleted and created again"
                );
            }
            session
        };
        session.commit(marker, |_| Ok(()))?;
        Ok(session)
    }
}

/// Nothing is left half-done by a panic in the maps that are locked here.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
