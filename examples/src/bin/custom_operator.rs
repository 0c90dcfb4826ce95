//! An operator of one's own: remembers a value per key, and says so to every checkpoint without a line of code for it.

use std::error::Error;
use std::sync::Arc;

use arrow_array::{Float64Array, Int64Array, RecordBatch};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::Record;
use thalweg_core::crypto::MasterKey;
use thalweg_core::operator::SideOutput;
use thalweg_core::prelude::*;
use thalweg_examples::Usage;
use thalweg_runtime::{JobBuilder, MemoryStorage};

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Vitals {
    patient_id: i64,
    bpm: f64,
}

const JUMPS: OutputTag<Vitals> = OutputTag::new("jumps");
const LAST_BPM: ValueStateDescriptor<f64> = ValueStateDescriptor::new("last_bpm");

/// Parts readings that differ from the patient's previous one by more than `max_step` from the others.
#[derive(Debug, Clone)]
struct HeartRateJump {
    max_step: f64,
}

impl KeyedOperator for HeartRateJump {
    type In = Vitals;
    type Out = Vitals;

    fn process(
        &mut self,
        batch: Batch<Vitals>,
        context: &KeyedContext,
        out: &mut Collector,
    ) -> Result<()> {
        let last = context.value_state(&LAST_BPM);
        let mut jumped = Vec::with_capacity(batch.num_rows());
        for (patient, &bpm) in context.keys().iter().zip(batch.column(Vitals::BPM)?.values()) {
            let before = last.get(patient)?.unwrap_or(bpm);
            jumped.push((bpm - before).abs() > self.max_step);
            last.put(patient, bpm)?;
        }
        let (jumps, steady) = batch.partition(&jumped.into())?;
        out.side_output(JUMPS.name(), jumps.into_record_batch());
        out.emit(steady.into_record_batch());
        Ok(())
    }

    fn side_outputs(&self) -> Vec<SideOutput> {
        vec![SideOutput { tag: JUMPS.name(), schema: Vitals::schema() }]
    }
}

#[expect(clippy::print_stdout, reason = "the result of the example")]
fn main() -> Result<(), Box<dyn Error>> {
    Usage("usage: custom_operator").no_arguments();
    let patients = Int64Array::from(vec![1, 2, 1, 2, 1]);
    let bpm = Float64Array::from(vec![70.0, 80.0, 72.0, 140.0, 71.0]);
    let readings = RecordBatch::try_new(Vitals::schema(), vec![Arc::new(patients), Arc::new(bpm)])?;
    let source = MemorySource::new(Vitals::schema()).split("ward", [readings]);
    let tables = MemoryStore::default();

    let env = StreamEnvironment::new("jumps");
    let jump = HeartRateJump { max_step: 40.0 };
    let judged =
        env.source::<Vitals>("vitals", source).key_by(Vitals::PATIENT_ID).process("jump", jump);
    judged.sink("steady", tables.sink("steady"));
    judged.side_output(&JUMPS).sink("jumps", tables.sink("jumps"));

    let key = Arc::new(MasterKey::generate()?);
    JobBuilder::new(env.build()?, Arc::new(MemoryStorage::default()), key).start()?.join()?;
    println!("steady {}, jumps {}", tables.rows("steady"), tables.rows("jumps"));
    Ok(())
}
