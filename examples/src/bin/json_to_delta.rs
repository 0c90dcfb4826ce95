//! Readings as JSON into Delta tables, exactly once: they are checked, those that come too late are parted from the others, and
//! these make one row per patient and minute. `json_to_delta FOLDER FILE.jsonl`, or `json_to_delta FOLDER BROKERS TOPIC`. Reads
//! what is there when the job begins, and ends.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_connectors::file::JsonLinesSource;
use thalweg_connectors::json::JsonFormat;
use thalweg_connectors::kafka::{KafkaConfig, KafkaSource};
use thalweg_core::connector::source::Source;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_examples::Usage;
use thalweg_operators::prelude::*;
use thalweg_runtime::{JobBuilder, LocalStorage};

/// What is decoded. Any field may be missing in a message, so that each column may be null. The source puts the columns of the
/// message itself in front: `topic`, `partition`, `offset`, `kafka_timestamp`, `ingested_at`, `payload`.
#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Message {
    patient_id: Option<i64>,
    bpm: Option<f64>,
    at: Option<Micros>,
    decode_errors: Option<Vec<String>>,
}

/// What has been checked.
#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Reading {
    patient_id: i64,
    bpm: f64,
    at: Micros,
}

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct PerMinute {
    window_start: Micros,
    window_end: Micros,
    patient_id: i64,
    readings: i64,
    mean_bpm: Option<f64>,
}

const USAGE: Usage = Usage("usage: json_to_delta FOLDER (FILE.jsonl | BROKERS TOPIC)");

fn source(from: &[String]) -> Result<Arc<dyn Source>, Box<dyn Error>> {
    let format = Arc::new(JsonFormat::of::<Message>()?);
    Ok(match from {
        [file] => Arc::new(JsonLinesSource::new(file, format)),
        [brokers, topic] => {
            Arc::new(KafkaSource::new(KafkaConfig::new(brokers, topic), format).bounded())
        }
        _ => USAGE.misuse(),
    })
}

fn graph(source: Arc<dyn Source>, tables: &Arc<DeltaCommitter>) -> Result<JobGraph, GraphErrors> {
    let minutes = TumblingEventTimeWindows::of(Duration::from_mins(1));
    let summary = Aggregate::over(Reading::AT).count("readings").mean(Reading::BPM, "mean_bpm");
    let valid = Validate::new()
        .decode_errors(Message::DECODE_ERRORS)
        .required(Message::PATIENT_ID, "patient_id.missing")
        .required(Message::BPM, "bpm.missing")
        .in_range(Message::BPM, 20..=300, "bpm.range")
        .required(Message::AT, "at.missing");

    let bound = Duration::from_secs(30);
    let env = StreamEnvironment::new("heart-rates");
    let valid = env
        .shared_source::<Message>("messages", source)
        .watermarks(WatermarkStrategy::bounded_out_of_orderness(Message::AT, bound))
        .transform::<Reading>("valid", valid);
    // A payload may hold anything, so it is marked, and only a sink that is cleared for it takes it.
    let raw = Clearance::of([Sensitivity::PhiRaw]);
    valid
        .side_output(&REJECTED)
        .apply("rejected-columns", Project::columns(["offset", "payload", "reason_codes"]))
        .sink("rejected", DeltaSink::append(tables, "rejected").clearance(raw));
    let on_time = valid.apply("lateness", Lateness::new(Reading::AT, minutes, Duration::ZERO));
    on_time
        .side_output(&LATE)
        .transform::<Reading>("late-columns", Project::to::<Reading>())
        .sink("late", DeltaSink::append(tables, "late"));
    on_time
        .key_by(Reading::PATIENT_ID)
        .window(minutes)
        .aggregate::<PerMinute>("per-minute", &summary)
        .sink("gold", DeltaSink::append(tables, "gold").rank(1));
    env.build()
}

#[expect(clippy::print_stdout, reason = "the result of the example")]
fn main() -> Result<(), Box<dyn Error>> {
    let args = USAGE.arguments();
    let Some((folder, from)) = args.split_first() else { USAGE.misuse() };
    let (folder, source) = (Path::new(folder), source(from)?);
    let tables = Arc::new(DeltaCommitter::new(folder)?);
    let graph = graph(source, &tables)?;
    let (key, _) = MasterKey::load_or_create(None, &folder.with_extension("key"))?;
    let storage = Arc::new(LocalStorage::open(folder.join("checkpoints"))?);
    let summary = JobBuilder::new(graph, storage, Arc::new(key)).start()?.join()?;
    let rows = |table: &str| summary.written.get(table).copied().unwrap_or_default();
    println!("gold {}, late {}, rejected {}", rows("gold"), rows("late"), rows("rejected"));
    Ok(())
}
