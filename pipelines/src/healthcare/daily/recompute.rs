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
    use super::*;
    use crate::healthcare::record::Silver;

    #[test]
    fn what_gold_is_made_of_are_columns_of_silver() {
        let silver = Silver::schema();
        for field in Counted::schema().fields() {
            assert_eq!(silver.field_with_name(field.name()).unwrap(), field.as_ref());
        }
    }
}
