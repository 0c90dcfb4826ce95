//! The transactions of a topic's sink: sessions, the marker, and when which of them counts.
//!
//! The steps are those of `connectors/src/kafka/sink`, which blocks its thread, and here all share one: what a marker means is
//! decided by the same code ([`standing`]), the order of the steps is played. The real ones have a simulation of their own there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_core::connector::sink::{
    Committed, PendingCommit, Target, TargetExpectation, TargetStatus,
};
use thalweg_core::connector::staging::{DecidedCheckpoint, StagedBytes};
use thalweg_core::connector::standing::{Standing, standing};
use thalweg_core::time::Clock;
use thalweg_core::{CheckpointId, Error, Result};

use super::broker::{Broker, Refusal};
use super::tables::Hand;
use super::world::{Fault, Mutation, lost};
use crate::placement::blocking;

/// Sessions that one commit may use up before the attempt is given up.
const TRIES: u32 = 3;
/// Calls until a transaction that is being ended is waited for no longer.
const CALLS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);
/// After how long a marker is written again; so soon that it happens.
const REFRESH: Duration = Duration::from_secs(1);

/// What one process knows of its transactions.
#[derive(Debug)]
pub(super) struct Sessions {
    hand: Hand,
    /// What is known of each sink, by application id.
    kept: Mutex<BTreeMap<String, Kept>>,
}

/// One sink between two commits.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// Its session's; none behind a start or an error.
    epoch: Option<u64>,
    /// Where its marker stands.
    marker: CheckpointId,
    /// From when on the marker is to be written again.
    due: Duration,
}

fn later_is_there() -> Error {
    Error::fenced("a later checkpoint is there")
}

impl Sessions {
    pub(super) fn new(hand: Hand) -> Self {
        Self { hand, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `written`: by this session, now.
    fn keep(&self, id: &str, epoch: u64, marker: CheckpointId, written: bool) {
        let later = self.hand.world.monotonic() + REFRESH;
        let due = if written { later } else { Duration::ZERO };
        self.kept().insert(id.to_owned(), Kept { epoch: Some(epoch), marker, due });
    }

    /// Where a start found the marker.
    fn found(&self, id: &str, marker: CheckpointId) {
        if self.hand.world.mutation == Mutation::NoMemory {
            return;
        }
        let knows = |kept: &Kept| kept.epoch.is_some() && kept.marker >= marker;
        let mut all = self.kept();
        if !all.get(id).is_some_and(knows) {
            all.insert(id.to_owned(), Kept { epoch: None, marker, due: Duration::ZERO });
        }
    }

    /// One call to the broker: done or not, answered or not, and again while a transaction is being ended.
    async fn call<T>(
        &self,
        what: u64,
        mut ask: impl FnMut(&mut Broker, Duration) -> Result<T, Refusal>,
    ) -> Result<T> {
        let Hand { world, process, .. } = &self.hand;
        for _ in 0..CALLS {
            world.brief().await;
            let fault = world.touch(*process, what);
            if fault == Fault::Before {
                return Err(lost());
            }
            let now = world.monotonic();
            let answer = {
                let mut inner = world.inner();
                inner.broker.settle(now);
                ask(&mut inner.broker, now)
            };
            world.brief().await;
            if fault == Fault::After {
                return Err(lost());
            }
            match answer {
                Ok(value) => return Ok(value),
                Err(Refusal::Fenced) => {
                    world.count(|c| c.refused += 1);
                    return Err(Error::transient("another instance has taken over"));
                }
                Err(Refusal::Busy) => tokio::time::sleep(PAUSE).await,
            }
        }
        Err(Error::transient("a transaction is still being ended"))
    }

    async fn begin(&self, id: &str) -> Result<u64> {
        let mutation = self.hand.world.mutation;
        let (epoch, aborted) = self.call(8, |broker, _| broker.begin(id, mutation)).await?;
        self.hand.world.count(|c| c.aborted += u64::from(aborted));
        Ok(epoch)
    }

    async fn marker(&self, id: &str, stable: bool) -> Result<Option<CheckpointId>> {
        let marker = self.call(9, |broker, _| broker.marker(id, stable)).await?;
        Ok(marker.map(CheckpointId))
    }

    async fn send(
        &self,
        epoch: u64,
        pending: &PendingCommit,
        checkpoint: &Arc<dyn DecidedCheckpoint>,
    ) -> Result<()> {
        let id = pending.app_id.as_str();
        for item in &pending.staged {
            let part = StagedBytes::of_item(item);
            let part = part.ok_or_else(|| Error::corrupt("the checkpoint names no rows"))?;
            let checkpoint = Arc::clone(checkpoint);
            let reading = move || checkpoint.read(&part);
            let bytes = blocking("reading staged rows", reading).await.flatten()?;
            let rows: Vec<Vec<i64>> = serde_json::from_slice(&bytes)
                .map_err(|_| Error::corrupt("the staged rows are damaged"))?;
            self.call(10, |broker, now| broker.send(id, epoch, &rows, now)).await?;
        }
        Ok(())
    }

    /// Moves the marker and ends the transaction. After an error the outcome is unknown.
    async fn end(&self, epoch: u64, id: &str, n: CheckpointId) -> Result<()> {
        self.call(11, |broker, now| broker.move_marker(id, epoch, n.0, now)).await?;
        let later = self.hand.world.later();
        self.call(12, |broker, now| broker.commit(id, epoch, now + later)).await
    }

    /// The session to commit with, where its marker stands, and whether it is a new one.
    async fn session(
        &self,
        id: &str,
        checkpoint: &Arc<dyn DecidedCheckpoint>,
    ) -> Result<(u64, Option<CheckpointId>, bool)> {
        // Taken out: whatever ends the commit early ends the session as well.
        let kept = self.kept().remove(id);
        if let Some(Kept { epoch: Some(epoch), marker, .. }) = kept {
            return Ok((epoch, Some(marker), false));
        }
        let (epoch, marker) = self.begin_as_newest(id, checkpoint).await?;
        Ok((epoch, marker, true))
    }

    async fn begin_as_newest(
        &self,
        id: &str,
        checkpoint: &Arc<dyn DecidedCheckpoint>,
    ) -> Result<(u64, Option<CheckpointId>)> {
        let asked = Arc::clone(checkpoint);
        let newest = blocking("asking for the newest manifest", move || asked.is_newest()).await;
        if !newest.flatten()? {
            return Err(later_is_there());
        }
        let epoch = self.begin(id).await?;
        Ok((epoch, self.marker(id, true).await?))
    }

    async fn try_commit(
        &self,
        pending: &PendingCommit,
        checkpoint: &Arc<dyn DecidedCheckpoint>,
    ) -> Result<Committed> {
        let (id, n) = (pending.app_id.as_str(), pending.checkpoint);
        let (epoch, mut marker, is_new) = self.session(id, checkpoint).await?;
        if self.hand.world.mutation == Mutation::NoMarker {
            marker = None;
        }
        match standing(marker, n) {
            Standing::Done => {
                self.hand.world.count(|c| c.marked += u64::from(is_new));
                self.keep(id, epoch, n, !is_new);
                return Ok(Committed { version: n.0, replayed: true });
            }
            Standing::Fenced => return Err(later_is_there()),
            Standing::Missing => {}
        }
        self.hand.world.audit_commit(pending);
        let mut sent = self.send(epoch, pending, checkpoint).await;
        if sent.is_ok() {
            sent = self.end(epoch, id, n).await;
        }
        if sent.is_err() {
            // A courtesy to readers: the next session settles it anyhow.
            drop(self.call(13, |broker, _| broker.abort(id, epoch)).await);
        }
        sent?;
        if is_new {
            match standing(self.marker(id, true).await?, n) {
                Standing::Done => {}
                Standing::Fenced => return Err(later_is_there()),
                Standing::Missing => return Err(Error::config("the marker was not kept")),
            }
        }
        self.keep(id, epoch, n, true);
        Ok(Committed { version: n.0, replayed: false })
    }

    pub(super) async fn commit(
        &self,
        pending: &PendingCommit,
        checkpoint: &Arc<dyn DecidedCheckpoint>,
    ) -> Result<Committed> {
        let mut last = None;
        for _ in 0..TRIES {
            match self.try_commit(pending, checkpoint).await {
                Err(error) if error.kind().is_retryable() => last = Some(error),
                done => return done,
            }
        }
        Err(last.unwrap_or_else(lost))
    }

    pub(super) async fn open(
        &self,
        target: &Target,
        id: &str,
        expected: &TargetExpectation,
    ) -> Result<TargetStatus> {
        let mut txn = self.marker(id, false).await?;
        if txn < expected.txn {
            // A transaction that was answered may take a moment more until its marker shows.
            txn = self.marker(id, true).await?;
        }
        if txn < expected.txn {
            return Err(Error::data_loss("the marker is behind"));
        }
        if let Some(marker) = txn {
            self.found(id, marker);
        }
        let version = txn.unwrap_or_default().0;
        Ok(TargetStatus { id: target.path.clone(), txn, version })
    }

    /// Writes markers again that are old, behind checkpoint `n`.
    pub(super) async fn refresh(&self, n: CheckpointId, checkpoint: &Arc<dyn DecidedCheckpoint>) {
        self.hand.world.inner().broker.looked(n.0);
        let now = self.hand.world.monotonic();
        let all: Vec<(String, Kept)> =
            self.kept().iter().map(|(id, kept)| (id.clone(), *kept)).collect();
        for (id, kept) in all.into_iter().filter(|(_, kept)| kept.due <= now) {
            self.kept().remove(&id);
            if let Ok(epoch) = self.write_again(&id, kept, checkpoint).await {
                self.keep(&id, epoch, kept.marker, true);
            } else {
                // It stays due.
                self.hand.world.inner().broker.tried(&id);
                self.kept().insert(id, Kept { epoch: None, ..kept });
            }
        }
    }

    /// A commit without rows. The session's epoch.
    async fn write_again(
        &self,
        id: &str,
        kept: Kept,
        checkpoint: &Arc<dyn DecidedCheckpoint>,
    ) -> Result<u64> {
        let epoch = if let Some(epoch) = kept.epoch {
            epoch
        } else {
            let (epoch, found) = self.begin_as_newest(id, checkpoint).await?;
            if standing(found, kept.marker) == Standing::Fenced {
                return Err(later_is_there());
            }
            epoch
        };
        self.end(epoch, id, kept.marker).await?;
        Ok(epoch)
    }
}
