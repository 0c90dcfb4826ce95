//! Gold computed anew from rows of silver: the same stretch of the graph, over batches in memory, in this process.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::{Field, SchemaRef};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_core::{Error, Record};
use thalweg_runtime::{JobBuilder, MemoryStorage, Settings};

use crate::healthcare::config::TimeSection;
use crate::healthcare::gold::{
    Kpis, Medications, PatientVitals, VitalsByBpCategory, VitalsByMinute,
};
use crate::healthcare::graph::{
    self, KPIS, MEDICATIONS, PATIENT_VITALS, VITALS_BY_BP_CATEGORY, VITALS_BY_MINUTE,
};

/// A gold table.
pub(super) struct GoldTable {
    pub(super) path: &'static str,
    pub(super) schema: fn() -> SchemaRef,
    /// What tells its rows apart.
    pub(super) keys: &'static [&'static str],
}

/// All of them.
pub(super) const GOLD: &[GoldTable] = &[
    GoldTable {
        path: VITALS_BY_MINUTE,
        schema: VitalsByMinute::schema,
        keys: &[VitalsByMinute::WINDOW_START.name(), VitalsByMinute::EVENT_TYPE.name()],
    },
    GoldTable {
        path: VITALS_BY_BP_CATEGORY,
        schema: VitalsByBpCategory::schema,
        keys: &[VitalsByBpCategory::WINDOW_START.name(), VitalsByBpCategory::BP_CATEGORY.name()],
    },
    GoldTable {
        path: PATIENT_VITALS,
        schema: PatientVitals::schema,
        keys: &[PatientVitals::WINDOW_START.name(), PatientVitals::PATIENT_ID.name()],
    },
    GoldTable {
        path: MEDICATIONS,
        schema: Medications::schema,
        keys: &[Medications::WINDOW_START.name(), Medications::MEDICATION.name()],
    },
    GoldTable { path: KPIS, schema: Kpis::schema, keys: &[Kpis::WINDOW_START.name()] },
];

/// No window closes before the rows end: nothing is late here, for what was late has been taken out.
const FOREVER: Duration = Duration::from_hours(24 * 366 * 100);

/// The columns of silver that gold is made of.
#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Counted {
    patient_id: i64,
    event_type: String,
    heart_rate: Option<f64>,
    systolic: Option<i32>,
    diastolic: Option<i32>,
    bp_category: Option<String>,
    temperature: Option<f64>,
    spo2: Option<f64>,
    respiratory_rate: Option<f64>,
    medication: Option<String>,
    event_time: Micros,
}

/// Their names.
pub(super) fn columns() -> Vec<&'static str> {
    Counted::COLUMNS.to_vec()
}

/// `batch` with the columns that [`gold`] takes.
pub(super) fn conform(batch: &RecordBatch) -> Result<RecordBatch> {
    let failed = || Error::corrupt("rows of silver do not have the columns that gold is made of");
    let schema = Counted::schema();
    let named = |field: &Arc<Field>| batch.column_by_name(field.name()).cloned();
    let columns: Option<Vec<_>> = schema.fields().iter().map(named).collect();
    RecordBatch::try_new(schema, columns.ok_or_else(failed)?).map_err(|_| failed())
}

/// The gold rows of these rows of silver, by table. One subtask: the same rows give the same sums.
pub(super) fn gold(rows: Vec<RecordBatch>, time: &TimeSection) -> Result<MemoryStore> {
    let tables = MemoryStore::default();
    let env = StreamEnvironment::new("refresh");
    let source = MemorySource::new(Counted::schema()).split("silver", rows);
    let in_time = env
        .source::<Counted>("silver", source)
        .watermarks(WatermarkStrategy::bounded_out_of_orderness(Counted::EVENT_TIME, FOREVER));
    graph::gold(in_time, time, |path| tables.sink(path));
    let settings = Settings {
        parallelism: 1,
        checkpoint_interval: Duration::from_hours(24),
        restart_attempts: 0,
        ..Settings::default()
    };
    let key = Arc::new(MasterKey::generate()?);
    let job = JobBuilder::new(env.build()?, Arc::new(MemoryStorage::default()), key);
    let summary = job.settings(settings).start()?.join()?;
    if !summary.finished {
        return Err(Error::internal("gold was not computed to its end"));
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type};
    use arrow_array::{
        Array, ArrayRef, Float64Array, Int32Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };

    use super::*;
    use crate::healthcare::record::Silver;

    #[test]
    fn what_gold_is_made_of_are_columns_of_silver() {
        let silver = Silver::schema();
        for field in Counted::schema().fields() {
            assert_eq!(silver.field_with_name(field.name()).unwrap(), field.as_ref());
        }
    }

    #[test]
    fn a_mean_is_over_the_readings_that_there_are_and_gold_tells_how_many() {
        let numbers = |values: [Option<f64>; 3]| -> ArrayRef {
            Arc::new(Float64Array::from(values.to_vec()))
        };
        let pressure =
            |values: [Option<i32>; 3]| -> ArrayRef { Arc::new(Int32Array::from(values.to_vec())) };
        let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; 3])) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![7; 3])),
            text("vitals"),
            numbers([Some(80.0), None, Some(100.0)]),
            pressure([None, Some(120), None]),
            pressure([None, Some(70), None]),
            text("normal"),
            numbers([Some(98.0), Some(99.0), Some(100.0)]),
            numbers([None, None, None]),
            numbers([None, None, Some(16.0)]),
            text("Heparin"),
            Arc::new(TimestampMicrosecondArray::from(vec![0, 1, 2]).with_timezone("UTC")),
        ];
        let rows = RecordBatch::try_new(Counted::schema(), columns).unwrap();
        let tables = gold(vec![rows], &TimeSection::default()).unwrap();
        for table in GOLD {
            let batches = tables.batches(table.path);
            assert_eq!(tables.rows(table.path), 1, "{}", table.path);
            let row = batches.iter().find(|batch| batch.num_rows() > 0).unwrap();
            let count =
                |name: &str| row.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(0);
            let mean = |name: &str| {
                let column = row.column_by_name(name).unwrap().as_primitive::<Float64Type>();
                column.is_valid(0).then(|| column.value(0))
            };
            assert_eq!(count("events"), 3, "{}", table.path);
            for (vital, readings, average) in [
                ("heart_rate", 2, Some(90.0)),
                ("systolic", 1, Some(120.0)),
                ("diastolic", 1, Some(70.0)),
                ("temperature", 3, Some(99.0)),
                ("spo2", 0, None),
                ("respiratory_rate", 1, Some(16.0)),
            ] {
                let told = (count(&format!("{vital}_readings")), mean(&format!("{vital}_mean")));
                assert_eq!(told, (readings, average), "{}: {vital}", table.path);
            }
        }
    }
}
