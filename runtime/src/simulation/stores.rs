//! The checkpoint store as one process sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thalweg_core::Result;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::time::Clock;

use super::steps;
use super::tables::{self, append};
use super::world::{Fault, Mutation, World, lost};
use crate::checkpoint::storage::{CheckpointStorage, Created};

/// How long a list may lack state files that are there. Manifests are listed at once: the protocol needs that (P9).
const LATE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct SimStorage {
    pub(super) world: Arc<World>,
    pub(super) process: u64,
    /// With [`Mutation::NoFence`]: what this process believes to have stored.
    pub(super) believed: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl SimStorage {
    fn believed(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self, what: u64) -> Fault {
        // Others are steps already.
        if steps::is_beside() && steps::lives() {
            steps::wait(self.world.delay(200));
        }
        self.world.touch(self.process, what)
    }

    fn commit_first(&self, bytes: &[u8]) {
        let pending = Manifest::decode(bytes).map(|m| m.pending).unwrap_or_default();
        for pending in pending.into_iter().filter(|p| p.kind == tables::KIND) {
            append(&self.world, &pending);
        }
    }
}

impl CheckpointStorage for SimStorage {
    fn describe(&self) -> String {
        "the simulated store".to_owned()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Created {
        let fault = self.touch(1);
        let number = Manifest::number_of(name);
        if number.is_some() && self.world.mutation == Mutation::CommitFirst {
            self.commit_first(bytes);
        }
        if fault == Fault::Before {
            return Created::Unknown(lost());
        }
        let now = self.world.monotonic();
        let mut inner = self.world.inner();
        if inner.objects.contains_key(name) {
            if number.is_some() && self.world.mutation == Mutation::NoFence {
                self.believed().insert(name.to_owned(), bytes.to_vec());
                return Created::Yes;
            }
            return Created::Exists;
        }
        inner.objects.insert(name.to_owned(), (bytes.to_vec(), now));
        if let Some(number) = number {
            inner.counters.manifests += 1;
            let newest = inner.created.last_key_value().map(|(n, _)| *n);
            if inner.created.contains_key(&number.0) && newest == Some(number.0) {
                inner.violations.push(format!("the newest manifest {number} was made twice"));
            }
            inner.created.entry(number.0).or_default().push(bytes.to_vec());
        }
        if fault == Fault::After { Created::Unknown(lost()) } else { Created::Yes }
    }

    fn sync(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if self.touch(2) != Fault::None {
            return Err(lost());
        }
        if let Some(bytes) = self.believed().get(name) {
            return Ok(Some(bytes.clone()));
        }
        Ok(self.world.inner().objects.get(name).map(|(bytes, _)| bytes.clone()))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        if self.touch(3) != Fault::None {
            return Err(lost());
        }
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let now = self.world.monotonic();
        let mut inner = self.world.inner();
        let (mut names, mut late) = (Vec::new(), 0);
        for (name, (_, at)) in &inner.objects {
            let Some(name) = name.strip_prefix(&prefix).filter(|n| !n.contains('/')) else {
                continue;
            };
            if inner.dice.faulty && !folder.is_empty() && now.saturating_sub(*at) < LATE {
                late += 1;
            } else {
                names.push(name.to_owned());
            }
        }
        inner.counters.late_lists += u64::from(late > 0);
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<()> {
        let fault = self.touch(4);
        if fault != Fault::Before {
            self.world.inner().objects.remove(name);
        }
        if fault == Fault::None { Ok(()) } else { Err(lost()) }
    }
}
