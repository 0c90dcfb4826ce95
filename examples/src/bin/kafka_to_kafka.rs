//! The quick way through: `kafka_to_kafka SERVERS TOPIC OUT FOLDER` lets the fast hearts through, numbers them per
//! patient, and sends them on at once, at least once, until Ctrl-C. Checkpoints, every 250 ms, are below FOLDER.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch};
use thalweg_connectors::json::JsonFormat;
use thalweg_connectors::kafka::{
    KafkaCommitter, KafkaConfig, KafkaSink, KafkaSinkConfig, KafkaSource,
};
use thalweg_core::Record;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_core::record::column_of;
use thalweg_examples::Usage;
use thalweg_operators::prelude::*;
use thalweg_runtime::{JobBuilder, LocalStorage, Settings};

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Reading {
    #[record(sensitivity = "phi.raw")]
    payload: Option<Vec<u8>>,
    event_id: Option<i64>,
    patient_id: Option<i64>,
    heart_rate: Option<i32>,
}

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Fast {
    event_id: Option<i64>,
    patient_id: Option<i64>,
    heart_rate: Option<i32>,
}

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Numbered {
    event_id: Option<i64>,
    patient_id: Option<i64>,
    heart_rate: Option<i32>,
    number: i64,
}

const SEEN: ValueStateDescriptor<i64> = ValueStateDescriptor::new("seen");

/// How many fast readings a patient has had, this one included.
#[derive(Debug, Clone)]
struct Number;

impl KeyedOperator for Number {
    type In = Fast;
    type Out = Numbered;

    fn process(
        &mut self,
        batch: Batch<Fast>,
        context: &KeyedContext,
        out: &mut Collector,
    ) -> Result<()> {
        let seen = context.value_state(&SEEN);
        let mut numbers = Vec::with_capacity(batch.num_rows());
        for patient in context.keys() {
            let number = seen.get(patient)?.unwrap_or(0) + 1;
            seen.put(patient, number)?;
            numbers.push(number);
        }
        let mut columns = batch.as_record_batch().columns().to_vec();
        columns.push(Arc::new(Int64Array::from(numbers)));
        let rows = RecordBatch::try_new(Numbered::schema(), columns);
        out.emit(rows.map_err(|e| thalweg_core::Error::internal("other columns").with_source(e))?);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = Usage("usage: kafka_to_kafka SERVERS TOPIC OUT FOLDER");
    let args = usage.arguments();
    let [servers, topic, out, folder] = args.as_slice() else { usage.misuse() };
    let format = Arc::new(JsonFormat::of::<Reading>()?);
    let cluster = Arc::new(KafkaCommitter::new(KafkaSinkConfig::new(servers)));
    let env = StreamEnvironment::new("fast-hearts");
    env.source::<Reading>("readings", KafkaSource::new(KafkaConfig::new(servers, topic), format))
        .transform::<Fast>("columns", Project::to::<Fast>())
        .apply(
            "fast",
            Filter::new("fast", |batch| {
                let rates = column_of(batch, Fast::HEART_RATE)?;
                Ok(rates.iter().map(|rate| rate.map(|rate| rate >= 100)).collect())
            }),
        )
        .key_by(Fast::PATIENT_ID)
        .process("number", Number)
        .sink("out", KafkaSink::at_least_once(&cluster, out));
    let folder = Path::new(folder);
    let (key, _) = MasterKey::load_or_create(None, &folder.with_extension("key"))?;
    let settings =
        Settings { checkpoint_interval: Duration::from_millis(250), ..Settings::default() };
    let storage = Arc::new(LocalStorage::open(folder)?);
    JobBuilder::new(env.build()?, storage, Arc::new(key)).settings(settings).start()?.join()?;
    Ok(())
}
