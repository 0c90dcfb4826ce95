//! The files of a version that is loaded, and those it remembers as removed. It reads the whole log: for maintenance.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use deltalake::DeltaTable;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use thalweg_core::{Error, ErrorKind, Result};

use super::failure;
use super::plan::{self, DataFile};
use super::storage::Storage;
use super::table::Table;

/// How often a log is read again when it is cleaned while it is read.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The newest version of a table and its files; `None` when there is no table.
pub(crate) async fn newest(
    storage: &Storage,
    name: &str,
) -> Result<Option<(Table, Vec<DataFile>)>> {
    steadily(|| once(storage, name).boxed()).await
}

async fn once(storage: &Storage, name: &str) -> Result<Option<(Table, Vec<DataFile>)>> {
    let Some(table) = Table::load(storage, name).await? else { return Ok(None) };
    let files = files(&table, &load(&table).await?)?;
    Ok(Some((table, files)))
}

/// The files of a table's newest version, and those that were removed and when, ms. The log forgets the latter after
/// `delta.deletedFileRetentionDuration`.
pub(crate) async fn newest_and_removed(
    storage: &Storage,
    name: &str,
) -> Result<Option<(Vec<DataFile>, HashMap<String, i64>)>> {
    let read = || {
        async move {
            let Some(table) = Table::load(storage, name).await? else { return Ok(None) };
            let loaded = load(&table).await?;
            Ok(Some((files(&table, &loaded)?, tombstones(&table, &loaded).await?)))
        }
        .boxed()
    };
    steadily(read).await
}

/// The names of the files of one version; none, where nobody can read it any more.
pub(crate) async fn names_at(
    storage: &Storage,
    name: &str,
    version: u64,
) -> Result<HashSet<String>> {
    let loaded = match steadily(|| storage.load(name, Some(version)).boxed()).await {
        Err(error) if error.kind() == ErrorKind::InvalidConfig => None,
        loaded => loaded?,
    };
    let Some(loaded) = loaded else { return Ok(HashSet::new()) };
    let state = loaded.snapshot().map_err(|e| failure::log("read the log", name, &e))?;
    Ok(state.log_data().iter().map(|view| view.path().into_owned()).collect())
}

/// Reads a log that others may clean at the same time: an entry that was listed can be gone when it is read.
pub(crate) async fn steadily<'a, T>(read: impl Fn() -> BoxFuture<'a, Result<T>>) -> Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        match read().await {
            Err(error) if error.kind() == ErrorKind::Transient && tries < TRIES => {
                tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(tries - 1)).await;
            }
            done => return done,
        }
    }
}

fn files(table: &Table, loaded: &DeltaTable) -> Result<Vec<DataFile>> {
    let state = loaded.snapshot().map_err(|e| failure::log("read the log", &table.name, &e))?;
    let mut files = Vec::new();
    for view in state.log_data().iter() {
        let stats = view.stats();
        let partition: BTreeMap<_, _> = view.partition_values_map().into_iter().collect();
        // Without its partition a file could be merged with any other.
        if !table.facts.partition_columns.iter().all(|c| partition.contains_key(c)) {
            return Err(Error::corrupt(format!(
                "a file of table `{}` does not say which partition it belongs to",
                table.name
            )));
        }
        files.push(DataFile {
            path: view.path().into_owned(),
            size: u64::try_from(view.size()).map_err(|_| {
                Error::corrupt(format!("a file of table `{}` has a negative size", table.name))
            })?,
            modified: view.modification_time(),
            partition,
            rows: view.num_records().map(|n| n as u64),
            told: plan::columns_told(stats.as_deref()),
            stats,
            remove: view.remove_action(false),
        });
    }
    Ok(files)
}

async fn tombstones(table: &Table, loaded: &DeltaTable) -> Result<HashMap<String, i64>> {
    let state = loaded.snapshot().map_err(|e| failure::log("read the log", &table.name, &e))?;
    let mut gone = HashMap::new();
    let mut found = state.all_tombstones(loaded.log_store().as_ref());
    let failed = |e| failure::log("read the removed files", &table.name, &e);
    while let Some(tombstone) = found.try_next().await.map_err(failed)? {
        let (path, when) =
            (tombstone.path().into_owned(), tombstone.deletion_timestamp().unwrap_or(0));
        let newest = gone.entry(path).or_insert(when);
        *newest = when.max(*newest);
    }
    Ok(gone)
}

/// `table` as delta-rs sees it, at the version that we have loaded.
async fn load(table: &Table) -> Result<DeltaTable> {
    let mut loaded = DeltaTable::new(table.log().clone());
    let done = loaded.load_version(table.version).await;
    done.map_err(|e| failure::log("read the log", &table.name, &e))?;
    Ok(loaded)
}
