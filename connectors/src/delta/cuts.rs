//! Published cuts: one row per checkpoint, saying which version of each table holds exactly the checkpoints up to it
//! (P18). Readers take the newest row of the job in `meta/checkpoints` ([`newest_cuts`]) and open each table at its
//! version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::json;
use thalweg_core::connector::sink::{
    Committed, Cut, PendingCommit, Staged, Target, TargetExpectation,
};
use thalweg_core::record::{Column, Timestamp, Utf8};
use thalweg_core::{CheckpointId, Error, Result};

use super::commit::{RELOADS, restless};
use super::committer::DeltaCommitter;
use super::encode::Recipe;
use super::scan::broken;
use super::{KIND, schema};
use crate::epoch_writer::Stager;

/// Where cuts are published.
pub const TABLE: &str = "meta/checkpoints";
/// The job whose cut it is: all jobs below one root share the table.
pub const JOB: Column<Utf8> = Column::required("job");
/// When the checkpoint of a published cut was decided.
pub const COMMITTED_AT: Column<Timestamp> = Column::required("committed_at");

impl DeltaCommitter {
    /// Publishes a cut and returns the version of `meta/checkpoints` that holds it. Call it after every table of the
    /// checkpoint is committed. A cut that is in already is not written again.
    ///
    /// **Shape** `checkpoint` Int64, `job` and `chain` Utf8, `committed_at` timestamp, and two lists of equal length:
    /// `tables` (paths, ascending) and `versions`. **Units** `committed_at`: microseconds since the epoch, UTC.
    ///
    /// # Errors
    /// As [`thalweg_core::connector::sink::Committer::commit`].
    pub async fn publish(&self, cut: &Cut) -> Result<u64> {
        self.put_cut(cut).await.map(|committed| committed.version)
    }

    /// The same, and whether the cut, or a later one, was in already: then that may name other versions.
    pub(super) async fn put_cut(&self, cut: &Cut) -> Result<Committed> {
        let app_id = format!("{}/{}/meta", cut.job, cut.chain);
        let target_id = self.cuts_table(&app_id).await?;
        let mut pending = PendingCommit {
            sink: "meta".to_owned(),
            kind: KIND.to_owned(),
            path: TABLE.to_owned(),
            target_id,
            app_id,
            checkpoint: cut.checkpoint,
            rank: u8::MAX,
            rows: 0,
            staged: Vec::new(),
            void: false,
        };
        if let Some(version) = self.published(&pending).await? {
            return Ok(Committed { version, replayed: true });
        }
        let row = row(cut)?;
        let staged = self.stage_row(cut.checkpoint, &row).await?;
        pending.rows = staged.rows;
        pending.staged = staged.items;
        self.commit_pending(&pending).await
    }

    /// The table's id. All jobs below one root share the table, so it is created or joined without asking.
    async fn cuts_table(&self, app_id: &str) -> Result<String> {
        if let Some(table) = self.slot(TABLE).table.lock().await.as_mut()
            && matches!(table.txn(app_id).await?, Some(Some(_)))
        {
            return Ok(table.facts.id.clone());
        }
        let delta = schema::delta_schema(TABLE, &columns())?;
        let delta = serde_json::to_string(&delta)
            .map_err(|_| Error::internal(format!("cannot write down the columns of `{TABLE}`")))?;
        let definition = json!({
            "schema": delta,
            "partition_columns": [],
            "configuration": {
                "delta.checkpointInterval": self.checkpoint_interval().to_string(),
                "delta.logRetentionDuration": "interval 1 days",
            },
        });
        let target = Target { kind: KIND.to_owned(), path: TABLE.to_owned(), definition };
        self.join(&target, app_id).await
    }

    async fn join(&self, target: &Target, app_id: &str) -> Result<String> {
        // What the table remembers of us is not in any manifest, so it is taken as it is found.
        let expected = TargetExpectation::default();
        let known = self.txn_of(&target.path, app_id).await?;
        let expected = TargetExpectation { txn: known.map(CheckpointId), ..expected };
        Ok(self.open_target(target, app_id, &expected, true).await?.id)
    }

    async fn txn_of(&self, path: &str, app_id: &str) -> Result<Option<u64>> {
        for _ in 0..RELOADS {
            let Some(mut table) = super::table::Table::load(self.storage(), path).await? else {
                return Ok(None);
            };
            if let Some(txn) = table.txn(app_id).await? {
                return Ok(txn.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0));
            }
        }
        Err(restless(path))
    }

    /// The version, when the cut (or a later one) is in already.
    async fn published(&self, pending: &PendingCommit) -> Result<Option<u64>> {
        let slot = self.slot(TABLE);
        let mut held = slot.table.lock().await;
        let Some(table) = held.as_mut() else { return Ok(None) };
        let txn = table.txn(&pending.app_id).await?.flatten();
        Ok(txn.is_some_and(|n| n >= pending.checkpoint.0 as i64).then_some(table.version))
    }

    async fn stage_row(&self, checkpoint: CheckpointId, row: &RecordBatch) -> Result<Staged> {
        let recipe = Recipe::new(self.storage(), TABLE, &row.schema(), &[], &BTreeSet::new())?;
        let mut files = recipe.begin(checkpoint);
        files.write(&recipe.conform(row.clone())?).await?;
        files.close().await
    }
}

/// Of cuts of one job the newest of each chain, and the chain that was written to last at the end.
///
/// Numbers ascend within a chain, across restarts, too, whatever a clock did meanwhile. From one chain to another they
/// need not: where the folder of checkpoints was lost they began anew. So of two chains the clock tells which is newer.
pub fn newest_cuts<'a>(cuts: impl IntoIterator<Item = &'a Cut>) -> Vec<&'a Cut> {
    let mut chains: BTreeMap<&str, &Cut> = BTreeMap::new();
    for cut in cuts {
        let newest = chains.entry(cut.chain.as_str()).or_insert(cut);
        if newest.checkpoint < cut.checkpoint {
            *newest = cut;
        }
    }
    let mut newest: Vec<&Cut> = chains.into_values().collect();
    newest.sort_by_key(|cut| (cut.created_at, cut.checkpoint));
    newest
}

/// The columns of the table, in its order.
pub(super) const COLUMNS: [&str; 6] =
    ["checkpoint", JOB.name(), "chain", COMMITTED_AT.name(), "tables", "versions"];

fn columns() -> SchemaRef {
    let list = |inner| DataType::List(Arc::new(Field::new("element", inner, true)));
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let types = [
        DataType::Int64,
        DataType::Utf8,
        DataType::Utf8,
        instant,
        list(DataType::Utf8),
        list(DataType::Int64),
    ];
    let fields = COLUMNS.into_iter().zip(types).map(|(name, of)| Field::new(name, of, false));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn row(cut: &Cut) -> Result<RecordBatch> {
    let element = |data_type| Arc::new(Field::new("element", data_type, true));
    let mut tables = ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8));
    let mut numbers = ListBuilder::new(Int64Builder::new()).with_field(element(DataType::Int64));
    for (table, version) in &cut.versions {
        tables.values().append_value(table);
        numbers.values().append_value(*version as i64);
    }
    tables.append(true);
    numbers.append(true);
    let instant = TimestampMicrosecondArray::from(vec![cut.created_at]).with_timezone("UTC");
    let values: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![cut.checkpoint.0 as i64])),
        Arc::new(StringArray::from(vec![cut.job.as_str()])),
        Arc::new(StringArray::from(vec![cut.chain.as_str()])),
        Arc::new(instant),
        Arc::new(tables.finish()),
        Arc::new(numbers.finish()),
    ];
    RecordBatch::try_new(columns(), values)
        .map_err(|_| Error::internal("cannot compose the row of a cut"))
}

/// The cuts that rows of the table say.
///
/// # Errors
/// They are no rows of it.
pub(super) fn of_rows(batch: &RecordBatch) -> Result<Vec<Cut>> {
    let cut = |row| of_row(batch, row).ok_or_else(|| broken(TABLE));
    (0..batch.num_rows()).map(cut).collect()
}

fn of_row(batch: &RecordBatch, row: usize) -> Option<Cut> {
    let text =
        |name| Some(batch.column_by_name(name)?.as_string_opt::<i32>()?.value(row).to_owned());
    let list = |name| Some(batch.column_by_name(name)?.as_list_opt::<i32>()?.value(row));
    let checkpoint =
        batch.column_by_name("checkpoint")?.as_primitive_opt::<Int64Type>()?.value(row);
    let at = batch.column_by_name(COMMITTED_AT.name())?;
    let (tables, versions) = (list("tables")?, list("versions")?);
    let tables = tables.as_string_opt::<i32>()?.iter();
    let versions = versions.as_primitive_opt::<Int64Type>()?.iter();
    let versions = tables
        .zip(versions)
        .map(|(table, version)| Some((table?.to_owned(), u64::try_from(version?).ok()?)));
    Some(Cut {
        job: text(JOB.name())?,
        chain: text("chain")?,
        checkpoint: CheckpointId(u64::try_from(checkpoint).ok()?),
        created_at: at.as_primitive_opt::<TimestampMicrosecondType>()?.value(row),
        versions: versions.collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chain: &str, checkpoint: u64, created_at: i64) -> Cut {
        Cut {
            job: "job".to_owned(),
            chain: chain.to_owned(),
            checkpoint: CheckpointId(checkpoint),
            created_at,
            versions: BTreeMap::new(),
        }
    }

    #[test]
    fn the_guide_lists_the_columns() {
        let page = include_str!("../../../docs/guide/data.md");
        let section = page.split("\n### `meta/checkpoints`\n").nth(1).unwrap();
        let section = section.split("\n### ").next().unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let listed: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        assert_eq!(listed, COLUMNS);
    }

    #[test]
    fn the_newest_cut_of_a_chain_is_that_of_its_last_checkpoint_whatever_a_clock_did() {
        let newest = |cuts: &[Cut]| {
            let newest = newest_cuts(cuts);
            newest.iter().map(|cut| cut.checkpoint.0).collect::<Vec<_>>()
        };
        assert!(newest(&[]).is_empty());
        // The clock was set back while the first chain was running.
        let mut cuts = vec![cut("first", 8, 9_000), cut("first", 9, 5_000), cut("first", 7, 8_000)];
        assert_eq!(newest(&cuts), [9]);
        // A chain goes on with the numbers of the one before, or begins anew where that is lost.
        cuts.push(cut("second", 11, 5_100));
        assert_eq!(newest(&cuts), [9, 11]);
        cuts.push(cut("third", 1, 5_200));
        assert_eq!(newest(&cuts), [9, 11, 1]);
    }
}
