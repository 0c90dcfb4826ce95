//! One piece of the kernel's work on a log.
//!
//! The kernel waits for its own threads, which know no virtual time: its work is one step, and no dice are thrown in
//! it. So that it still is no instant, what it is shown is of two: the hint and the names up to some name are of
//! before the step's delay, the other names and all contents of after it. That is what a listing by pages beside
//! other writers and cleaners may show. What breaks is chosen before.

use std::time::SystemTime;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    Attributes, Error, GetOptions, GetResult, GetResultPayload, ObjectMeta, ObjectStore,
    ObjectStoreExt, Result,
};
use thalweg_core::connector::sink::BoxFuture;

use super::store::{SimStore, entry, hint, log, no_answer};
use super::world::World;
use crate::in_place::InPlace;

/// Which of the kernel's requests get no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    None,
    Lists,
    Reads,
    /// Those of the hint: a log checkpoint is written and nobody is told.
    Hints,
}

#[derive(Debug)]
pub(super) struct Step {
    /// What the log was before the delay.
    listed: Vec<ObjectMeta>,
    pub(super) hint: Option<Bytes>,
    /// Up to which name it is listed as it was; `None`: all of it.
    until: Option<Path>,
    pub(super) refusal: Refusal,
}

/// The kernel's work.
impl InPlace for World {
    fn begin(&self) -> BoxFuture<'_, ()> {
        async move {
            let (listed, hint) = (self.names(&log()), self.hint());
            self.dawdle().await;
            let faulty = self.inner().dice.faulty;
            let step = faulty.then(|| self.shown(listed, hint));
            self.inner().step = step;
        }
        .boxed()
    }

    fn end(&self) {
        self.inner().step = None;
    }
}

impl World {
    fn shown(&self, listed: Vec<ObjectMeta>, hint: Option<Bytes>) -> Step {
        let newest = self.inner().log.len() as u64;
        let until = match self.choose(4) {
            0 => None,
            1 => Some(entry(newest.saturating_sub(self.choose(5)))),
            // Nothing is listed as it was.
            _ => Some(Path::default()),
        };
        let refusal = match self.choose(60) {
            0 => Refusal::Lists,
            1 => Refusal::Reads,
            2 | 3 => Refusal::Hints,
            _ => Refusal::None,
        };
        let step = Step { listed, hint, until, refusal };
        let (current, shown) = (self.names(&log()), step.names(&log(), self.names(&log())));
        let is_stale = current.iter().map(|m| &m.location).ne(shown.iter().map(|m| &m.location));
        self.count(|c| c.stale += u64::from(is_stale));
        step
    }

    /// What is below `prefix` now, by name.
    pub(super) fn names(&self, prefix: &Path) -> Vec<ObjectMeta> {
        let listed = self.objects.list(Some(prefix)).map_ok(aged).try_collect::<Vec<_>>();
        listed.now_or_never().unwrap().unwrap()
    }

    fn hint(&self) -> Option<Bytes> {
        let read = async { self.objects.get(&hint()).await.ok()?.bytes().await.ok() };
        read.now_or_never().unwrap()
    }
}

impl Step {
    /// What is listed below `prefix`, of which `current` is there now.
    pub(super) fn names(&self, prefix: &Path, current: Vec<ObjectMeta>) -> Vec<ObjectMeta> {
        let is_old = |name: &Path| self.until.as_ref().is_none_or(|until| name <= until);
        let old = self.listed.iter().filter(|m| m.location.prefix_matches(prefix));
        let old = old.filter(|m| is_old(&m.location)).cloned();
        old.chain(current.into_iter().filter(|m| !is_old(&m.location))).collect()
    }
}

impl SimStore {
    /// What the kernel reads.
    pub(super) async fn read(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (refusal, shown) = match &self.world.inner().step {
            Some(step) if *location == hint() => (step.refusal, Some(step.hint.clone())),
            Some(step) => (step.refusal, None),
            None => (Refusal::None, None),
        };
        match shown {
            _ if refusal == Refusal::Reads => Err(no_answer()),
            None => self.world.objects.get_opts(location, options).await,
            Some(Some(bytes)) => Ok(found(location, bytes)),
            Some(None) => {
                let (path, source) = (location.to_string(), "there is none".into());
                Err(Error::NotFound { path, source })
            }
        }
    }

    /// What the kernel lists.
    pub(super) fn names(&self, prefix: &Path) -> Vec<Result<ObjectMeta>> {
        let current = self.world.names(prefix);
        let mut inner = self.world.inner();
        let seen = inner.seen.entry(self.process).or_default();
        seen.listed = true;
        let committing = seen.committing;
        inner.counters.reloads += u64::from(committing);
        let mut names = match &inner.step {
            Some(step) if step.refusal == Refusal::Lists => return vec![Err(no_answer())],
            Some(step) => step.names(prefix, current),
            None => current,
        };
        if let Some(hidden) = inner.hidden.take() {
            names.retain(|meta| meta.location != entry(hidden));
        }
        names.into_iter().map(Ok).collect()
    }
}

fn found(location: &Path, bytes: Bytes) -> GetResult {
    let size = bytes.len() as u64;
    let meta = ObjectMeta {
        location: location.clone(),
        last_modified: SystemTime::UNIX_EPOCH.into(),
        size,
        e_tag: None,
        version: None,
    };
    let payload = GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed());
    GetResult { payload, meta, range: 0..size, attributes: Attributes::default() }
}

/// Everything is older than any retention.
pub(super) fn aged(meta: ObjectMeta) -> ObjectMeta {
    ObjectMeta { last_modified: SystemTime::UNIX_EPOCH.into(), ..meta }
}
