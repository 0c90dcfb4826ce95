//! A disk that is full now and then: stores of tables and checkpoints that answer ENOSPC.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::Error as StoreError;
use object_store::path::Path;
use thalweg_connectors::testing::faulty_store::{Faults, Verdict};
use thalweg_core::connector::sink::BoxFuture;
use thalweg_core::{Result, error};
use thalweg_runtime::{CheckpointStorage, Created};

use crate::told::note;

/// Told for each write that finds no room.
pub(crate) const FULL: &str = "the disk is full";
/// ENOSPC on Linux.
const NO_SPACE: i32 = 28;

/// Counts writes, and says which of them find no room.
#[derive(Debug)]
pub(crate) struct Disk {
    writes: AtomicU64,
    /// The first write that fails; after it as many succeed before the next few fail.
    every: u64,
}

/// Writes in a row that find no room.
const FULL_FOR: u64 = 3;

impl Disk {
    pub(crate) fn full_every(writes: u64) -> Arc<Self> {
        Arc::new(Self { writes: AtomicU64::new(0), every: writes.max(FULL_FOR + 1) })
    }

    fn find_room(&self) -> std::io::Result<()> {
        let n = self.writes.fetch_add(1, Ordering::Relaxed);
        if n >= self.every && n % self.every < FULL_FOR {
            note(FULL);
            return Err(std::io::Error::from_raw_os_error(NO_SPACE));
        }
        Ok(())
    }
}

/// Checkpoints on such a disk.
#[derive(Debug)]
pub(crate) struct FullCheckpoints {
    pub(crate) inner: Arc<dyn CheckpointStorage>,
    pub(crate) disk: Arc<Disk>,
}

impl CheckpointStorage for FullCheckpoints {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Created {
        match self.disk.find_room() {
            Ok(()) => self.inner.create(name, bytes),
            Err(full) => Created::Failed(error::io(format!("write {name}"), full)),
        }
    }

    fn sync(&self, name: &str) -> Result<()> {
        self.inner.sync(name)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.inner.read(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.inner.list(folder)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.inner.delete(name)
    }
}

/// Tables on such a disk.
impl Faults for Disk {
    fn write<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, Verdict> {
        let verdict = match self.find_room() {
            Ok(()) => Verdict::Pass,
            Err(full) => {
                Verdict::Refuse(StoreError::Generic { store: "Disk", source: Box::new(full) })
            }
        };
        Box::pin(std::future::ready(verdict))
    }
}
