//! How one process sees the world: every touch may be its last, and answers may be lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_core::connector::sink::{
    BoxFuture, Committed, Committer, Cut, PendingCommit, Target, TargetExpectation, TargetStatus,
};
use thalweg_core::connector::staging::DecidedCheckpoint;
use thalweg_core::{CheckpointId, Error, Result};

use super::baton::Baton;
use super::world::{Entry, Fault, Mutation, World};
use crate::checkpoint::storage::{CheckpointStorage, Created};

/// Who touches what.
#[derive(Debug, Clone)]
pub(super) struct Hand {
    pub(super) world: Arc<World>,
    pub(super) baton: Arc<Baton>,
    pub(super) me: usize,
}

impl Hand {
    /// Lets others run. An error from the moment of the process's death on.
    pub(super) fn touch(&self) -> Result<()> {
        if self.baton.pass(self.me) { Ok(()) } else { Err(Error::transient("killed")) }
    }
}

fn lost() -> Error {
    Error::transient("no answer")
}

#[derive(Debug)]
pub(super) struct SimStorage {
    pub(super) hand: Hand,
    /// With [`Mutation::NoFence`]: what this process believes to have stored.
    pub(super) believed: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl SimStorage {
    fn believed(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckpointStorage for SimStorage {
    fn describe(&self) -> String {
        "the simulated store".to_owned()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Created {
        if let Err(dead) = self.hand.touch() {
            return Created::Failed(dead);
        }
        let world = &self.hand.world;
        let fault = world.fault();
        if fault == Fault::Before {
            return Created::Unknown(lost());
        }
        let mut objects = world.objects();
        if objects.contains_key(name) {
            if world.mutation == Mutation::NoFence && name.starts_with("manifest-") {
                self.believed().insert(name.to_owned(), bytes.to_vec());
                return Created::Yes;
            }
            return Created::Exists;
        }
        if fault == Fault::Conflict {
            return Created::Exists;
        }
        objects.insert(name.to_owned(), bytes.to_vec());
        world.remember(name, bytes);
        if fault == Fault::After { Created::Unknown(lost()) } else { Created::Yes }
    }

    fn sync(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.hand.touch()?;
        if self.hand.world.fault() == Fault::Before {
            return Err(lost());
        }
        if let Some(bytes) = self.believed().get(name) {
            return Ok(Some(bytes.clone()));
        }
        Ok(self.hand.world.objects().get(name).cloned())
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.hand.touch()?;
        if self.hand.world.fault() == Fault::Before {
            return Err(lost());
        }
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let objects = self.hand.world.objects();
        let below = objects.keys().filter_map(|name| name.strip_prefix(&prefix));
        Ok(below.filter(|name| !name.contains('/')).map(ToOwned::to_owned).collect())
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.hand.touch()?;
        match self.hand.world.fault() {
            Fault::Before => Err(lost()),
            fault => {
                self.hand.world.objects().remove(name);
                if fault == Fault::After { Err(lost()) } else { Ok(()) }
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct SimCommitter {
    pub(super) hand: Hand,
    /// Whether the process is recovering.
    pub(super) recovering: Arc<AtomicBool>,
}

impl SimCommitter {
    fn newest(&self, path: &str, app_id: &str) -> (usize, Option<u64>) {
        let tables = self.hand.world.tables();
        let log = tables.get(path).map_or(&[][..], Vec::as_slice);
        (log.len(), log.iter().rev().find(|e| e.app_id == app_id).map(|e| e.txn))
    }

    fn commit_now(&self, pending: &PendingCommit) -> Result<Committed> {
        let world = &self.hand.world;
        self.hand.touch()?;
        if world.mutation == Mutation::NoReplay && self.recovering.load(Ordering::Relaxed) {
            let (length, _) = self.newest(&pending.path, &pending.app_id);
            return Ok(Committed { version: length as u64, replayed: true });
        }
        let fault = world.fault();
        if fault == Fault::Before {
            return Err(lost());
        }
        let n = pending.checkpoint.0;
        loop {
            let (length, txn) = self.newest(&pending.path, &pending.app_id);
            match txn {
                Some(txn) if txn == n => {
                    world.count(|c| c.replays += 1);
                    return Ok(Committed { version: length as u64, replayed: true });
                }
                Some(txn) if txn > n => return Err(Error::fenced("a later checkpoint is there")),
                _ => {}
            }
            self.hand.touch()?;
            let mut tables = world.tables();
            let log = tables.entry(pending.path.clone()).or_default();
            if log.len() != length {
                continue;
            }
            world.audit_commit(pending);
            let rows = pending
                .staged
                .iter()
                .flat_map(|item| serde_json::from_value::<Vec<(u16, u64)>>(item.clone()))
                .flatten()
                .collect();
            log.push(Entry { app_id: pending.app_id.clone(), txn: n, rows });
            let version = log.len() as u64;
            drop(tables);
            if fault == Fault::After {
                return Err(lost());
            }
            return Ok(Committed { version, replayed: false });
        }
    }
}

impl Committer for SimCommitter {
    fn kind(&self) -> &'static str {
        "sim"
    }

    /// All that a process makes ask one world.
    fn identity(&self) -> usize {
        0
    }

    fn open<'a>(
        &'a self,
        target: &'a Target,
        app_id: &'a str,
        expected: &'a TargetExpectation,
        _adopt: bool,
    ) -> BoxFuture<'a, Result<TargetStatus>> {
        Box::pin(async move {
            self.hand.touch()?;
            if self.hand.world.fault() == Fault::Before {
                return Err(lost());
            }
            let (length, txn) = self.newest(&target.path, app_id);
            if txn < expected.txn.map(|n| n.0) {
                return Err(Error::data_loss(format!("{} is behind", target.path)));
            }
            let (id, txn) = (target.path.clone(), txn.map(CheckpointId));
            Ok(TargetStatus { id, txn, version: length as u64 })
        })
    }

    fn commit<'a>(
        &'a self,
        pending: &'a PendingCommit,
        _checkpoint: &'a Arc<dyn DecidedCheckpoint>,
    ) -> BoxFuture<'a, Result<Committed>> {
        Box::pin(async move { self.commit_now(pending) })
    }

    fn version<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            self.hand.touch()?;
            Ok(self.hand.world.tables().get(path).map_or(0, Vec::len) as u64)
        })
    }

    fn publish_cut<'a>(&'a self, cut: &'a Cut) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.hand.touch()?;
            super::audit::cut(&self.hand.world, cut);
            Ok(())
        })
    }
}
