//! How unusual each reading is for its key.

use std::sync::Arc;

use arrow_array::builder::Float64Builder;
use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, SchemaRef};
use thalweg_core::operator::{
    Collector, Context, OpenContext, Operator, OperatorFactory, StateBlob, StateChunk,
};
use thalweg_core::record::ColumnName;
use thalweg_core::state::KeyTable;
use thalweg_core::{Error, Result};

use super::input::{Columns, Watched};
use super::{Ewma, EwmaSettings};
use crate::batch;

const STATE_VERSION: u16 = 1;

/// Scores one numeric column against its own past, per key: [`Ewma`].
///
/// **Shape**: every row, in order, with two columns more: `{column}_z`, null while warming up and where there is no
/// reading, and `{column}_anomaly`, whether the limit is reached.
///
/// **Time**: none; readings are learnt in the order in which they come.
///
/// **State**: 20 bytes per key, for ever.
///
/// ```
/// use thalweg_core::operator::OperatorFactory;
/// use thalweg_core::record::ColumnName;
/// use thalweg_operators::detect::{EwmaSettings, EwmaZScore};
/// let settings = EwmaSettings { alpha: 0.05, warm_up: 30, min_deviation: 2.0, limit: 5.0 };
/// let unusual = EwmaZScore::new(["patient_id"], ColumnName("at"), ColumnName("heart_rate"), settings);
/// assert_eq!(unusual.describe(), "ewma z-score of heart_rate, limit 5, by patient_id");
/// ```
#[derive(Debug, Clone)]
pub struct EwmaZScore {
    watched: Watched,
    settings: EwmaSettings,
}

impl EwmaZScore {
    /// Scores of `column` for each value of `keys`, which must be those that the stream is grouped by. Rows without
    /// `event_time` are no readings.
    pub fn new(
        keys: impl IntoIterator<Item = &'static str>,
        event_time: impl Into<ColumnName>,
        column: impl Into<ColumnName>,
        settings: EwmaSettings,
    ) -> Self {
        Self { watched: Watched::new(keys, event_time, column), settings }
    }
}

impl OperatorFactory for EwmaZScore {
    fn describe(&self) -> String {
        let Watched { keys, column, .. } = &self.watched;
        let limit = self.settings.limit;
        format!("ewma z-score of {}, limit {limit}, by {}", column.0, keys.join(", "))
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        self.watched.find(input)?;
        let column = self.watched.column.0;
        if let Some(problem) = self.settings.problem() {
            return Err(Error::graph(format!("z-score of `{column}`: {problem}")));
        }
        let added = [("z", DataType::Float64, true), ("anomaly", DataType::Boolean, false)];
        let added = added.map(|(name, data_type, nullable)| {
            Field::new(format!("{column}_{name}"), data_type, nullable)
        });
        self.watched.with_added(input, added)
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        let input = &context.input_schema;
        Ok(Box::new(Scoring {
            columns: self.watched.find(input)?,
            schema: self.output_schema(input)?,
            settings: self.settings,
            baselines: KeyTable::new(STATE_VERSION, context.max_parallelism),
        }))
    }
}

struct Scoring {
    columns: Columns,
    schema: SchemaRef,
    settings: EwmaSettings,
    baselines: KeyTable<Box<[u8]>, Ewma>,
}

impl Operator for Scoring {
    fn process(
        &mut self,
        batch: RecordBatch,
        context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let mut readings = self.columns.read(&batch, context.open)?;
        let mut scores = Float64Builder::with_capacity(batch.num_rows());
        for (row, (hash, key)) in std::mem::take(&mut readings.keys).into_iter().enumerate() {
            scores.append_option(readings.of(row).and_then(|(_, value)| {
                self.baselines.entry(hash, key).value().score(&self.settings, value)
            }));
        }
        let scores = scores.finish();
        let is_anomaly = |z: Option<f64>| Some(z.is_some_and(|z| z.abs() >= self.settings.limit));
        let anomalies: BooleanArray = scores.iter().map(is_anomaly).collect();
        let added: [ArrayRef; 2] = [Arc::new(scores), Arc::new(anomalies)];
        let columns = batch.columns().iter().cloned().chain(added).collect();
        out.emit(batch::assemble(&self.schema, columns, batch.num_rows())?);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<StateChunk>> {
        Ok(self.baselines.snapshot())
    }

    fn restore(&mut self, blobs: Vec<StateBlob>) -> Result<()> {
        self.baselines.restore(blobs)
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type};
    use arrow_array::{Int32Array, Int64Array, TimestampMicrosecondArray};
    use thalweg_core::testing::OperatorHarness;

    use super::*;

    const SETTINGS: EwmaSettings =
        EwmaSettings { alpha: 0.1, warm_up: 5, min_deviation: 1.0, limit: 4.0 };

    fn scores() -> EwmaZScore {
        EwmaZScore::new(["patient"], ColumnName("at"), ColumnName("bpm"), SETTINGS)
    }

    fn batch(rows: &[(i64, Option<i32>)]) -> RecordBatch {
        let times: TimestampMicrosecondArray = (0..rows.len() as i64).map(Some).collect();
        let columns: [(&str, ArrayRef); 3] = [
            ("patient", Arc::new(rows.iter().map(|r| Some(r.0)).collect::<Int64Array>())),
            ("at", Arc::new(times.with_timezone("UTC"))),
            ("bpm", Arc::new(rows.iter().map(|r| r.1).collect::<Int32Array>())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    fn taken(harness: &mut OperatorHarness) -> Vec<(i64, Option<i64>, bool)> {
        let mut found = Vec::new();
        for (_, batch) in harness.take() {
            let ids = batch.column(0).as_primitive::<Int64Type>();
            let z = batch.column_by_name("bpm_z").unwrap().as_primitive::<Float64Type>();
            let flags = batch.column_by_name("bpm_anomaly").unwrap().as_boolean();
            for (row, z) in z.iter().enumerate() {
                found.push((ids.value(row), z.map(|z| z.round() as i64), flags.value(row)));
            }
        }
        found
    }

    #[test]
    fn each_key_has_a_baseline_of_its_own_that_survives_a_restore() {
        let input = batch(&[]).schema();
        let mut harness = OperatorHarness::new(Arc::new(scores()), input, ["patient"], 1).unwrap();
        let calm: Vec<_> = (0..6).flat_map(|_| [(1, Some(70)), (2, Some(120))]).collect();
        harness.push(&batch(&calm)).unwrap();
        let found = taken(&mut harness);
        assert_eq!(found.len(), 12);
        assert!(found[..10].iter().all(|(_, z, flag)| z.is_none() && !flag));
        assert_eq!(found[10..], [(1, Some(0), false), (2, Some(0), false)]);

        harness.snapshot_and_restore(2).unwrap();
        harness.push(&batch(&[(1, Some(120)), (2, Some(121)), (1, None)])).unwrap();
        let mut found = taken(&mut harness);
        found.sort_unstable();
        assert_eq!(found, [(1, None, false), (1, Some(50), true), (2, Some(1), false)]);
    }

    #[test]
    fn impossible_settings_do_not_build() {
        let input = batch(&[]).schema();
        let wrong = EwmaZScore { settings: EwmaSettings { alpha: 2.0, ..SETTINGS }, ..scores() };
        let error = wrong.output_schema(&input).unwrap_err().to_string();
        assert!(error.contains("`bpm`") && error.contains("alpha"), "{error}");
    }
}
