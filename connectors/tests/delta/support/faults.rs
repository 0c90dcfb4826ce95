//! A store that misbehaves on request, and counts what is asked of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, ObjectStore};
use thalweg_connectors::delta::DeltaCommitter;
use thalweg_connectors::testing::faulty_store::{Faults, Verdict, faulty};
use thalweg_core::connector::sink::BoxFuture;
use tokio::sync::Semaphore;

type Hook = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// What happens to one write.
pub enum Fault {
    /// It is done, its answer is lost.
    LoseAnswer,
    /// It is not done, and no reason is given.
    Refuse,
    /// It is not done: the disk is full.
    DiskFull,
    /// This is done before it.
    Before(Hook),
    /// It waits until it is released.
    Stall,
}

/// The faults to come, and what was asked of the stores so far. Shared by the stores of log and data.
pub struct Plan {
    log: Mutex<VecDeque<Fault>>,
    data: Mutex<VecDeque<Fault>>,
    stalled: Semaphore,
    released: Semaphore,
    pub lists: AtomicUsize,
    pub calls: AtomicUsize,
    /// Log entries that were to be created.
    pub entries: AtomicUsize,
}

impl Plan {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            log: Mutex::default(),
            data: Mutex::default(),
            stalled: Semaphore::new(0),
            released: Semaphore::new(0),
            lists: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
        })
    }

    /// For [`DeltaCommitter`]: `Lake::with(plan.apply(), …)`.
    pub fn apply(self: &Arc<Self>) -> impl FnOnce(DeltaCommitter) -> DeltaCommitter + use<> {
        let plan = Arc::clone(self);
        move |committer| committer.decorate_stores(move |inner| plan.around(inner))
    }

    /// A store that follows the plan.
    pub fn around(self: &Arc<Self>, inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        faulty(inner, self.clone())
    }

    pub fn on_log(&self, fault: Fault) {
        self.log.lock().unwrap().push_back(fault);
    }

    pub fn on_data(&self, fault: Fault) {
        self.data.lock().unwrap().push_back(fault);
    }

    /// Waits until a write is stalled.
    pub async fn stalled(&self) {
        let stalled = tokio::time::timeout(Duration::from_mins(2), self.stalled.acquire()).await;
        assert!(stalled.is_ok(), "no write is stalled");
        stalled.unwrap().unwrap().forget();
    }

    pub fn release(&self) {
        self.released.add_permits(1);
    }

    fn next(&self, location: &Path) -> Option<Fault> {
        let log = location.as_ref().contains("_delta_log/0");
        let data =
            location.as_ref().ends_with(".parquet") && !location.as_ref().contains("_delta_log");
        let queue = if log && location.as_ref().ends_with(".json") {
            self.entries.fetch_add(1, Ordering::Relaxed);
            &self.log
        } else if data {
            &self.data
        } else {
            return None;
        };
        queue.lock().unwrap().pop_front()
    }
}

impl Faults for Plan {
    fn write<'a>(&'a self, location: &'a Path) -> BoxFuture<'a, Verdict> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let fault = self.next(location);
        Box::pin(async move {
            match fault {
                None => Verdict::Pass,
                Some(Fault::LoseAnswer) => Verdict::Lose(unclear()),
                Some(Fault::Refuse) => Verdict::Refuse(unclear()),
                Some(Fault::DiskFull) => {
                    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
                    Verdict::Refuse(Error::Generic { store: "test", source: Box::new(full) })
                }
                Some(Fault::Before(hook)) => {
                    hook().await;
                    Verdict::Pass
                }
                Some(Fault::Stall) => {
                    self.stalled.add_permits(1);
                    self.released.acquire().await.unwrap().forget();
                    Verdict::Pass
                }
            }
        })
    }

    fn read(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn list(&self) {
        self.lists.fetch_add(1, Ordering::Relaxed);
    }
}

fn unclear() -> Error {
    Error::Generic { store: "test", source: "no answer; secret value".into() }
}
