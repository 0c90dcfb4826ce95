//! A long life in short: a whole job, its checkpoints in a folder and its tables in Delta, over hundreds of checkpoints
//! beside which tables are maintained. Nothing grows: not memory, not descriptors, not the folders of checkpoints, of state
//! and of the tables' logs.
//!
//! `THALWEG_LONG_RUN=100000 cargo test --release --test long_run -- --nocapture` takes its time and prints a line per
//! tenth.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "support/wards.rs"]
mod wards;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use thalweg_connectors::delta::{
    CUTS, Compaction, DeltaCommitter, DeltaMaintenance, DeltaSink, Vacuum, read_table,
};
use thalweg_connectors::generator::{FromFn, GeneratorSource, from_fn};
use thalweg_core::CheckpointId;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::sink::{Committer, Cut, PendingCommit};
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_objects::{Access, Place};
use thalweg_runtime::{CheckpointStorage, JobBuilder, LocalStorage, Settings, SystemClock};
use wards::{PerWindow, Reading, summary};

const TABLES: [&str; 3] = ["all", "gold", CUTS];
/// A file that is staged is in a manifest long before, whatever else the machine does.
const RETENTION: Duration = Duration::from_mins(1);
/// What would otherwise take days to expire.
const SHORT: [(&str, &str); 2] = [
    ("delta.logRetentionDuration", "interval 0 seconds"),
    ("delta.deletedFileRetentionDuration", "interval 60 seconds"),
];
/// Checkpoints between two rounds of maintenance, at most.
const ROUND: u64 = 200;

/// Four hundred rows a second, each a tenth of a second of event time.
fn source() -> GeneratorSource<FromFn<impl Fn(u64, u64) -> Result<RecordBatch> + Send + Sync>> {
    let rows = from_fn(Reading::schema(), |from, to| {
        Ok(wards::readings(from as i64..to as i64, |i| i % 500, 100_000))
    });
    let clock = Arc::new(SystemClock::default());
    GeneratorSource::new("readings", rows, clock).rows_per_second(Some(400.0))
}

fn graph(tables: &Arc<DeltaCommitter>) -> JobGraph {
    let sink = |path: &str| {
        let sink = DeltaSink::append(tables, path).single_writer();
        SHORT.iter().fold(sink, |sink, (key, value)| sink.configuration(*key, *value))
    };
    let env = StreamEnvironment::new("long");
    let readings = env.source::<Reading>("readings", source()).watermarks(
        WatermarkStrategy::bounded_out_of_orderness(Reading::AT, Duration::from_secs(5)),
    );
    readings.sink("all", sink("all"));
    readings
        .key_by(Reading::WARD)
        .window(TumblingEventTimeWindows::of(Duration::from_secs(10)))
        .aggregate::<PerWindow>("per-window", &summary())
        .sink("gold", sink("gold").rank(1));
    env.build().unwrap()
}

/// The table of cuts, whose properties no sink sets, forgets as fast as the others.
async fn short_cuts(lake: &Path) {
    let nothing = Cut {
        job: "before".to_owned(),
        chain: "none".to_owned(),
        checkpoint: CheckpointId(1),
        created_at: 0,
        versions: BTreeMap::new(),
    };
    DeltaCommitter::new(lake).unwrap().publish(&nothing).await.unwrap();
    let first = lake.join(CUTS).join("_delta_log/00000000000000000000.json");
    let entry = fs::read_to_string(&first).unwrap();
    let [(_, log), (key, files)] = SHORT;
    let short = entry.replace("\"interval 1 days\"", &format!("\"{log}\",\"{key}\":\"{files}\""));
    assert_ne!(entry, short, "the table has other properties");
    fs::write(&first, short).unwrap();
}

/// Merges files, and removes those that nobody needs.
async fn maintain(service: &DeltaMaintenance, storage: &Arc<LocalStorage>) -> u64 {
    let pending = || -> Result<Vec<PendingCommit>> {
        let mut all = Vec::new();
        for name in storage.list("")? {
            if Manifest::number_of(&name).is_some()
                && let Some(bytes) = storage.read(&name)?
            {
                all.extend(Manifest::decode(&bytes)?.pending);
            }
        }
        Ok(all)
    };
    let vacuum = Vacuum { retention: RETENTION, force: true, dry_run: false };
    let mut merges = 0;
    for table in TABLES {
        merges += service.compact(table, &Compaction::default()).await.unwrap().merges;
        service.vacuum(table, &vacuum, &pending).await.unwrap();
    }
    merges
}

/// Files of one folder, and their bytes. What is removed meanwhile does not count.
fn folder(path: &Path) -> (usize, u64) {
    let files = fs::read_dir(path).unwrap().filter_map(|entry| entry.ok()?.metadata().ok());
    let files = files.filter(fs::Metadata::is_file);
    files.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.len()))
}

/// Descriptors that stay open: the fewest of many looks, as a log checkpoint has all its entries open for a moment.
fn descriptors() -> usize {
    let looks = (0..40).map(|_| {
        std::thread::park_timeout(Duration::from_millis(5));
        fs::read_dir("/proc/self/fd").unwrap().count()
    });
    looks.min().unwrap()
}

/// What is measured at the end of a tenth.
#[derive(Debug, Clone, Copy)]
struct Sample {
    resident: u64,
    descriptors: usize,
    manifests: (usize, u64),
    state: (usize, u64),
    /// The log that is the longest, and the one that is the largest.
    log: (usize, u64),
}

impl Sample {
    fn of(data: &Path) -> Self {
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
        let logs = TABLES.map(|table| folder(&data.join("lake").join(table).join("_delta_log")));
        Self {
            resident: pages * 4_096,
            descriptors: descriptors(),
            manifests: folder(&data.join("checkpoints")),
            state: folder(&data.join("checkpoints/state")),
            log: logs.into_iter().fold((0, 0), |most, log| (most.0.max(log.0), most.1.max(log.1))),
        }
    }

    /// Bounds in which no number of checkpoints occurs.
    fn check(&self) {
        // Five are kept; the lock's file is there as well.
        assert!(self.manifests.0 < 24 && self.manifests.1 < 1 << 20, "{self:?}");
        // State files follow every sixteen checkpoints.
        assert!(self.state.0 < 300 && self.state.1 < 16 << 20, "{self:?}");
        // Every fifty entries a log is written down anew, and they are removed.
        assert!(self.log.0 < 300 && self.log.1 < 16 << 20, "{self:?}");
        assert!(self.descriptors < 512, "{self:?}");
    }
}

#[test]
fn memory_descriptors_and_every_folder_of_a_job_stay_flat() {
    let checkpoints: u64 =
        std::env::var("THALWEG_LONG_RUN").map_or(400, |text| text.parse().unwrap());
    // Where there is one, a disk without a disk: what is looked at is what is left, not the price of a sync.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let place = place.unwrap();
    let (data, lake) = (place.path(), place.path().join("lake"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(short_cuts(&lake));
    let tables = Arc::new(DeltaCommitter::new(&lake).unwrap().checkpoint_every(50));
    let storage = Arc::new(LocalStorage::open(data.join("checkpoints")).unwrap());
    let settings = Settings {
        parallelism: 2,
        checkpoint_interval: Duration::from_millis(10),
        keep_checkpoints: 5,
        ..Settings::default()
    };
    let key = Arc::new(MasterKey::generate().unwrap());
    let store = Arc::clone(&storage) as Arc<dyn CheckpointStorage>;
    let job = JobBuilder::new(graph(&tables), store, key).settings(settings).start().unwrap();
    let service = DeltaMaintenance::new(&lake).unwrap();

    let step = (checkpoints / 10).clamp(1, ROUND);
    let (mut samples, mut merges) = (Vec::new(), 0);
    for goal in (step..=checkpoints).step_by(step as usize) {
        let reached = loop {
            let reached = job.metrics().checkpoint.load(Ordering::Relaxed);
            if reached >= goal {
                break reached;
            }
            assert!(!job.is_finished(), "{:?}", job.join());
            std::thread::park_timeout(Duration::from_millis(5));
        };
        merges += runtime.block_on(maintain(&service, &storage));
        if goal * 10 / checkpoints > samples.len() as u64 {
            let sample = Sample::of(data);
            println!("{reached} checkpoints: {sample:?}");
            sample.check();
            samples.push(sample);
        }
    }
    job.stopper().stop();
    let summary = job.join().unwrap();
    assert!(summary.attempts == 1 && summary.checkpoint >= checkpoints, "{summary:?}");
    assert!(merges >= checkpoints / step, "{merges} merges");
    // Allocators and thread pools take their share in the beginning.
    let (early, last) = (samples[samples.len() / 5], samples[samples.len() - 1]);
    assert!(last.resident < early.resident * 3 / 2 + (64 << 20), "{early:?} {last:?}");
    assert!(last.descriptors < early.descriptors + 32, "{early:?} {last:?}");
    for table in ["all", "gold"] {
        let rows = runtime.block_on(tables.count_rows(table)).unwrap();
        assert_eq!(rows, summary.written.get(table).copied(), "{table}");
    }
    assert_eq!(summary.written["all"], summary.read["readings"]);
    // Each index of the generator once: it is what the event time says.
    let mut times: Vec<i64> = Vec::new();
    let visit = |rows: RecordBatch| {
        times.extend(rows.column(0).as_primitive::<TimestampMicrosecondType>().values());
        Ok(())
    };
    read_table(&Place::Folder(lake), &Access::from_environment(), "all", &["at"], visit).unwrap();
    times.sort_unstable();
    let every = (0..summary.read["readings"] as i64).map(|index| index * 100_000);
    assert!(times.into_iter().eq(every), "an index is missing, or there twice");
}
