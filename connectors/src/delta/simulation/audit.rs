//! What must be true of the log while it grows, and in the end.
//!
//! It is judged by every entry that was ever created, as its bytes were sent: no reader of ours has a part in that, and
//! what others clean stays known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use thalweg_core::connector::sink::{Committed, PendingCommit};

use super::world::{APP, TABLE, World};
use crate::delta::storage::Storage;

/// An entry of the log.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) bytes: Bytes,
    /// The checkpoint of our application id.
    pub(super) txn: Option<u64>,
    adds: Vec<String>,
}

impl Entry {
    fn read(bytes: Bytes) -> Self {
        let actions: Vec<Value> =
            bytes.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
        let txns = actions.iter().filter_map(|a| a.get("txn")).filter(|txn| txn["appId"] == APP);
        let txn = txns.filter_map(|txn| txn["version"].as_u64()).max();
        let adds = actions.iter().filter_map(|a| a.get("add")?.get("path")?.as_str());
        let adds = adds.map(ToOwned::to_owned).collect();
        Self { bytes, txn, adds }
    }
}

/// The files of a decided checkpoint.
fn files(pending: &PendingCommit) -> Vec<String> {
    pending.staged.iter().filter_map(|a| Some(a.get("path")?.as_str()?.to_owned())).collect()
}

impl World {
    /// P13: whoever sends an entry has seen its predecessor within this commit: itself, or a log that lists behind it.
    pub(super) fn audit_put(&self, process: u64, version: u64) {
        let Some(before) = version.checked_sub(1) else { return };
        let mut inner = self.inner();
        let seen = inner.seen.get(&process).copied().unwrap_or_default();
        let is_known = match seen.looked {
            Some((looked, stands)) => looked == before && (stands || seen.listed),
            None => false,
        };
        if !is_known {
            inner.violations.push(format!("{process} puts entry {version} on one it has not seen"));
        }
    }

    /// An entry was created.
    pub(super) fn created(&self, process: u64, version: u64, bytes: Bytes) {
        let mut inner = self.inner();
        let next = inner.log.len() as u64;
        if version < next {
            // What is created again must be where nobody looks any more.
            if inner.checkpoint.is_none_or(|checkpoint| checkpoint < version) {
                inner.violations.push(format!("entry {version} was created twice"));
            }
            return inner.counters.holes += 1;
        }
        if version > next {
            inner.violations.push(format!("entry {version} was created, entry {next} never was"));
        }
        let entry = Entry::read(bytes);
        if process != 0 {
            let decided = match entry.txn {
                Some(0) => Some(Vec::new()),
                Some(n) => {
                    let manifest = inner.manifests.get(n as usize - 1);
                    manifest.and_then(|m| m.pending.as_ref()).map(files)
                }
                None => None,
            };
            if decided.as_ref() != Some(&entry.adds) {
                inner.violations.push(format!("entry {version} of {process} was never decided"));
            }
        }
        inner.log.push(entry);
    }

    /// What was reported as committed is in, at the version reported or before.
    pub(super) fn audit_commit(&self, pending: &PendingCommit, committed: Committed) {
        let mut inner = self.inner();
        inner.counters.replays += u64::from(committed.replayed);
        let n = pending.checkpoint.0;
        let mut known = inner.log.iter().take(committed.version as usize + 1);
        let is_in = known.any(|entry| entry.txn == Some(n));
        if !is_in || committed.version >= inner.log.len() as u64 {
            let version = committed.version;
            inner.violations.push(format!("{n} was reported at version {version} and is not in"));
        }
    }

    /// Every decided file once, every file of others once, nothing else, transactions in order, and a reader sees that.
    pub(super) async fn audit(&self) {
        let mut wrong = Vec::new();
        let mut times: BTreeMap<String, u64> = BTreeMap::new();
        {
            let inner = self.inner();
            for path in inner.log.iter().flat_map(|entry| &entry.adds) {
                *times.entry(path.clone()).or_default() += 1;
            }
            let decided = inner.manifests.iter().filter_map(|m| m.pending.as_ref());
            let mut expected: BTreeSet<String> = decided.flat_map(files).collect();
            expected.extend(inner.foreign.iter().cloned());
            for path in expected.iter().filter(|path| times.get(*path) != Some(&1)) {
                wrong.push(format!("{path} is in {} times", times.get(path).unwrap_or(&0)));
            }
            for path in times.keys().filter(|path| !expected.contains(*path)) {
                wrong.push(format!("{path} was never decided"));
            }
            let txns: Vec<u64> = inner.log.iter().filter_map(|entry| entry.txn).collect();
            if txns.windows(2).any(|pair| pair[0] >= pair[1]) {
                wrong.push(format!("transactions go back: {txns:?}"));
            }
        }
        let read = self.read().await;
        if read.as_ref().is_some_and(|read| read.iter().ne(times.keys())) {
            wrong.push("a reader sees other files than the log's entries name".to_owned());
        }
        if read.is_none() {
            wrong.push("a reader sees no table".to_owned());
        }
        self.inner().violations.extend(wrong);
    }

    /// The files that a stranger sees in the table.
    async fn read(&self) -> Option<BTreeSet<String>> {
        let storage = Storage::on(self.remote.clone(), Arc::new(self.objects.clone()));
        let loaded = storage.load(TABLE, None).await.ok()??;
        let state = loaded.snapshot().ok()?;
        let files = state.log_data();
        Some(files.iter().map(|file| file.object_store_path().to_string()).collect())
    }
}
