//! Gold computed anew from rows of silver: the same stretch of the graph, over batches in memory, in this process.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
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
use crate::healthcare::record::Silver;

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
pub(super) fn columns() -> Vec<&'static str> {
    vec![
        Silver::PATIENT_ID.name(),
        Silver::EVENT_TYPE.name(),
        Silver::HEART_RATE.name(),
        Silver::SYSTOLIC.name(),
        Silver::DIASTOLIC.name(),
        Silver::BP_CATEGORY.name(),
        Silver::TEMPERATURE.name(),
        Silver::SPO2.name(),
        Silver::RESPIRATORY_RATE.name(),
        Silver::MEDICATION.name(),
        Silver::EVENT_TIME.name(),
    ]
}

/// `batch` with the columns that [`gold`] takes.
pub(super) fn conform(batch: &RecordBatch) -> Result<RecordBatch> {
    let failed = || Error::corrupt("rows of silver do not have the columns that gold is made of");
    let schema = schema()?;
    let named = |field: &Arc<Field>| batch.column_by_name(field.name()).cloned();
    let columns: Option<Vec<_>> = schema.fields().iter().map(named).collect();
    RecordBatch::try_new(schema, columns.ok_or_else(failed)?).map_err(|_| failed())
}

fn schema() -> Result<SchemaRef> {
    let silver = Silver::schema();
    let field = |name: &str| {
        let field = silver.field_with_name(name);
        // Masked already: without the mark of what it once was.
        let unmarked = |f: &Field| Field::new(f.name(), f.data_type().clone(), f.is_nullable());
        field.map(unmarked).map_err(|_| Error::internal("silver lacks a column of its own"))
    };
    let fields: Vec<Field> = columns().into_iter().map(field).collect::<Result<_>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// The gold rows of these rows of silver, by table. One subtask: the same rows give the same sums.
pub(super) fn gold(rows: Vec<RecordBatch>, time: &TimeSection) -> Result<MemoryStore> {
    let tables = MemoryStore::default();
    let env = StreamEnvironment::new("refresh");
    let source = MemorySource::new(schema()?).split("silver", rows);
    let in_time = env
        .source::<Silver>("silver", source)
        .watermarks(WatermarkStrategy::bounded_out_of_orderness(Silver::EVENT_TIME, FOREVER));
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
