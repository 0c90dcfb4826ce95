//! What processes share: objects, tables and a topic's partitions, all of which misbehave; and what an auditor remembers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::sink::PendingCommit;
use thalweg_core::counters;
use thalweg_core::testing::simulation::Dice;

/// Partitions, and key groups: each partition is a key of its own.
pub(super) const PARTITIONS: u16 = 6;

/// What is broken on purpose, to see that the auditor notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutation {
    None,
    /// Recovery takes what is pending for committed.
    NoReplay,
    /// Tables are committed before the manifest is stored.
    CommitFirst,
    /// Another's manifest is taken for ours.
    NoFence,
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It is not done, and an error is the answer.
    Before,
    /// It is done, and an error is the answer.
    After,
    /// It is not done, and "exists" is the answer.
    Conflict,
}

/// One commit to a table.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) app_id: String,
    pub(super) txn: u64,
    /// Raw: partition and offset; counts: partition and how many there are so far.
    pub(super) rows: Vec<(u16, u64)>,
}

counters! {
    pub(super) struct Counters {
        kills,
        freezes,
        fenced,
        restarts,
        lost_answers,
        rescales,
        replays,
        checkpoints,
    }
}

#[derive(Debug)]
pub(super) struct World {
    dice: Mutex<Dice>,
    closed: AtomicBool,
    pub(super) mutation: Mutation,
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Every content that a name ever had.
    created: Mutex<BTreeMap<String, Vec<Vec<u8>>>>,
    tables: Mutex<BTreeMap<String, Vec<Entry>>>,
    partitions: Mutex<Vec<u64>>,
    counters: Mutex<Counters>,
    violations: Mutex<Vec<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new(seed: u64, mutation: Mutation) -> Self {
        Self {
            dice: Mutex::new(Dice::new(seed, 0x5eed)),
            closed: AtomicBool::new(false),
            mutation,
            objects: Mutex::default(),
            created: Mutex::default(),
            tables: Mutex::default(),
            partitions: Mutex::new(vec![0; usize::from(PARTITIONS)]),
            counters: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    pub(super) fn choose(&self, below: u64) -> u64 {
        locked(&self.dice).choose(below)
    }

    pub(super) fn fault(&self) -> Fault {
        if !locked(&self.dice).faulty {
            return Fault::None;
        }
        match self.choose(60) {
            0 => Fault::Before,
            1 => {
                self.count(|c| c.lost_answers += 1);
                Fault::After
            }
            2 => Fault::Conflict,
            _ => Fault::None,
        }
    }

    /// No more faults, no more messages.
    pub(super) fn close(&self) {
        locked(&self.dice).faulty = false;
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// A few more messages.
    pub(super) fn grow(&self) {
        let (partition, more) = (self.choose(u64::from(PARTITIONS)), self.choose(8));
        locked(&self.partitions)[partition as usize] += more;
    }

    pub(super) fn partitions(&self) -> Vec<u64> {
        locked(&self.partitions).clone()
    }

    pub(super) fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        locked(&self.objects)
    }

    pub(super) fn tables(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Entry>>> {
        locked(&self.tables)
    }

    pub(super) fn remember(&self, name: &str, bytes: &[u8]) {
        locked(&self.created).entry(name.to_owned()).or_default().push(bytes.to_vec());
    }

    /// Every manifest of that number that was ever stored.
    pub(super) fn manifests(&self, number: u64) -> Vec<(Manifest, Vec<u8>)> {
        let name = Manifest::name(thalweg_core::CheckpointId(number));
        let all = locked(&self.created).get(&name).cloned().unwrap_or_default();
        all.into_iter().filter_map(|b| Manifest::decode(&b).ok().map(|m| (m, b))).collect()
    }

    /// Nothing is committed that no manifest decided.
    pub(super) fn audit_commit(&self, pending: &PendingCommit) {
        let decided = self.manifests(pending.checkpoint.0);
        if !decided.iter().any(|(m, _)| m.pending.contains(pending)) {
            self.violation(format!(
                "{} of checkpoint {} was committed before a manifest decided it",
                pending.path, pending.checkpoint
            ));
        }
    }

    pub(super) fn violation(&self, what: String) {
        locked(&self.violations).push(what);
    }

    pub(super) fn violations(&self) -> Vec<String> {
        locked(&self.violations).clone()
    }

    pub(super) fn count(&self, with: impl FnOnce(&mut Counters)) {
        with(&mut locked(&self.counters));
    }

    pub(super) fn counters(&self) -> Counters {
        *locked(&self.counters)
    }
}
