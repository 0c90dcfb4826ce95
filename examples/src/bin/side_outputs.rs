//! Rules part good rows from bad ones. A bad row is no error of the job: it leaves by a side output and says why.

use std::error::Error;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Float64Array, Int64Array, RecordBatch};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::Record;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_examples::Usage;
use thalweg_operators::prelude::*;
use thalweg_operators::validate::REASON_CODES;
use thalweg_runtime::{JobBuilder, MemoryStorage};

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Vitals {
    patient_id: Option<i64>,
    heart_rate: Option<f64>,
}

#[expect(clippy::print_stdout, reason = "the result of the example")]
fn main() -> Result<(), Box<dyn Error>> {
    Usage("usage: side_outputs").no_arguments();
    let patients = Int64Array::from(vec![Some(1), None, Some(3), None]);
    let rates = Float64Array::from(vec![Some(72.0), Some(80.0), Some(999.0), Some(-1.0)]);
    let vitals = RecordBatch::try_new(Vitals::schema(), vec![Arc::new(patients), Arc::new(rates)])?;
    let source = MemorySource::new(Vitals::schema()).split("ward", [vitals]);
    let tables = MemoryStore::default();

    let rules = Validate::new().required(Vitals::PATIENT_ID, "patient_id.missing").in_range(
        Vitals::HEART_RATE,
        20..=300,
        "heart_rate.range",
    );

    let env = StreamEnvironment::new("side-outputs");
    let valid = env.source::<Vitals>("vitals", source).apply("validate", rules);
    valid.sink("good", tables.sink("good"));
    valid.side_output(&REJECTED).sink("quarantine", tables.sink("quarantine"));

    let key = Arc::new(MasterKey::generate()?);
    JobBuilder::new(env.build()?, Arc::new(MemoryStorage::default()), key).start()?.join()?;

    println!("good: {}", tables.rows("good"));
    for batch in tables.batches("quarantine") {
        let reasons = batch.column_by_name(REASON_CODES).ok_or("no reasons")?;
        for reasons in reasons.as_list::<i32>().iter().flatten() {
            let reasons: Vec<&str> = reasons.as_string::<i32>().iter().flatten().collect();
            println!("rejected: {}", reasons.join(", "));
        }
    }
    Ok(())
}
