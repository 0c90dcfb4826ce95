//! Maintenance of a data folder's tables: which tables there are, what waits for them, and what was done.
//!
//! Both are read from the manifests, without the job's lock: it runs beside a job as well as on a stopped one.

use std::collections::BTreeSet;

use serde::Serialize;
use thalweg_connectors::delta::{CUTS, Compaction, DeltaMaintenance, Vacuum};
use thalweg_core::{Error, Result, error};
use thalweg_objects::{Access, Place};
use thalweg_runtime::CheckpointStorage;

use super::manifests::Manifests;

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MaintainOptions {
    /// How small files are merged.
    pub compaction: Compaction,
    /// Which files are removed; `None`: small files are merged and nothing else is done.
    pub vacuum: Option<Vacuum>,
}

/// What was done, over all tables. Its names are those of the command's last line.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Maintained {
    /// Tables that were looked at.
    pub tables: u64,
    /// Of them, those that use what is not understood: no file of theirs was merged or removed.
    pub skipped: u64,
    /// Of them, those with an error.
    pub failed: u64,
    /// Files of the newest versions before.
    pub files_before: u64,
    /// And after.
    pub files_after: u64,
    /// Their bytes before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
    /// Merges that someone else's commit prevented; the next run tries again.
    pub merges_abandoned: u64,
    /// Files that were removed.
    pub vacuumed_files: u64,
    /// Their bytes.
    pub vacuumed_bytes: u64,
    /// Checkpoints of logs that were written.
    pub log_checkpoints: u64,
    /// Expired entries of logs that were removed.
    pub log_entries_removed: u64,
    /// Whether all of this was only counted.
    pub dry_run: bool,
    /// How long it took.
    pub seconds: f64,
}

impl Maintained {
    /// Whether anything was done, or would be.
    pub fn is_something(&self) -> bool {
        self.files_before != self.files_after
            || self.merges_abandoned + self.vacuumed_files > 0
            || self.log_checkpoints + self.log_entries_removed > 0
    }
}

/// Every table below `place`, whose job keeps its checkpoints in `checkpoints`.
///
/// # Errors
/// There are no checkpoints, or a manifest cannot be read.
pub async fn tables(
    place: &Place,
    checkpoints: &dyn CheckpointStorage,
) -> Result<BTreeSet<String>> {
    let mut tables = Manifests(checkpoints).tables()?;
    if DeltaMaintenance::at(place, &Access::from_environment())?.is_table(CUTS).await? {
        tables.insert(CUTS.to_owned());
    }
    Ok(tables)
}

/// Maintains these tables below `place`. `tell` gets a line per table. One that fails is counted and told, and the others
/// go on.
///
/// # Errors
/// The place cannot be opened.
pub async fn maintain(
    place: &Place,
    checkpoints: &dyn CheckpointStorage,
    tables: &BTreeSet<String>,
    options: &MaintainOptions,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Maintained> {
    let manifests = Manifests(checkpoints);
    let service = DeltaMaintenance::at(place, &Access::from_environment())?;
    let mut done = Maintained { dry_run: options.compaction.dry_run, ..Maintained::default() };
    for table in tables {
        done.tables += 1;
        if let Err(problem) = one(&service, table, options, &manifests, &mut done, tell).await {
            done.failed += 1;
            tell(&format!("{table}: error: {}", error::chain(&problem)));
        }
    }
    Ok(done)
}

async fn one(
    service: &DeltaMaintenance,
    table: &str,
    options: &MaintainOptions,
    manifests: &Manifests<'_>,
    done: &mut Maintained,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    let merged = service.compact(table, &options.compaction).await?;
    done.files_before += merged.files_before;
    done.files_after += merged.files_after;
    done.bytes_before += merged.bytes_before;
    done.bytes_after += merged.bytes_after;
    done.merges_abandoned += merged.abandoned;
    if let Some(why) = &merged.skipped {
        done.skipped += 1;
        tell(why);
    }
    let Some(vacuum) = &options.vacuum else { return Ok(()) };
    if !options.compaction.dry_run {
        let log = service.checkpoint_log(table).await?;
        done.log_checkpoints += u64::from(log.checkpoint.is_some());
        done.log_entries_removed += log.removed;
    }
    let gone = service.vacuum(table, vacuum, &|| manifests.pending()).await?;
    if let (Some(why), None) = (&gone.skipped, &merged.skipped) {
        done.skipped += 1;
        tell(why);
    }
    done.vacuumed_files += gone.files;
    done.vacuumed_bytes += gone.bytes;
    let (would, verb) =
        if vacuum.dry_run { (" would become", "to remove") } else { (" ->", "removed") };
    tell(&format!(
        "{table}: {} files{would} {}, {} {verb} ({} bytes)",
        merged.files_before, merged.files_after, gone.files, gone.bytes
    ));
    Ok(())
}

/// Of `tables` those that are `wanted` by their paths or by those of folders above them; all when none is.
///
/// # Errors
/// [`thalweg_core::ErrorKind::InvalidConfig`]: what is wanted is none of them.
pub fn chosen(mut tables: BTreeSet<String>, wanted: &[String]) -> Result<BTreeSet<String>> {
    if wanted.is_empty() {
        return Ok(tables);
    }
    let is_in = |table: &str, wanted: &str| {
        let wanted = wanted.trim_end_matches('/');
        table == wanted || table.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/'))
    };
    if let Some(none) = wanted.iter().find(|w| !tables.iter().any(|table| is_in(table, w))) {
        let all: Vec<String> = tables.into_iter().collect();
        return Err(Error::config(format!(
            "there is no table {none}: there are {}",
            all.join(", ")
        )));
    }
    tables.retain(|table| wanted.iter().any(|w| is_in(table, w)));
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_chosen_by_path_or_by_the_folder_above() {
        let all = || ["gold/a", "gold/b", "goldfish", "silver/e"].map(str::to_owned).into();
        let chosen = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
            chosen(all(), &wanted).map(|tables| tables.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(chosen(&[]).unwrap().len(), 4);
        assert_eq!(chosen(&["gold/", "silver/e"]).unwrap(), ["gold/a", "gold/b", "silver/e"]);
        assert!(
            chosen(&["gold/a", "gol"]).unwrap_err().to_string().contains("there is no table gol")
        );
    }
}
