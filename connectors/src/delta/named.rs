//! The versions of a table that must stay readable: those that some job's newest published cut names. Down to the least of
//! them its log must reach.
//!
//! `meta/checkpoints` has a row for each checkpoint, and is small files where nobody merges them. The log tells of a file
//! with the cuts of one chain how far they go, so that of all those files the newest of each chain is read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deltalake::DeltaTable;
use object_store::path::Path;
use thalweg_core::Result;
use thalweg_core::connector::sink::Cut;
use thalweg_core::time::micros;

use super::plan::Told;
use super::scan::{Wanted, broken};
use super::storage::Storage;
use super::{cuts, failure};
use crate::clock::now_micros;

/// The versions of `table` that readers of published cuts may ask for. `retention`: how long what no cut names is kept.
pub(super) async fn versions(
    storage: &Storage,
    table: &str,
    retention: Duration,
) -> Result<BTreeSet<u64>> {
    if table == cuts::TABLE {
        return Ok(BTreeSet::new());
    }
    let since = now_micros().saturating_sub(micros(retention));
    Ok(named(&published(storage).await?, table, since))
}

/// Of each job the chain that was written to last counts, whatever its age, and every other one that was written to since
/// then: by a clock that was set back it may be the last one all the same. Older chains were given up, and would keep all
/// that has come since for ever.
fn named(cuts: &[Cut], table: &str, since: i64) -> BTreeSet<u64> {
    let mut jobs: BTreeMap<&str, Vec<&Cut>> = BTreeMap::new();
    for cut in cuts {
        jobs.entry(cut.job.as_str()).or_default().push(cut);
    }
    let of_job = |cuts: Vec<&Cut>| {
        let newest = cuts::newest_cuts(cuts);
        let last = newest.len().saturating_sub(1);
        let newest = newest.into_iter().enumerate();
        let counted = newest.filter(|(at, cut)| *at == last || cut.created_at >= since);
        counted.filter_map(|(_, cut)| cut.versions.get(table).copied()).collect::<Vec<_>>()
    };
    jobs.into_values().flat_map(of_job).collect()
}

/// The newest cut of each chain of every job, and perhaps others of theirs.
async fn published(storage: &Storage) -> Result<Vec<Cut>> {
    let Some(loaded) = storage.load(cuts::TABLE, None).await? else { return Ok(Vec::new()) };
    let data = storage.data(cuts::TABLE)?;
    let wanted = Wanted { table: cuts::TABLE, columns: Some(&cuts::COLUMNS), within: None };
    let mut found = Vec::new();
    for path in newest(files(&loaded)?) {
        for batch in wanted.open(&data, &path).await? {
            found.extend(cuts::of_rows(&batch.map_err(|_| broken(cuts::TABLE))?)?);
        }
    }
    Ok(found)
}

fn files(loaded: &DeltaTable) -> Result<Vec<File>> {
    let state = loaded.snapshot().map_err(|e| failure::log("read the log", cuts::TABLE, &e))?;
    let files = state.log_data();
    let file = |path, stats: Option<String>| File::new(path, stats.as_deref());
    Ok(files.iter().map(|f| file(f.object_store_path(), f.stats())).collect())
}

/// A file of the table of cuts, as its log tells of it.
struct File {
    path: Path,
    /// Job, chain, and number of the newest, where all of its cuts are of one chain.
    chain: Option<(String, String, u64)>,
}

impl File {
    fn new(path: Path, stats: Option<&str>) -> Self {
        let Told { min_values: least, max_values: greatest, .. } = Told::parse(stats);
        let only = |column: &str| {
            let text = least.get(column)?.as_str()?;
            (greatest.get(column)?.as_str()? == text).then(|| text.to_owned())
        };
        let chain = || Some((only("job")?, only("chain")?, greatest.get("checkpoint")?.as_u64()?));
        Self { path, chain: chain() }
    }
}

/// The files that must be read: those of several chains, and the newest of those of each one.
fn newest(files: Vec<File>) -> Vec<Path> {
    let mut chains: BTreeMap<(String, String), (u64, Path)> = BTreeMap::new();
    let mut read = Vec::new();
    for File { path, chain } in files {
        let Some((job, chain, number)) = chain else {
            read.push(path);
            continue;
        };
        let newest = chains.entry((job, chain)).or_insert_with(|| (number, path.clone()));
        if newest.0 < number {
            *newest = (number, path);
        }
    }
    read.extend(chains.into_values().map(|(_, path)| path));
    read
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use thalweg_core::CheckpointId;

    use super::*;

    fn cut(job: &str, chain: &str, checkpoint: u64, created_at: i64, version: u64) -> Cut {
        Cut {
            job: job.to_owned(),
            chain: chain.to_owned(),
            checkpoint: CheckpointId(checkpoint),
            created_at,
            versions: BTreeMap::from([("t".to_owned(), version)]),
        }
    }

    #[test]
    fn what_the_last_chain_of_a_job_names_is_kept_whatever_its_age() {
        let mut cuts = vec![cut("a", "1", 1, 10, 3), cut("a", "1", 2, 20, 5)];
        assert_eq!(named(&cuts, "t", 1_000), BTreeSet::from([5]));
        assert!(named(&cuts, "other", 1_000).is_empty());
        assert!(named(&[], "t", 1_000).is_empty());
        // A chain behind it takes its place once it is old.
        cuts.push(cut("a", "2", 3, 30, 9));
        assert_eq!(named(&cuts, "t", 20), BTreeSet::from([5, 9]));
        assert_eq!(named(&cuts, "t", 21), BTreeSet::from([9]));
        // Each job has its own.
        cuts.push(cut("b", "1", 8, 5, 7));
        assert_eq!(named(&cuts, "t", 1_000), BTreeSet::from([7, 9]));
    }

    #[test]
    fn of_the_files_of_one_chain_the_newest_is_read_and_others_are_read_all() {
        let file = |name: &str, chains: [&str; 2], number: u64| {
            let stats = json!({
                "minValues": { "job": "j", "chain": chains[0], "checkpoint": 1 },
                "maxValues": { "job": "j", "chain": chains[1], "checkpoint": number },
            });
            File::new(Path::from(name), Some(&stats.to_string()))
        };
        let untold = File::new(Path::from("untold"), None);
        let files = vec![
            file("old", ["a", "a"], 4),
            file("new", ["a", "a"], 9),
            file("older", ["a", "a"], 2),
            file("of-two", ["a", "b"], 7),
            file("of-b", ["b", "b"], 1),
            untold,
        ];
        let read: Vec<String> = newest(files).iter().map(ToString::to_string).collect();
        assert_eq!(read, ["of-two", "untold", "new", "of-b"]);
    }
}
