//! Ten times as many events as the job takes: the topic keeps what waits, memory stays bounded, nothing is lost, and
//! when the flood is over the job catches up. `THALWEG_OVERLOAD_SECONDS=300` is the long run.
//!
//! How fast a machine produces is not known: the job is braked, and let go on only where ten times what it has taken was sent.
//! How much waits is known, however short the flood is: its messages are as long as that takes.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use support::{Started, count, data_files, healthcare, resident, start};
use thalweg_connectors::kafka::TopicWriter;
use thalweg_connectors::testing::kafka_server::{KafkaServer, or_skip, unique_topic};
use thalweg_core::time::Clock;
use thalweg_pipelines::healthcare::hospital::{Hospital, HospitalSettings};
use thalweg_runtime::SystemClock;

const PARTITIONS: i32 = 4;
/// What the job works on while its rate is measured.
const WARM_UP: u64 = 60_000;
const TIMES: u64 = 10;
/// So many times what the job has taken is the least that counts: it is only told by checkpoints, and takes a little more
/// until the next one.
const LEAST_TIMES: u64 = 3;
/// The least rate by which the flood is measured: what the job takes between two checkpoints is little of it.
const LEAST_RATE: u64 = 1_000;
/// What buffers of a client, allocators and threads may take under a flood beyond what they take without.
const ROOM: u64 = 192 << 20;
/// What it may take when it catches up beyond what it takes without a flood: all of its buffers are full then, at full speed.
/// What they hold at most is added up in docs/guarantees.md: 444 MiB.
const CATCH_UP_ROOM: u64 = 480 << 20;
/// By so many bytes the messages of the flood, all together, are longer than a hospital's. More of them wait than the job may
/// have in memory altogether: it does not buffer them.
const PADDING: u64 = 1 << 30;
/// A producer that is ahead of its rate by less than this goes on.
const TICK: Duration = Duration::from_millis(10);
/// Simulated events whose lengths are looked at.
const SAMPLE: usize = 1_000;
/// For how long the rate is measured at most, from the first checkpoint that counts events.
const MEASURED: Duration = Duration::from_secs(4);
/// What is waited for comes nearer within this on the busiest machine, or not any more.
const PATIENCE: Duration = Duration::from_mins(4);
/// The job runs for some hundredths of the time: its machine is too small, and ten times of what it can take is what
/// a producer without optimisation can still send.
const BRAKE: &str =
    "while kill -STOP $0; do sleep 0.39; kill -CONT $0; sleep 0.008; done 2>/dev/null";

/// A process that is let run for a small share of the time.
struct Braked {
    job: Started,
    brake: Started,
    is_held: bool,
}

impl Braked {
    fn new(job: Started) -> Self {
        let pid = job.id().to_string();
        let brake = Started::new(Command::new("sh").args(["-c", BRAKE, &pid]));
        Self { job, brake, is_held: false }
    }

    /// Stops it altogether, or lets the brake go on.
    fn hold(&mut self, is_held: bool) {
        if std::mem::replace(&mut self.is_held, is_held) == is_held {
            return;
        }
        if is_held {
            signal("-STOP", &self.brake);
            signal("-STOP", &self.job);
        } else {
            signal("-CONT", &self.brake);
        }
    }

    fn release(mut self) -> Started {
        self.brake.kill().unwrap();
        self.brake.wait().unwrap();
        signal("-CONT", &self.job);
        self.job
    }
}

fn signal(signal: &str, process: &Started) {
    Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap();
}

/// Waits a moment, while the job runs; what has not got on `since` for too long has failed.
fn wait_for(what: &str, job: &mut Started, clock: &SystemClock, since: Duration) {
    assert!(job.try_wait().unwrap().is_none(), "before {what} the job ended by itself");
    let quiet = clock.monotonic().saturating_sub(since);
    assert!(quiet < PATIENCE, "{what} did not come, nor anything else for {quiet:?}");
    std::thread::park_timeout(Duration::from_millis(50));
}

/// The newest checkpoint's manifest, if there is one.
fn manifest(data: &Path) -> Option<serde_json::Value> {
    let entries = fs::read_dir(data.join("checkpoints")).ok()?;
    let names = entries.filter_map(|e| e.ok().map(|e| e.path()));
    let manifests =
        names.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("manifest-"));
    // The newest may be gone before it is read: an older one of the next look counts as well.
    serde_json::from_slice(&fs::read(manifests.max()?).ok()?).ok()
}

/// Events that the newest checkpoint counts.
fn counted(data: &Path) -> u64 {
    manifest(data).and_then(|m| m["sources"][0]["rows"].as_u64()).unwrap_or(0)
}

/// The offsets of all `tables` together are each partition's from 0 on, each once.
fn assert_complete(data: &Path, tables: &[&str], total: u64) {
    let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for file in tables.iter().flat_map(|table| data_files(&data.join(table))) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&file).unwrap()).unwrap();
        let columns = ["partition", "offset"];
        let mask = ProjectionMask::columns(reader.parquet_schema(), columns);
        for batch in reader.with_projection(mask).build().unwrap() {
            let batch = batch.unwrap();
            let partition = batch.column_by_name(columns[0]).unwrap().as_primitive::<Int32Type>();
            let offset = batch.column_by_name(columns[1]).unwrap().as_primitive::<Int64Type>();
            for (partition, offset) in partition.values().iter().zip(offset.values()) {
                offsets.entry(*partition).or_default().push(*offset);
            }
        }
    }
    assert_eq!(offsets.values().map(|o| o.len() as u64).sum::<u64>(), total, "rows of {tables:?}");
    for (partition, mut offsets) in offsets {
        offsets.sort_unstable();
        let is_each_once = offsets.iter().zip(0..).all(|(a, b)| *a == b);
        assert!(is_each_once, "offsets of partition {partition} in {tables:?}");
    }
}

fn hospital(rate: u64, start: i64) -> Hospital {
    let settings = HospitalSettings { bad: 0.02, start, ..HospitalSettings::default() };
    Hospital::new(settings.pace(rate as f64, 1.0))
}

/// A field that nobody knows, so long that so many messages are longer by [`PADDING`].
fn padding(messages: u64) -> Vec<u8> {
    format!("\"padding\":\"{}\",", "x".repeat((PADDING / messages) as usize)).into_bytes()
}

/// The message with the field in front of its own. One that is no object stays as it is.
fn padded(payload: Vec<u8>, padding: &[u8]) -> Vec<u8> {
    match payload.split_first() {
        Some((b'{', rest)) => [&b"{"[..], padding, rest].concat(),
        _ => payload,
    }
}

/// Bytes of so many messages of the flood.
fn bytes_of(messages: u64, padding: &[u8]) -> u64 {
    let events = hospital(1_000, 0).take(SAMPLE);
    let bytes: usize = events.map(|event| padded(event.payload, padding).len()).sum();
    messages * bytes as u64 / SAMPLE as u64
}

/// Sends so many events at a rate, not compressed: they are as long in memory as in the topic.
fn flood(servers: &str, topic: &str, events: u64, rate: u64, padding: Vec<u8>) -> JoinHandle<()> {
    let plain = BTreeMap::from([("compression.type".to_owned(), "none".to_owned())]);
    let writer = TopicWriter::new(servers, topic, &plain).unwrap();
    std::thread::spawn(move || {
        let clock = SystemClock::default();
        for (sent, event) in (0..events).zip(hospital(rate, clock.now_micros())) {
            let due = Duration::from_secs_f64(sent as f64 / rate as f64);
            let early = due.saturating_sub(clock.monotonic());
            if early > TICK {
                std::thread::park_timeout(early);
            }
            let payload = padded(event.payload, &padding);
            writer.send(Some(event.key.as_bytes()), Some(&payload), None).unwrap();
        }
        writer.flush(PATIENCE).unwrap();
    })
}

#[test]
fn ten_times_the_sustainable_rate_is_survived_in_bounded_memory() {
    let Some(kafka) = or_skip(KafkaServer::start_own(1)) else { return };
    let topic = unique_topic("overload");
    kafka.create_topic(&topic, PARTITIONS, &[]).unwrap();
    let seconds: u64 = std::env::var("THALWEG_OVERLOAD_SECONDS").map_or(8, |s| s.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let clock = SystemClock::default();
    let servers = kafka.bootstrap_servers();
    let produce = |events: u64| {
        let mut command = healthcare();
        command.args(["produce", "--quiet", "--bootstrap-servers", servers, "--topic", &topic]);
        command.args(["--events", &events.to_string(), "--rate", "1000000", "--bad", "0.02"]);
        start(&mut command)
    };
    let run = || {
        let mut command = healthcare();
        command.args(["run", "--quiet", "--bootstrap-servers", servers, "--topic", &topic]);
        // Each reader and each writer has its buffers: what waits is more than those of one hold.
        command.args(["--parallelism", "1", "--data-dir"]).arg(&data);
        command
    };

    // It starts with the whole machine; then a backlog, worked on with the brake on: the rate that can be sustained, and
    // the memory that it takes.
    let mut job = start(&mut run());
    while manifest(&data).is_none() {
        wait_for("the first manifest", &mut job, &clock, Duration::ZERO);
    }
    let mut braked = Braked::new(job);
    assert!(produce(WARM_UP).wait().unwrap().success());
    let mut calm = 0;
    // When checkpoints were seen, and the events that they count.
    let mut seen = vec![(clock.monotonic(), counted(&data))];
    let is_measured = |seen: &[(Duration, u64)]| match seen {
        [_, (first, _), .., (last, read)] => *read == WARM_UP || *last > *first + MEASURED,
        [.., (_, read)] => *read == WARM_UP,
        [] => false,
    };
    while !is_measured(&seen) {
        calm = calm.max(resident(braked.job.id()).unwrap_or(0));
        let read = counted(&data);
        if seen.last().is_some_and(|(_, before)| read > *before) {
            seen.push((clock.monotonic(), read));
        }
        // The brake takes its time, too.
        let since = seen[seen.len() - 1].0 + PATIENCE;
        wait_for("a checkpoint of events", &mut braked.job, &clock, since);
    }
    // The first is no checkpoint's own time.
    let (then, before) = seen[usize::from(seen.len() > 2)];
    let (now, read) = seen[seen.len() - 1];
    let rate = ((read - before) as f64 / now.saturating_sub(then).as_secs_f64()) as u64;
    let behind = WARM_UP - read;
    let rate = rate.max(LEAST_RATE);

    let (sending, asked) = (rate * TIMES * seconds, Duration::from_secs(seconds));
    let (total, padding) = (WARM_UP + sending, padding(sending));
    let begun = clock.monotonic();
    let producer = flood(servers, &topic, sending, rate * TIMES, padding.clone());
    let mut samples = Vec::new();
    let (mut most, mut since) = (0, begun);
    let sent = loop {
        if producer.is_finished() {
            break clock.monotonic().saturating_sub(begun);
        }
        samples.extend(resident(braked.job.id()));
        let end = |partition| kafka.watermarks(&topic, partition).map_or(0, |(_, end)| end);
        let so_far: i64 = (0..PARTITIONS).map(end).sum();
        let so_far = so_far.unsigned_abs().saturating_sub(WARM_UP);
        braked.hold(counted(&data).saturating_sub(read) > so_far / TIMES);
        if so_far > most {
            (most, since) = (so_far, clock.monotonic());
        }
        wait_for("the end of the flood", &mut braked.job, &clock, since);
    };
    producer.join().unwrap();
    let taken = counted(&data);
    let (waiting, taken) = (total - taken, taken.saturating_sub(read));
    println!(
        "{rate} events/s sustained, {behind} behind before; {sending} sent in {:.1} s, {taken} taken and {waiting} wait then",
        sent.as_secs_f64()
    );
    // For as long as was asked for, and far faster than the job is.
    assert!(sent > asked * 4 / 5, "{sent:?} for {asked:?} of flood");
    assert!(sending >= taken * LEAST_TIMES, "{taken} of {sending} events were taken meanwhile");
    assert!(waiting > sending / 2, "{waiting} of {sending} events wait: that was no overload");
    let peak = samples.iter().copied().max().unwrap_or(0);
    println!("memory: {} MiB before, {} MiB at most in the flood", calm >> 20, peak >> 20);
    assert!(peak < calm + ROOM, "{} MiB before, {} MiB in the flood", calm >> 20, peak >> 20);
    let (bound, backlog) = (calm + CATCH_UP_ROOM, bytes_of(sending - taken, &padding));
    println!("{} MiB of the flood wait at least, {} MiB may be taken", backlog >> 20, bound >> 20);
    assert!(backlog > bound, "so little could be buffered, and nobody would see it");

    // The flood is over and the machine is as large as it should be.
    let begun = clock.monotonic();
    let mut job = braked.release();
    let mut caught = 0;
    let (mut most, mut since) = (0, begun);
    while most < total {
        caught = caught.max(resident(job.id()).unwrap_or(0));
        wait_for("the last event", &mut job, &clock, since);
        let now = counted(&data);
        if now > most {
            (most, since) = (now, clock.monotonic());
        }
    }
    let took = clock.monotonic().saturating_sub(begun).as_secs_f64();
    println!(
        "caught up in {took:.1} s, {:.0} events/s, {} MiB at most",
        waiting as f64 / took,
        caught >> 20
    );
    assert!(caught < bound, "{} MiB before, {} MiB when it caught up", calm >> 20, caught >> 20);
    Command::new("kill").args(["-TERM", &job.id().to_string()]).status().unwrap();
    assert!(job.wait().unwrap().success());
    assert_complete(&data, &["bronze/events"], total);
    assert_complete(&data, &["silver/events", "quarantine/events"], total);
    assert!(count(&data, "quarantine/events") > total / 100, "bad events are among them");
}
