//! Alerts by rules that are data: a machine that stays too hot is told of once, and so is that it cooled down.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::Record;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_core::record::column_of;
use thalweg_examples::Usage;
use thalweg_operators::alert::{AlertChange, Severity};
use thalweg_operators::detect::Limit;
use thalweg_operators::prelude::*;
use thalweg_runtime::{JobBuilder, MemoryStorage};

const SECOND: i64 = 1_000_000;

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Reading {
    machine: String,
    at: Micros,
    celsius: f64,
}

/// The press stays hot; what comes late for second 15 changes nothing. The pump says nothing until 70, when second 50
/// is known to be over: it has been hot for long enough at 40.
const READINGS: [(&str, i64, f64); 9] = [
    ("press", 0, 70.0),
    ("press", 10, 95.0),
    ("press", 20, 97.0),
    ("press", 15, 70.0),
    ("pump", 30, 95.0),
    ("press", 40, 85.0),
    ("press", 60, 75.0),
    ("press", 55, 99.0),
    ("pump", 70, 85.0),
];

#[expect(clippy::print_stdout, reason = "the result of the example")]
fn main() -> Result<(), Box<dyn Error>> {
    Usage("usage: alerts").no_arguments();
    let machines = StringArray::from_iter_values(READINGS.map(|(machine, ..)| machine));
    let at = TimestampMicrosecondArray::from_iter_values(READINGS.map(|(_, at, _)| at * SECOND));
    let celsius = Float64Array::from_iter_values(READINGS.map(|(.., celsius)| celsius));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(machines), Arc::new(at.with_timezone("UTC")), Arc::new(celsius)];
    let readings = RecordBatch::try_new(Reading::schema(), columns)?;
    let source = MemorySource::new(Reading::schema()).split("hall", [readings]);
    let tables = MemoryStore::default();

    let limit = Limit::at_least(90.0).clears_at(80.0);
    let too_hot = AlertRule::new("too-hot", Reading::CELSIUS, limit)
        .persist_for(Duration::from_secs(10))
        .severity(Severity::Critical);
    let bound = Duration::from_secs(10);
    let env = StreamEnvironment::new("machines");
    env.source::<Reading>("readings", source)
        .watermarks(WatermarkStrategy::bounded_out_of_orderness(Reading::AT, bound))
        .key_by(Reading::MACHINE)
        .transform::<AlertChange>("alerts", Alerts::new(["machine"], Reading::AT, [too_hot]))
        .sink("changes", tables.sink("changes"));

    let key = Arc::new(MasterKey::generate()?);
    JobBuilder::new(env.build()?, Arc::new(MemoryStorage::default()), key).start()?.join()?;

    let mut lines = Vec::new();
    for batch in tables.batches("changes") {
        let machines = column_of(&batch, Reading::MACHINE)?;
        let sequences = column_of(&batch, AlertChange::SEQUENCE)?;
        let from = column_of(&batch, AlertChange::FROM_STATE)?;
        let to = column_of(&batch, AlertChange::STATE)?;
        let at = column_of(&batch, AlertChange::CHANGED_AT)?;
        for row in 0..batch.num_rows() {
            let change = format!("{} -> {}", from.value(row), to.value(row));
            let (machine, at) = (machines.value(row).to_owned(), at.value(row) / SECOND);
            lines.push((machine, sequences.value(row), change, at));
        }
    }
    // Machines are watched side by side: there is no order among them.
    lines.sort();
    for (machine, _, change, at) in lines {
        println!("{machine} at {at}: {change}");
    }
    Ok(())
}
