//! What a job has decided and published, read beside it: its manifests, and the cuts in `meta/checkpoints`.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use thalweg_connectors::delta::{DeltaReader, KIND};
use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::sink::PendingCommit;
use thalweg_core::record::{Column, Int64, Timestamp, Utf8, column_of};
use thalweg_core::time::EventTime;
use thalweg_core::{CheckpointId, Error, Result};
use thalweg_runtime::CheckpointStorage;

/// Published cuts: no sink of the graph, but a table like any other.
pub(super) const CUTS: &str = "meta/checkpoints";

const CHECKPOINT: Column<Int64> = Column::required("checkpoint");
const CHAIN: Column<Utf8> = Column::required("chain");
pub(super) const COMMITTED_AT: Column<Timestamp> = Column::required("committed_at");
const TABLES: &str = "tables";
const VERSIONS: &str = "versions";

/// A published cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublishedCut {
    pub(super) checkpoint: CheckpointId,
    pub(super) chain: String,
    /// When its manifest was made, µs.
    pub(super) committed_at: EventTime,
    /// The version of each table.
    pub(super) versions: BTreeMap<String, u64>,
}

/// The newest cut; `None` when none was published yet.
pub(super) fn newest_cut(reader: &DeltaReader) -> Result<Option<PublishedCut>> {
    let Some(table) = reader.open(CUTS)? else { return Ok(None) };
    let columns = [CHECKPOINT.name(), CHAIN.name(), COMMITTED_AT.name(), TABLES, VERSIONS];
    let mut newest: Option<PublishedCut> = None;
    table.scan(&columns, None, |batch| {
        let (numbers, chains) = (column_of(&batch, CHECKPOINT)?, column_of(&batch, CHAIN)?);
        let times = column_of(&batch, COMMITTED_AT)?;
        let list = |name: &str| batch.column_by_name(name).and_then(|c| c.as_list_opt::<i32>());
        let damaged =
            || Error::corrupt(format!("table {CUTS} has no lists of tables and versions"));
        let (tables, versions) =
            (list(TABLES).ok_or_else(damaged)?, list(VERSIONS).ok_or_else(damaged)?);
        for row in 0..batch.num_rows() {
            let (at, number) = (times.value(row), numbers.value(row));
            let checkpoint = CheckpointId(u64::try_from(number).unwrap_or_default());
            let known = newest.as_ref().map(|cut| (cut.committed_at, cut.checkpoint));
            if known.is_some_and(|known| known >= (at, checkpoint)) {
                continue;
            }
            let (paths, numbers) = (tables.value(row), versions.value(row));
            let paths = paths.as_string_opt::<i32>().ok_or_else(damaged)?;
            let numbers = numbers.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
            let pairs = paths.iter().flatten().zip(numbers.iter().flatten());
            newest = Some(PublishedCut {
                checkpoint,
                chain: chains.value(row).to_owned(),
                committed_at: at,
                versions: pairs
                    .map(|(path, n)| (path.to_owned(), u64::try_from(n).unwrap_or_default()))
                    .collect(),
            });
        }
        Ok(())
    })?;
    Ok(newest)
}

/// The manifests of a job that may be running.
#[derive(Clone, Copy)]
pub(super) struct Manifests<'a>(pub(super) &'a dyn CheckpointStorage);

impl Manifests<'_> {
    /// All that are retained, ascending.
    pub(super) fn read(self) -> Result<Vec<Manifest>> {
        let storage = self.0;
        let names = storage.list("")?;
        let mut numbers: Vec<CheckpointId> =
            names.iter().filter_map(|name| Manifest::number_of(name)).collect();
        numbers.sort_unstable();
        let mut found = Vec::new();
        for number in numbers {
            // One that the job has deleted since was finished long ago.
            if let Some(bytes) = storage.read(&Manifest::name(number))? {
                found.push(Manifest::decode(&bytes)?);
            }
        }
        if found.is_empty() {
            return Err(Error::config(format!(
                "there are no checkpoints in {}",
                self.0.describe()
            )));
        }
        Ok(found)
    }

    /// The tables that the newest manifest writes to.
    pub(super) fn tables(self) -> Result<BTreeSet<String>> {
        let all = self.read()?;
        let sinks = all.last().into_iter().flat_map(|m| m.sinks.iter());
        Ok(sinks.filter(|s| s.target.kind == KIND).map(|s| s.target.path.clone()).collect())
    }

    /// Every commit that a manifest holds, done or not: its files are spared whatever their age (P14).
    pub(super) fn pending(self) -> Result<Vec<PendingCommit>> {
        Ok(self.read()?.into_iter().flat_map(|m| m.pending).filter(|p| p.kind == KIND).collect())
    }
}
