//! What a subtask tells the coordinator, and how its part of a checkpoint becomes durable meanwhile.

use std::sync::{Arc, Weak};

use actix::Recipient;
use futures::future::try_join_all;
use thalweg_core::checkpoint::manifest::{SplitSnapshot, StateFile};
use thalweg_core::connector::sink::{IoHandle, Staged};
use thalweg_core::failpoint;
use thalweg_core::operator::{OpenContext, StateChunk, StatePayload};
use thalweg_core::{Attempt, CheckpointId, Error, OperatorUid, Result, Watermark};

use super::chain::Chain;
use super::emitter::Emitter;
use crate::checkpoint::state_files::StateStore;
use crate::placement::blocking;

/// A source's part of a report.
#[derive(Debug, Clone)]
pub(crate) struct SourceReport {
    pub(crate) uid: OperatorUid,
    pub(crate) splits: Vec<SplitSnapshot>,
    /// Rows this subtask emitted in this attempt.
    pub(crate) rows: u64,
    /// The watermark that it emitted last.
    pub(crate) said: Watermark,
}

/// Everything that one subtask contributes to one manifest.
#[derive(Debug, Default)]
pub(crate) struct SubtaskReport {
    pub(crate) source: Option<SourceReport>,
    pub(crate) state: Vec<StateFile>,
    pub(crate) staged: Vec<(OperatorUid, Staged)>,
}

/// From a subtask to the coordinator. Messages of another attempt are dropped there (P6).
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct SubtaskEvent {
    pub(crate) attempt: Attempt,
    pub(crate) subtask: usize,
    pub(crate) event: Event,
}

#[derive(Debug)]
pub(crate) enum Event {
    Acknowledged(CheckpointId, SubtaskReport),
    /// This source subtask has read its bounded input to the end, or its share of the budget.
    Exhausted,
    Failed(Error),
}

/// Takes a subtask's part of a checkpoint.
pub(crate) struct Checkpointer {
    pub(crate) attempt: Attempt,
    pub(crate) subtask: usize,
    pub(crate) events: Recipient<SubtaskEvent>,
    pub(crate) io: IoHandle,
    pub(crate) store: Arc<StateStore>,
    /// What was stored last per operator: the same chunks again need no new file (P8).
    pub(crate) previous: Vec<StoredState>,
    pub(crate) returned: std::sync::mpsc::Receiver<StoredState>,
    pub(crate) give_back: std::sync::mpsc::Sender<StoredState>,
}

/// An operator's state in a file.
#[derive(Debug)]
pub(crate) struct StoredState {
    file: StateFile,
    /// Not kept alive: state that changes is copied for as long as somebody else holds it. As long as they are
    /// referred to, no others can have their addresses.
    payloads: Vec<Weak<dyn StatePayload>>,
}

impl StoredState {
    fn new(file: StateFile, chunks: &[StateChunk]) -> Self {
        Self { file, payloads: chunks.iter().map(|chunk| Arc::downgrade(&chunk.payload)).collect() }
    }

    /// Whether it is these very chunks, by pointer.
    fn is_of(&self, chunks: &[StateChunk]) -> bool {
        self.payloads.len() == chunks.len()
            && self
                .payloads
                .iter()
                .zip(chunks)
                .all(|(old, new)| std::ptr::addr_eq(old.as_ptr(), Arc::as_ptr(&new.payload)))
    }
}

impl Checkpointer {
    pub(crate) fn tell(&self, event: Event) {
        tell(&self.events, self.attempt, self.subtask, event);
    }

    /// Snapshots the chain, closes the sinks' epoch, and acknowledges once all of it is durable. Returns as soon as
    /// processing may go on.
    pub(crate) fn take(
        &mut self,
        checkpoint: CheckpointId,
        chain: &mut Chain,
        emitter: &mut Emitter,
        source: Option<SourceReport>,
    ) -> Result<()> {
        while let Ok(stored) = self.returned.try_recv() {
            self.previous.retain(|previous| previous.file.uid != stored.file.uid);
            self.previous.push(stored);
        }
        let mut kept = Vec::new();
        let mut fresh = Vec::new();
        failpoint::hit("snapshot.before")?;
        let snapshot = chain.snapshot()?;
        failpoint::hit("snapshot.after")?;
        for (open, chunks) in snapshot {
            if chunks.is_empty() {
                continue;
            }
            let mut previous = self.previous.iter().filter(|stored| stored.file.uid == open.uid);
            match previous.find(|stored| stored.is_of(&chunks)) {
                Some(stored) => kept.push(stored.file.clone()),
                None => fresh.push((open, chunks)),
            }
        }
        let closing: Vec<_> = emitter.sinks.iter_mut().map(|s| s.close_epoch(checkpoint)).collect();
        let (store, give_back) = (Arc::clone(&self.store), self.give_back.clone());
        let (attempt, subtask, events) = (self.attempt, self.subtask, self.events.clone());
        self.io.spawn(async move {
            if let Err(error) = failpoint::hit("sink.close") {
                tell(&events, attempt, subtask, Event::Failed(error));
                return;
            }
            let writing = write_state(store, checkpoint, fresh, give_back);
            let event = match futures::future::try_join(try_join_all(closing), writing).await {
                Ok((staged, state)) if failpoint::hit("ack.before").is_ok() => {
                    kept.extend(state);
                    let report = SubtaskReport { source, state: kept, staged };
                    Event::Acknowledged(checkpoint, report)
                }
                Ok(_) => Event::Failed(Error::transient("failpoint ack.before")),
                Err(error) => Event::Failed(error),
            };
            tell(&events, attempt, subtask, event);
        });
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "control plane: at most one event per checkpoint")]
fn tell(events: &Recipient<SubtaskEvent>, attempt: Attempt, subtask: usize, event: Event) {
    events.do_send(SubtaskEvent { attempt, subtask, event });
}

async fn write_state(
    store: Arc<StateStore>,
    checkpoint: CheckpointId,
    fresh: Vec<(OpenContext, Vec<StateChunk>)>,
    give_back: std::sync::mpsc::Sender<StoredState>,
) -> Result<Vec<StateFile>> {
    if fresh.is_empty() {
        return Ok(Vec::new());
    }
    let writing = move || {
        let mut files = Vec::new();
        for (open, chunks) in fresh {
            let file = store
                .write(checkpoint, &open.uid, open.subtask, open.key_groups, &chunks)
                .map_err(|e| e.at(format!("operator `{}`", open.uid)))?;
            // Nobody listens any more when the attempt is ending.
            drop(give_back.send(StoredState::new(file.clone(), &chunks)));
            files.push(file);
        }
        Ok(files)
    };
    blocking("writing state", writing).await?
}

#[cfg(test)]
mod tests {
    use thalweg_core::SubtaskIndex;
    use thalweg_core::key::{KeyGroup, KeyGroupRange};

    use super::*;

    fn chunk(bytes: &[u8]) -> StateChunk {
        StateChunk { name: "state", key_group: KeyGroup(0), payload: Arc::new(bytes.to_vec()) }
    }

    #[test]
    fn stored_state_is_known_by_its_pointers_and_not_kept_alive() {
        let file = StateFile {
            uid: OperatorUid::new("operator").unwrap(),
            subtask: SubtaskIndex(0),
            key_groups: KeyGroupRange { start: 0, end: 1 },
            path: "state/1".to_owned(),
            sha256: String::new(),
            bytes: 1,
        };
        let chunks = vec![chunk(b"a"), chunk(b"b")];
        let stored = StoredState::new(file, &chunks);
        assert!(stored.is_of(&chunks.clone()));
        assert!(!stored.is_of(&chunks[..1]));
        assert!(!stored.is_of(&[chunk(b"a"), chunk(b"b")]), "equal is not the same");
        drop(chunks);
        assert!(stored.payloads.iter().all(|payload| payload.upgrade().is_none()));
        for _ in 0..100 {
            assert!(!stored.is_of(&[chunk(b"a"), chunk(b"b")]));
        }
    }
}
