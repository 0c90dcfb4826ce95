//! The benchmark's workload: `workload_h FILE.jsonl FOLDER [--parallelism N] [--checkpoint-ms N]`, or with
//! `--bootstrap-servers H:P` the topic of that name instead of the file, as far as it goes when the job begins.
//!
//! Reads healthcare events, drops the invalid, masks identities, writes the others to the Delta table `silver` and
//! their counts and means per minute and kind to `gold`, exactly once, with a checkpoint every second.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{BooleanArray, RecordBatch};
use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_connectors::file::JsonLinesSource;
use thalweg_connectors::json::JsonFormat;
use thalweg_connectors::kafka::{KafkaConfig, KafkaSource};
use thalweg_core::Record;
use thalweg_core::connector::source::Source;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_core::record::{Micros, column_of};
use thalweg_examples::Usage;
use thalweg_operators::prelude::*;
use thalweg_runtime::{JobBuilder, LocalStorage, Settings};

/// A line as decoded; what the source knows of its origin is not needed.
#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Event {
    #[record(sensitivity = "phi.raw")]
    payload: Option<Vec<u8>>,
    event_id: Option<i64>,
    patient_id: Option<i64>,
    #[record(sensitivity = "phi.name")]
    name: Option<String>,
    #[record(sensitivity = "phi.ssn")]
    ssn: Option<String>,
    #[record(sensitivity = "phi.phone")]
    phone: Option<String>,
    #[record(sensitivity = "phi.dob")]
    dob: Option<String>,
    #[record(sensitivity = "phi.address")]
    address: Option<String>,
    event_type: Option<String>,
    heart_rate: Option<i32>,
    blood_pressure: Option<String>,
    temperature: Option<f64>,
    spo2: Option<i32>,
    respiratory_rate: Option<i32>,
    medication: Option<String>,
    ts: Option<Micros>,
    decode_errors: Option<Vec<String>>,
}

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Silver {
    event_id: Option<i64>,
    patient_id: i64,
    name: Option<String>,
    ssn: Option<String>,
    phone: Option<String>,
    dob: Option<String>,
    address: Option<String>,
    event_type: String,
    heart_rate: i32,
    blood_pressure: String,
    temperature: f64,
    spo2: Option<i32>,
    respiratory_rate: Option<i32>,
    medication: Option<String>,
    ts: Micros,
}

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Gold {
    window_start: Micros,
    window_end: Micros,
    event_type: String,
    n: i64,
    hr: Option<f64>,
    temp: Option<f64>,
}

/// `digits/digits`.
fn is_blood_pressure(text: &str) -> bool {
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    text.split_once('/').is_some_and(|(systolic, diastolic)| digits(systolic) && digits(diastolic))
}

fn no_blood_pressure(batch: &RecordBatch) -> Result<BooleanArray> {
    let texts = column_of(batch, Event::BLOOD_PRESSURE)?;
    Ok(texts.iter().map(|t| Some(t.is_some_and(|t| !is_blood_pressure(t)))).collect())
}

fn validation() -> Validate {
    Validate::new()
        .decode_errors(Event::DECODE_ERRORS)
        .required(Event::PATIENT_ID, "patient_id.missing")
        .required(Event::EVENT_TYPE, "event_type.missing")
        .one_of(Event::EVENT_TYPE, ["vitals", "medication", "lab_result"], "event_type.unknown")
        .required(Event::TS, "timestamp.missing")
        .required(Event::HEART_RATE, "heart_rate.missing")
        .in_range(Event::HEART_RATE, 20..=300, "heart_rate.range")
        .required(Event::TEMPERATURE, "temperature.missing")
        .in_range(Event::TEMPERATURE, 80.0..=115.0, "temperature.range")
        .required(Event::BLOOD_PRESSURE, "blood_pressure.missing")
        .check("blood_pressure.unparsable", no_blood_pressure)
}

fn source(input: &str, servers: Option<&str>) -> Result<Arc<dyn Source>> {
    let format = Arc::new(JsonFormat::of::<Event>()?.from_field(Event::TS, "timestamp")?);
    Ok(match servers {
        None => Arc::new(JsonLinesSource::new(input, format)),
        Some(servers) => {
            Arc::new(KafkaSource::new(KafkaConfig::new(servers, input), format).bounded())
        }
    })
}

fn graph(source: Arc<dyn Source>, tables: &Arc<DeltaCommitter>) -> Result<JobGraph, GraphErrors> {
    let late = Duration::from_secs(30);
    let env = StreamEnvironment::new("workload-h");
    let masked = env
        .shared_source::<Event>("events", source)
        .watermarks(WatermarkStrategy::bounded_out_of_orderness(Event::TS, late))
        .transform::<Event>("validate", validation())
        .apply("mask", Mask::display().drop_column(Event::PAYLOAD));
    masked
        .transform::<Silver>("columns", Project::to::<Silver>())
        .sink("silver", DeltaSink::append(tables, "silver"));
    masked
        .key_by(Event::EVENT_TYPE)
        .window(TumblingEventTimeWindows::of(Duration::from_mins(1)))
        .aggregate::<Gold>(
            "by-minute",
            &Aggregate::over(Event::TS)
                .count("n")
                .mean(Event::HEART_RATE, "hr")
                .mean(Event::TEMPERATURE, "temp"),
        )
        .sink("gold", DeltaSink::append(tables, "gold").single_writer());
    env.build()
}

const USAGE: Usage = Usage(
    "usage: workload_h (FILE.jsonl | TOPIC --bootstrap-servers H:P) FOLDER [--parallelism N] [--checkpoint-ms N]",
);

/// The arguments without options, and the value of each option.
fn arguments() -> (Vec<String>, [Option<String>; 3]) {
    let mut args = USAGE.arguments();
    let mut values = [const { None }; 3];
    let options = ["--bootstrap-servers", "--parallelism", "--checkpoint-ms"];
    for (option, value) in options.iter().zip(&mut values) {
        if let Some(at) = args.iter().position(|a| a == option) {
            *value = args.drain(at..(at + 2).min(args.len())).nth(1);
            if value.is_none() {
                USAGE.misuse();
            }
        }
    }
    (args, values)
}

#[expect(clippy::print_stdout, reason = "the result of the benchmark")]
fn main() -> Result<(), Box<dyn Error>> {
    let (args, [servers, parallelism, checkpoint_ms]) = arguments();
    let [input, folder] = args.as_slice() else { USAGE.misuse() };
    let mut settings = Settings::default();
    if let Some(parallelism) = parallelism {
        settings.parallelism = USAGE.number(&parallelism);
    }
    if let Some(millis) = checkpoint_ms {
        settings.checkpoint_interval = Duration::from_millis(USAGE.number(&millis));
    }
    let folder = Path::new(folder);
    let tables = Arc::new(DeltaCommitter::new(folder)?);
    let graph = graph(source(input, servers.as_deref())?, &tables)?;
    let (key, _) = MasterKey::load_or_create(None, &folder.with_extension("key"))?;
    let storage = Arc::new(LocalStorage::open(folder.join("checkpoints"))?);
    let job = JobBuilder::new(graph, storage, Arc::new(key)).settings(settings);
    let summary = job.start()?.join()?;
    println!(
        "thalweg silver {} gold {} seconds {:.2} checkpoints {}",
        summary.written["silver"],
        summary.written["gold"],
        summary.elapsed.as_secs_f64(),
        summary.checkpoint
    );
    Ok(())
}
