//! Delta tables for real, in the simulated job: sinks, writers and committer of `thalweg-connectors` over an object store
//! that fails and is slow as the seed says.
//!
//! The committer has a simulation of its own beside it, with more that goes wrong: here it is what a coordinator makes of
//! it that is looked at. Delta's kernel waits for threads of its own: what it does at once is one step, in which every
//! request is answered or none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;

use bytes::Bytes;
use futures::FutureExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use thalweg_connectors::delta::DeltaCommitter;
use thalweg_connectors::testing::faulty_store::{Faults, Verdict, faulty};
use thalweg_connectors::testing::work_in_place;
use thalweg_core::CheckpointId;
use thalweg_core::connector::sink::BoxFuture;
use thalweg_objects::{Place, Remote};

use super::tables::rows;
use super::world::{Entry, Fault, World};

/// Two in so many requests go wrong.
pub(super) const SIDES: u32 = 300;
pub(super) const TABLES: [&str; 2] = ["raw", "counts"];

/// The store of all processes.
#[derive(Debug)]
pub(super) struct Lake {
    objects: Arc<InMemory>,
    remote: Remote,
    /// Where processes run; other threads are the kernel's.
    thread: ThreadId,
    /// Whether the kernel gets no answers.
    refusing: AtomicBool,
}

impl Lake {
    pub(super) fn new() -> Self {
        let Place::Remote(remote) = "s3://lake/tables".parse::<Place>().unwrap() else {
            unreachable!("it is a URL");
        };
        let thread = std::thread::current().id();
        Self { objects: Arc::default(), remote, thread, refusing: AtomicBool::new(false) }
    }

    pub(super) fn refuse(&self, refusing: bool) {
        self.refusing.store(refusing, Ordering::Relaxed);
    }

    fn is_here(&self) -> bool {
        std::thread::current().id() == self.thread
    }

    fn read(&self, path: &str) -> Option<Bytes> {
        let path = Path::from(format!("{}/{path}", self.remote.prefix()));
        let read = async { self.objects.get(&path).await.ok()?.bytes().await.ok() };
        read.now_or_never().unwrap()
    }
}

/// The committer of one process.
pub(super) fn committer(world: &Arc<World>, process: u64) -> Arc<DeltaCommitter> {
    let lake = world.lake();
    let requests = Arc::new(Requests { world: Arc::clone(world), process });
    let store = faulty(Arc::clone(&lake.objects) as Arc<dyn ObjectStore>, requests);
    // So often that it happens beside commits.
    Arc::new(DeltaCommitter::on_store(lake.remote.clone(), store).checkpoint_every(8))
}

/// What one process asks of the store.
struct Requests {
    world: Arc<World>,
    process: u64,
}

fn no_answer() -> Error {
    Error::Generic { store: "simulated", source: "no answer".into() }
}

impl Requests {
    /// What the kernel is answered, on its own threads.
    fn of_kernel(&self) -> Option<Result<(), Error>> {
        let lake = self.world.lake();
        let refuses = lake.refusing.load(Ordering::Relaxed);
        (!lake.is_here()).then(|| if refuses { Err(no_answer()) } else { Ok(()) })
    }
}

impl Faults for Requests {
    fn write<'a>(&'a self, location: &'a Path) -> BoxFuture<'a, Verdict> {
        async move {
            match self.of_kernel() {
                Some(Ok(())) => return Verdict::Pass,
                Some(Err(error)) => return Verdict::Refuse(error),
                None => {}
            }
            let fault = self.world.ask(self.process, 8, SIDES);
            if fault != Fault::None {
                self.world.brief().await;
            }
            match fault {
                Fault::None => Verdict::Late(self.world.delay(1_000)),
                Fault::Before => Verdict::Refuse(no_answer()),
                Fault::After => {
                    // Whoever sent an entry finds it.
                    let is_entry = location.extension() == Some("json");
                    self.world.count(|c| c.replays += u64::from(is_entry));
                    Verdict::Lose(no_answer())
                }
            }
        }
        .boxed()
    }

    fn ask(&self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            if let Some(answer) = self.of_kernel() {
                return answer;
            }
            self.world.brief().await;
            match self.world.ask(self.process, 9, SIDES) {
                Fault::None => Ok(()),
                Fault::Before | Fault::After => Err(no_answer()),
            }
        }
        .boxed()
    }
}

/// Reads the logs as anybody may, entry by entry, and the files that they name, into the world's tables. Each entry that
/// brings files must be one that a manifest decided, with all its files and no other.
pub(super) fn read_back(world: &World) {
    work_in_place(None);
    for table in TABLES {
        let mut log = Vec::new();
        for version in 0.. {
            let entry = world.lake().read(&format!("{table}/_delta_log/{version:020}.json"));
            let Some(entry) = entry else { break };
            let actions: Vec<Value> = entry
                .split(|byte| *byte == b'\n')
                .filter_map(|l| serde_json::from_slice(l).ok())
                .collect();
            let paths = |kind: &str| -> BTreeSet<String> {
                let actions = actions.iter().filter_map(|a| a[kind]["path"].as_str());
                actions.map(ToOwned::to_owned).collect()
            };
            if !paths("remove").is_empty() {
                world.violation(format!("a file was removed from {table}"));
            }
            let added = paths("add");
            if added.is_empty() {
                continue;
            }
            let txn = actions.iter().find_map(|a| a.get("txn"));
            let app_id = txn.and_then(|t| t["appId"].as_str()).unwrap_or_default().to_owned();
            let txn = txn.and_then(|t| t["version"].as_u64()).unwrap_or_default();
            let manifests = world.manifests(CheckpointId(txn));
            let decided = manifests.iter().flat_map(|m| &m.pending).any(|pending| {
                let staged = pending.staged.iter().filter_map(|add| add["path"].as_str());
                (pending.path.as_str(), &pending.app_id) == (table, &app_id)
                    && staged.map(ToOwned::to_owned).collect::<BTreeSet<_>>() == added
            });
            if !decided {
                world.violation(format!("version {version} of {table} was decided by nobody"));
            }
            let mut held = Vec::new();
            for path in &added {
                let Some(file) = world.lake().read(&format!("{table}/{path}")) else {
                    world.violation(format!("version {version} of {table} names a missing file"));
                    continue;
                };
                let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build();
                held.extend(batches.unwrap().flat_map(|batch| rows(&batch.unwrap())));
            }
            log.push(Entry { app_id, txn, rows: held });
        }
        world.inner().tables.insert(table.to_owned(), log);
    }
}
