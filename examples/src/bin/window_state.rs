//! The benchmark of large state: `window_state KEYS ROWS [wide]`, such as `10000000 30000000`.
//!
//! One window stays open and counts rows by key; with `wide` it keeps nine more numbers per key. The first KEYS rows
//! bring a new key each, the others come for keys at random, and a checkpoint of everything is taken every second. Says
//! how much memory the process took at most and for how long a checkpoint kept the operator from its rows: its own
//! snapshot, and the slowest batch behind one, where shared pages are copied; beside each the time that the thread was on a
//! core, where others use the cores too.

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::{Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::SchemaRef;
use thalweg_connectors::generator::{GeneratorSource, from_fn};
use thalweg_connectors::memory::MemoryStore;
use thalweg_core::Record;
use thalweg_core::crypto::MasterKey;
use thalweg_core::element::Watermark;
use thalweg_core::graph::WindowFunction;
use thalweg_core::operator::{
    Collector, Context, OpenContext, Operator, OperatorFactory, StateBlob, StateChunk,
};
use thalweg_core::prelude::*;
use thalweg_core::record::Micros;
use thalweg_core::time::Clock;
use thalweg_examples::Usage;
use thalweg_operators::prelude::*;
use thalweg_runtime::{JobBuilder, LocalStorage, Settings, SystemClock};

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Row {
    key: i64,
    value: f64,
    at: Micros,
}

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Kept {
    window_start: Micros,
    window_end: Micros,
    key: i64,
    rows: i64,
}

/// `SplitMix64`: spreads neighbours all over.
fn spread(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn rows(from: u64, to: u64, keys: u64) -> Result<RecordBatch> {
    let key = |i: u64| (if i < keys { i } else { spread(i) % keys }).cast_signed();
    let key: Int64Array = (from..to).map(key).collect();
    let value: Float64Array = (from..to).map(|i| (i % 100) as f64).collect();
    let at = TimestampMicrosecondArray::from_iter_values((from..to).map(u64::cast_signed));
    let at = at.with_timezone("UTC");
    RecordBatch::try_new(Row::schema(), vec![Arc::new(key), Arc::new(value), Arc::new(at)])
        .map_err(|e| thalweg_core::Error::internal("rows of another shape").with_source(e))
}

/// What the merging operators took.
#[derive(Debug, Default)]
struct Times {
    rows: u64,
    /// From this row on, batches count: an index that grows for new keys is another matter.
    grown: u64,
    snapshots: Vec<Took>,
    batches: Vec<Took>,
}

/// How long something took, and for how much of that its thread had a core.
type Took = (Duration, Duration);

/// The time that this thread has spent on a core, as Linux tells it.
fn on_core() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

type Shared = (Arc<SystemClock>, Arc<Mutex<Times>>);

/// An aggregate whose merging phase is timed.
struct Timed(Aggregate, Shared);

impl WindowFunction for Timed {
    fn partial(&self, k: &[&'static str], w: SlidingEventTimeWindows) -> Box<dyn OperatorFactory> {
        WindowFunction::partial(&self.0, k, w)
    }

    fn merge(&self, k: &[&'static str], w: SlidingEventTimeWindows) -> Box<dyn OperatorFactory> {
        Box::new(TimedFactory(WindowFunction::merge(&self.0, k, w), self.1.clone()))
    }
}

#[derive(Debug)]
struct TimedFactory(Box<dyn OperatorFactory>, Shared);

impl OperatorFactory for TimedFactory {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn needs_event_time(&self) -> bool {
        self.0.needs_event_time()
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        self.0.output_schema(input)
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        Ok(Box::new(TimedOperator(self.0.create(context)?, self.1.clone())))
    }
}

struct TimedOperator(Box<dyn Operator>, Shared);

impl TimedOperator {
    fn now(&self) -> Took {
        (self.1.0.monotonic(), on_core())
    }

    fn note(&self, begun: Took, add: impl FnOnce(&mut Times, Took)) {
        let (now, core) = self.now();
        let took = (now.saturating_sub(begun.0), core.saturating_sub(begun.1));
        let (_, times) = &self.1;
        if let Ok(mut times) = times.lock() {
            add(&mut times, took);
        }
    }
}

impl Operator for TimedOperator {
    fn process(&mut self, batch: RecordBatch, c: &Context<'_>, out: &mut Collector) -> Result<()> {
        let begun = self.now();
        let rows = batch.num_rows() as u64;
        self.0.process(batch, c, out)?;
        self.note(begun, |times, took| {
            times.rows += rows;
            if times.rows > times.grown {
                times.batches.push(took);
            }
        });
        Ok(())
    }

    fn on_watermark(&mut self, w: Watermark, c: &Context<'_>, out: &mut Collector) -> Result<()> {
        self.0.on_watermark(w, c, out)
    }

    fn snapshot(&mut self) -> Result<Vec<StateChunk>> {
        let begun = self.now();
        let chunks = self.0.snapshot()?;
        self.note(begun, |times, took| times.snapshots.push(took));
        Ok(chunks)
    }

    fn restore(&mut self, blobs: Vec<StateBlob>) -> Result<()> {
        self.0.restore(blobs)
    }
}

/// Bytes of state in the newest checkpoint.
fn stored(folder: &Path) -> Result<u64, Box<dyn Error>> {
    let names = std::fs::read_dir(folder)?.map(|e| Ok(e?.path()));
    let names = names.collect::<Result<Vec<_>, std::io::Error>>()?;
    let manifests = names.into_iter().filter(|path| path.to_string_lossy().contains("manifest-"));
    let newest = std::fs::read(manifests.max().ok_or("no checkpoint")?)?;
    let newest: serde_json::Value = serde_json::from_slice(&newest)?;
    let files = newest["state"].as_array().ok_or("no state")?;
    Ok(files.iter().filter_map(|file| file["bytes"].as_u64()).sum())
}

/// The most memory that this process had, in kB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

#[expect(clippy::print_stdout, reason = "the result of the benchmark")]
fn main() -> Result<(), Box<dyn Error>> {
    let usage = Usage("usage: window_state KEYS ROWS [wide]");
    let (keys, total, is_wide) = match usage.arguments().as_slice() {
        [keys, total] => (usage.number::<u64>(keys), usage.number::<u64>(total), false),
        [keys, total, wide] if wide == "wide" => (usage.number(keys), usage.number(total), true),
        _ => usage.misuse(),
    };
    if keys == 0 {
        usage.misuse();
    }
    let mut aggregate = Aggregate::over(Row::AT).count("rows");
    if is_wide {
        aggregate = aggregate.sum(Row::VALUE, "sum").mean(Row::VALUE, "mean");
        aggregate = aggregate.min(Row::VALUE, "min").max(Row::VALUE, "max");
        aggregate = aggregate.stddev(Row::VALUE, "stddev");
    }
    let clock = Arc::new(SystemClock::default());
    let grown = keys + keys / 20;
    let times = Arc::new(Mutex::new(Times { grown, ..Times::default() }));
    let generator = from_fn(Row::schema(), move |from, to| rows(from, to, keys));
    let source = GeneratorSource::new("rows", generator, Arc::clone(&clock) as Arc<dyn Clock>);
    let tables = MemoryStore::default();
    let env = StreamEnvironment::new("window-state");
    env.source::<Row>("rows", source)
        .watermarks(WatermarkStrategy::bounded_out_of_orderness(Row::AT, Duration::from_mins(1)))
        .key_by(Row::KEY)
        .window(TumblingEventTimeWindows::of(Duration::from_hours(24)))
        .aggregate::<Kept>("count", &Timed(aggregate, (clock, Arc::clone(&times))))
        .sink("kept", tables.sink("kept"));
    let folder = std::env::temp_dir().join(format!("window-state-{}", std::process::id()));
    let storage = Arc::new(LocalStorage::open(&folder)?);
    let summary = JobBuilder::new(env.build()?, storage, Arc::new(MasterKey::generate()?))
        .settings(Settings { keep_checkpoints: 2, ..Settings::default() })
        .events(Some(total))
        .start()?
        .join()?;
    let state = stored(&folder)?;
    std::fs::remove_dir_all(&folder)?;
    let mut times = std::mem::take(&mut *times.lock().map_err(|_| "a panic while timing")?);
    let longest = |times: &[Took]| times.iter().max().copied().unwrap_or_default();
    let (snapshot, batch) = (longest(&times.snapshots), longest(&times.batches));
    times.batches.sort_unstable();
    let at = |per_mille: usize| times.batches.get(times.batches.len() * per_mille / 1000);
    let [usual, slow] = [500, 999].map(|share| at(share).copied().unwrap_or_default().0);
    println!(
        "keys={keys} state={:.0}MB peak={:.0}MB checkpoints={} seconds={:.1} snapshot_max={:.1?} (core {:.1?}) batch_p50={usual:.1?} batch_p999={slow:.1?} batch_max={:.1?} (core {:.1?})",
        state as f64 / 1e6,
        peak().unwrap_or_default() as f64 / 1e3,
        summary.checkpoint,
        summary.elapsed.as_secs_f64(),
        snapshot.0,
        snapshot.1,
        batch.0,
        batch.1,
    );
    Ok(())
}
