//! A job over memory, its tables and its checkpoints, and a store whose process may die or sleep.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use thalweg_connectors::memory::{MemorySource, MemorySourceHandle, MemoryStore};
use thalweg_core::CheckpointId;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::sink::Cut;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_core::time::Clock;
use thalweg_operators::aggregate::Aggregate;
use thalweg_runtime::cli::CheckpointsCommand;
use thalweg_runtime::{
    CheckpointStorage, Created, JobBuilder, JobHandle, JobSummary, MemoryStorage, Settings,
    SystemClock,
};

use crate::bench::PATIENCE;

/// Looks, 2 ms apart, at which a job has not moved when it has come to rest.
const STILL: u32 = 200;

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
pub(crate) struct Reading {
    ward: String,
    patient: i64,
    at: Micros,
}

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
pub(crate) struct PerMinute {
    window_start: Micros,
    window_end: Micros,
    ward: String,
    readings: i64,
    patients: i64,
}

const SPLITS: [(&str, i64); 3] = [("a", 0), ("b", 5), ("c", 9)];

/// Readings `from` to `to` of a split, a second apart.
pub(crate) fn readings(split: i64, from: i64, to: i64) -> RecordBatch {
    let ward = (from..to).map(|i| ["north", "south", "east"][(i % 3) as usize]);
    let patient = (from..to).map(|i| i % 17 + split);
    let at = (from..to).map(|i| i * 1_000_000);
    RecordBatch::try_new(
        Reading::schema(),
        vec![
            Arc::new(StringArray::from_iter_values(ward)),
            Arc::new(Int64Array::from_iter_values(patient)),
            Arc::new(TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC")),
        ],
    )
    .unwrap()
}

/// Three splits of `rows` readings each.
pub(crate) fn source(rows: i64) -> MemorySource {
    SPLITS.iter().fold(MemorySource::new(Reading::schema()), |source, (name, split)| {
        let starts = (0..rows).step_by(100);
        source.split(name, starts.map(|from| readings(*split, from, (from + 100).min(rows))))
    })
}

/// Stops every split before row `position`.
pub(crate) fn hold(source: &MemorySourceHandle, position: i64) {
    for (split, _) in SPLITS {
        source.hold_at(split, position);
    }
}

/// How the job is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drawing {
    pub(crate) readings: &'static str,
    pub(crate) per_minute: &'static str,
    pub(crate) all: &'static str,
    pub(crate) key_groups: u16,
    /// A sink more, of a table of its own.
    pub(crate) copy: bool,
    /// A source more, with a sink.
    pub(crate) more: bool,
}

pub(crate) const USUAL: Drawing = Drawing {
    readings: "readings",
    per_minute: "per-minute",
    all: "all",
    key_groups: 128,
    copy: false,
    more: false,
};

pub(crate) fn settings() -> Settings {
    Settings {
        parallelism: 2,
        checkpoint_interval: Duration::from_millis(5),
        restart_delay: Duration::from_millis(1),
        ..Settings::default()
    }
}

/// Checkpoints, key and tables of one job.
pub(crate) struct World {
    pub(crate) storage: Arc<MemoryStorage>,
    pub(crate) key: Arc<MasterKey>,
    pub(crate) store: MemoryStore,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            storage: Arc::default(),
            key: Arc::new(MasterKey::generate().unwrap()),
            store: MemoryStore::default(),
        }
    }

    /// One in which the job has run to its end, undisturbed.
    pub(crate) fn calm(rows: i64) -> Self {
        let world = Self::new();
        assert!(run(world.job(source(rows))).unwrap().finished);
        world
    }

    fn graph(&self, drawing: Drawing, source: MemorySource) -> JobGraph {
        let env = StreamEnvironment::new("wards").max_parallelism(drawing.key_groups);
        let readings = env.source::<Reading>(drawing.readings, source).watermarks(
            WatermarkStrategy::bounded_out_of_orderness(Reading::AT, Duration::from_secs(5)),
        );
        readings.sink(drawing.all, self.store.sink("all"));
        if drawing.copy {
            readings.sink("copy", self.store.sink("copy"));
        }
        if drawing.more {
            let more = MemorySource::new(Reading::schema()).split("a", [readings_of_another()]);
            env.source::<Reading>("more", more).sink("others", self.store.sink("others"));
        }
        let windows = TumblingEventTimeWindows::of(Duration::from_mins(1));
        let counts = Aggregate::over(Reading::AT)
            .count("readings")
            .count_distinct(Reading::PATIENT, "patients");
        readings
            .key_by(Reading::WARD)
            .window(windows)
            .aggregate::<PerMinute>(drawing.per_minute, &counts)
            .sink("gold", self.store.sink("gold").ranked(1));
        env.build().unwrap()
    }

    pub(crate) fn job(&self, source: MemorySource) -> JobBuilder {
        self.drawn(USUAL, source)
    }

    pub(crate) fn drawn(&self, drawing: Drawing, source: MemorySource) -> JobBuilder {
        self.job_on(Arc::clone(&self.storage) as _, drawing, source)
    }

    /// The job as a process of its own sees it.
    pub(crate) fn job_on(
        &self,
        storage: Arc<dyn CheckpointStorage>,
        drawing: Drawing,
        source: MemorySource,
    ) -> JobBuilder {
        let graph = self.graph(drawing, source);
        JobBuilder::new(graph, storage, Arc::clone(&self.key)).settings(settings())
    }

    /// The same in a process that dies and is not started again. One checkpoint has all that it reads.
    pub(crate) fn mortal(&self, death: Death, source: MemorySource) -> JobBuilder {
        let storage = Mortal::new(&self.storage, death);
        let interval = Duration::from_mins(1);
        let once = Settings { restart_attempts: 0, checkpoint_interval: interval, ..settings() };
        self.job_on(Arc::new(storage), USUAL, source).settings(once)
    }

    /// The number of the newest manifest.
    pub(crate) fn newest(&self) -> CheckpointId {
        let names = self.storage.list("").unwrap();
        names.iter().filter_map(|name| Manifest::number_of(name)).max().unwrap()
    }

    pub(crate) fn manifest(&self, number: CheckpointId) -> Manifest {
        let bytes = self.storage.read(&Manifest::name(number)).unwrap().unwrap();
        Manifest::decode(&bytes).unwrap()
    }

    /// Waits until `rows` rows are in the table of all rows and nothing is under way any more: sources tell each other how
    /// far event time has got every 50 ms, and that makes a checkpoint more.
    pub(crate) fn settle(&self, job: &JobHandle, rows: u64) {
        let clock = SystemClock::default();
        let (mut still, mut last) = (0, 0);
        while still < STILL {
            assert!(!job.is_finished(), "the job has ended");
            assert!(clock.monotonic() < PATIENCE, "the job does not come to rest");
            let finished = job.metrics().checkpoint.load(Ordering::Relaxed);
            let done =
                finished == last && self.store.rows("all") == rows && self.newest().0 == finished;
            still = if done { still + 1 } else { 0 };
            last = finished;
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Takes out of all tables what was committed behind a cut, as a person does before the run behind a rewind.
    pub(crate) fn restore(&self, cut: &Cut) {
        for (path, version) in &cut.versions {
            self.store.restore(path, *version);
        }
    }

    /// Window start, ward, readings, patients; sorted.
    fn gold(&self) -> Vec<(i64, String, i64, i64)> {
        let mut rows = Vec::new();
        for batch in self.store.batches("gold") {
            let start = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            let ward = batch.column(2).as_string::<i32>();
            let readings = batch.column(3).as_primitive::<Int64Type>();
            let patients = batch.column(4).as_primitive::<Int64Type>();
            rows.extend((0..batch.num_rows()).map(|i| {
                let ward = ward.value(i).to_owned();
                (start.value(i), ward, readings.value(i), patients.value(i))
            }));
        }
        rows.sort();
        rows
    }

    /// Ward, patient and time of every reading; sorted.
    fn all(&self) -> Vec<(String, i64, i64)> {
        let mut rows = Vec::new();
        for batch in self.store.batches("all") {
            let ward = batch.column(0).as_string::<i32>();
            let patient = batch.column(1).as_primitive::<Int64Type>();
            let at = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            let row = |i| (ward.value(i).to_owned(), patient.value(i), at.value(i));
            rows.extend((0..batch.num_rows()).map(row));
        }
        rows.sort();
        rows
    }

    /// Every row is there once, and no other.
    pub(crate) fn assert_same(&self, calm: &Self) {
        assert_eq!(self.store.rows("all"), calm.store.rows("all"));
        assert!(self.all() == calm.all(), "other readings");
        assert_eq!(self.gold(), calm.gold());
    }

    /// `checkpoints verify` finds nothing.
    pub(crate) fn verify(&self, source: MemorySource) {
        let told = CheckpointsCommand::Verify.act(self.job(source)).unwrap();
        assert!(told.contains("as they should be"), "{told}");
    }
}

fn readings_of_another() -> RecordBatch {
    readings(40, 0, 50)
}

/// Runs a job to whatever end it comes to.
pub(crate) fn run(job: JobBuilder) -> Result<JobSummary> {
    job.start().unwrap().join()
}

/// When a process dies, counted in touches of its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    Never,
    /// That touch and all later ones do nothing.
    Before(u64),
    /// That touch still does what it does, but nobody hears of it.
    After(u64),
    /// Once it has created this manifest.
    Behind(CheckpointId),
}

/// A store as one process sees it. What the dead ask for is not done; what sleeps waits there.
#[derive(Debug)]
pub(crate) struct Mortal {
    inner: Arc<MemoryStorage>,
    death: Death,
    touches: AtomicU64,
    dead: AtomicBool,
    /// Whether to fall asleep before the next state file is read or the next manifest is created; whether it did.
    pub(crate) sleepy: AtomicBool,
    pub(crate) asleep: AtomicBool,
    pub(crate) deleted: Mutex<Vec<String>>,
}

impl Mortal {
    pub(crate) fn new(inner: &Arc<MemoryStorage>, death: Death) -> Self {
        Self {
            inner: Arc::clone(inner),
            death,
            touches: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            sleepy: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            deleted: Mutex::default(),
        }
    }

    fn nap(&self) {
        if self.sleepy.load(Ordering::Relaxed) {
            self.asleep.store(true, Ordering::Relaxed);
            while self.sleepy.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }

    fn touch<T>(&self, act: impl FnOnce() -> T) -> Result<T> {
        let dead = || Error::transient("the process is dead");
        let number = self.touches.fetch_add(1, Ordering::Relaxed);
        match self.death {
            _ if self.dead.load(Ordering::Relaxed) => Err(dead()),
            Death::Before(last) if number >= last => Err(dead()),
            Death::After(last) if number > last => Err(dead()),
            Death::After(last) if number == last => {
                drop(act());
                Err(dead())
            }
            _ => Ok(act()),
        }
    }
}

impl CheckpointStorage for Mortal {
    fn describe(&self) -> String {
        "memory of a mortal".to_owned()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Created {
        if Manifest::number_of(name).is_some() {
            self.nap();
        }
        let created = self.touch(|| self.inner.create(name, bytes));
        if let Death::Behind(manifest) = self.death
            && name == Manifest::name(manifest)
        {
            self.dead.store(true, Ordering::Relaxed);
        }
        created.unwrap_or_else(Created::Unknown)
    }

    fn sync(&self, name: &str) -> Result<()> {
        self.touch(|| self.inner.sync(name)).flatten()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if name.starts_with("state/") {
            self.nap();
        }
        self.touch(|| self.inner.read(name)).flatten()
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.touch(|| self.inner.list(folder)).flatten()
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.deleted.lock().unwrap().push(name.to_owned());
        self.touch(|| self.inner.delete(name)).flatten()
    }
}
