//! Removes files that nobody can need any more.
//!
//! Four things keep a file: it is in the table's newest version, or was removed from it less than the retention ago;
//! it is in the version that a job's newest published cut names, of whatever age: at that one the table is read until the
//! next cut, which a job that was stopped never publishes, nor does any other for a table that gets no rows; a manifest
//! waits to commit it, of whatever age (P14); or it is younger than the retention, because a running job may have staged
//! it for a manifest that is still to come. What waits is asked for first, the table's newest version is read after it: a
//! file that is committed in between is found in the one or in the other.
//!
//! A folder below the table's that has a log of its own is another table: nothing in it is looked at. Of the files only
//! those go that can be data files by their names. What else is there belongs to somebody: deletion vectors, say, that no
//! list of data files names. A table that may have such is left as it is, as merging leaves it.

use std::collections::{HashMap, HashSet};
use std::path::Path as FsPath;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt};
use thalweg_core::connector::sink::PendingCommit;
use thalweg_core::{Error, Result, durable, failpoint};

use super::maintain::{SAFE_RETENTION, Vacuum, Vacuumed};
use super::plan::DataFile;
use super::storage::Storage;
use super::table::Table;
use super::{active, compact, entry, failure, named, store};

/// The folder of a table's log.
const LOG: &str = "_delta_log";

/// How the names of data files end.
const DATA: &str = ".parquet";

/// How long the log remembers removed files when the table does not say.
const TOMBSTONES: Duration = Duration::from_hours(7 * 24);

/// A file below a table's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    path: String,
    bytes: u64,
    /// When it was last written, ms.
    modified: i64,
}

/// Who still needs files of one table.
#[derive(Debug, Default)]
struct Needed {
    /// In the newest version, or in one that a published cut names.
    active: HashSet<String>,
    /// When each file was removed, ms.
    removed: HashMap<String, i64>,
    pending: HashSet<String>,
}

impl Needed {
    /// Whether `file` is a data file that nobody needs, everything since `cutoff` (ms) being needed.
    fn is_garbage(&self, file: &Listed, cutoff: i64) -> bool {
        file.path.ends_with(DATA)
            && !self.active.contains(&file.path)
            && !self.pending.contains(&file.path)
            && file.modified <= cutoff
            && self.removed.get(&file.path).is_none_or(|when| *when <= cutoff)
    }
}

/// Vacuums `name`; an absent table has nothing to remove. `pending`: every commit that some manifest holds.
pub(super) async fn vacuum(
    storage: &Storage,
    name: &str,
    options: &Vacuum,
    pending: &(dyn Fn() -> Result<Vec<PendingCommit>> + Send + Sync),
) -> Result<Vacuumed> {
    if options.retention < SAFE_RETENTION && !options.force {
        return Err(Error::config(format!(
            "a retention below {} min may take files that a running job has just written: keep longer, or force it \
             while nobody writes",
            SAFE_RETENTION.as_secs() / 60
        )));
    }
    let Some((table, known)) = active::newest(storage, name).await? else {
        return Ok(Vacuumed::default());
    };
    let remembered = table.properties().deleted_file_retention_duration.unwrap_or(TOMBSTONES);
    if options.retention > remembered {
        return Err(Error::config(format!(
            "table `{name}` remembers removed files for {} h only (delta.deletedFileRetentionDuration): keep no longer",
            remembered.as_secs() / 3_600
        )));
    }
    if let Some(why) = left_alone(&table, &known) {
        let skipped = Some(format!("nothing is removed from table `{name}`: {why}"));
        return Ok(Vacuumed { skipped, ..Vacuumed::default() });
    }
    let retention = i64::try_from(options.retention.as_millis()).unwrap_or(i64::MAX);
    let cutoff = entry::now_millis().saturating_sub(retention);
    let data = storage.data(name)?;
    let listed = list(&data, name).await?;
    check_names(name, &known, &listed)?;
    let mut halves = half_written(storage, name).await?;
    halves.retain(|file| file.modified <= cutoff);

    let garbage: Vec<Listed> = {
        let needed = needed(storage, name, options, pending).await?;
        listed.into_iter().filter(|file| needed.is_garbage(file, cutoff)).collect()
    };
    let report = Vacuumed {
        files: (garbage.len() + halves.len()) as u64,
        bytes: garbage.iter().chain(&halves).map(|f| f.bytes).sum(),
        skipped: None,
    };
    if options.dry_run {
        return Ok(report);
    }
    futures::stream::iter(garbage)
        .map(|file| delete(&data, name, file))
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await?;
    let Some(folder) = storage.path(name)? else { return Ok(report) };
    store::blocking(move || {
        halves.iter().try_for_each(|file| match std::fs::remove_file(folder.join(&file.path)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        })
    })
    .await
    .map_err(|e| failure::storage("remove a half-written file", name, &e))?;
    Ok(report)
}

/// Why nothing is removed from the folder of such a table, if there is a reason.
fn left_alone(table: &Table, files: &[DataFile]) -> Option<String> {
    let deleted = || files.iter().any(|file| file.remove.deletion_vector.is_some());
    let with_vectors = || "rows of its files were deleted by deletion vectors".to_owned();
    compact::not_understood(&table.facts).or_else(|| deleted().then(with_vectors))
}

/// First what waits, then what is there.
async fn needed(
    storage: &Storage,
    name: &str,
    options: &Vacuum,
    pending: &(dyn Fn() -> Result<Vec<PendingCommit>> + Send + Sync),
) -> Result<Needed> {
    let mut waiting = HashSet::new();
    for commit in pending()?.iter().filter(|p| p.path == name) {
        waiting.extend(entry::adds(commit)?.into_iter().map(|add| add.path));
    }
    let (files, removed) = active::newest_and_removed(storage, name)
        .await?
        .ok_or_else(|| Error::data_loss(format!("table `{name}` is missing")))?;
    let mut read: HashSet<String> = files.into_iter().map(|f| f.path).collect();
    if !options.force {
        for version in named::versions(storage, name, options.retention).await? {
            read.extend(active::names_at(storage, name, version).await?);
        }
    }
    Ok(Needed { active: read, removed, pending: waiting })
}

/// Every file of the table that we know must be found under the name by which we know it: if one is not, names do
/// not mean here what we think they mean, and nothing is removed.
fn check_names(name: &str, known: &[DataFile], listed: &[Listed]) -> Result<()> {
    let found: HashSet<&str> = listed.iter().map(|f| f.path.as_str()).collect();
    if known.iter().all(|f| found.contains(f.path.as_str())) {
        return Ok(());
    }
    Err(Error::data_loss(format!(
        "table `{name}` names files that are not in its folder: nothing is removed; restore them first"
    )))
}

async fn list(data: &Arc<dyn ObjectStore>, name: &str) -> Result<Vec<Listed>> {
    let (mut listed, mut tables) = (Vec::new(), HashSet::new());
    let mut found = data.list(None);
    let failed = |e| failure::storage("list the files", name, &e);
    while let Some(meta) = found.try_next().await.map_err(failed)? {
        if let Some(table) = table_of_log(meta.location.as_ref()) {
            tables.insert(table.to_owned());
        } else if meta.location.parts().all(|part| !is_hidden(part.as_ref())) {
            listed.push(Listed {
                path: meta.location.to_string(),
                bytes: meta.size,
                modified: meta.last_modified.timestamp_millis(),
            });
        }
    }
    listed.retain(|file| !is_in(&file.path, &tables));
    Ok(listed)
}

/// The other table, below this one, whose log `path` lies in.
fn table_of_log(path: &str) -> Option<&str> {
    let (table, _) = path.split_once("/_delta_log/")?;
    Some(table)
}

/// Whether `path` lies in one of these folders.
fn is_in(path: &str, folders: &HashSet<String>) -> bool {
    let mut above = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
    above.any(|folder| folders.contains(folder))
}

/// The log's folder and others' own files; folders of partitions have a `=`.
fn is_hidden(part: &str) -> bool {
    part.starts_with(['_', '.']) && !part.contains('=')
}

async fn delete(data: &Arc<dyn ObjectStore>, name: &str, file: Listed) -> Result<()> {
    failpoint::hit("vacuum.delete")?;
    let path = Path::parse(&file.path).map_err(|_| {
        Error::corrupt(format!("a file below table `{name}` has an impossible name"))
    })?;
    match data.delete(&path).await {
        Err(StoreError::NotFound { .. }) | Ok(()) => Ok(()),
        Err(e) => Err(failure::storage("remove a file", name, &e)),
    }
}

/// What a death while writing leaves in a local folder: listings of object stores do not show it. Data files have
/// `#1` at the end until they are complete, log entries the prefix of temporary names.
async fn half_written(storage: &Storage, name: &str) -> Result<Vec<Listed>> {
    let Some(folder) = storage.path(name)? else { return Ok(Vec::new()) };
    store::blocking(move || {
        let mut found = Vec::new();
        walk(&folder, &folder, &mut found)?;
        Ok(found)
    })
    .await
    .map_err(|e| failure::storage("list the files", name, &e))
}

fn walk(root: &FsPath, folder: &FsPath, found: &mut Vec<Listed>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            if !path.join(LOG).is_dir() {
                walk(root, &path, found)?;
            }
        } else if kind.is_file() && is_half(&entry.file_name().to_string_lossy()) {
            // Whoever was writing it may have completed it meanwhile.
            let Ok(metadata) = entry.metadata() else { continue };
            found.push(Listed {
                path: path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned(),
                bytes: metadata.len(),
                modified: millis(metadata.modified()?),
            });
        }
    }
    Ok(())
}

fn is_half(name: &str) -> bool {
    let staged = name.rsplit_once('#').is_some_and(|(file, n)| {
        file.ends_with(DATA) && !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())
    });
    staged || name.starts_with(durable::TEMPORARY_PREFIX)
}

fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(path: &str, modified: i64) -> Listed {
        Listed { path: path.to_owned(), bytes: 1, modified }
    }

    #[test]
    fn a_file_goes_when_nobody_can_need_it() {
        let needed = Needed {
            active: HashSet::from(["active.parquet".to_owned()]),
            removed: [("late.parquet".to_owned(), 150), ("long.parquet".to_owned(), 50)].into(),
            pending: HashSet::from(["pending.parquet".to_owned()]),
        };
        let garbage = |name: &str, modified| {
            needed.is_garbage(&listed(&format!("{name}.parquet"), modified), 100)
        };
        assert!(!garbage("active", 1), "in the newest version");
        assert!(!garbage("pending", 1), "a manifest waits for it");
        assert!(!garbage("late", 1), "removed within the retention");
        assert!(garbage("long", 1), "removed before it");
        assert!(garbage("unknown", 100), "nobody knows it, and it is old");
        assert!(!garbage("unknown", 101), "some job may have staged it just now");
        for other in ["deletion_vector_1.bin", "ab/deletion_vector_1.bin", "notes.txt", "parquet"] {
            assert!(!needed.is_garbage(&listed(other, 1), 100), "{other} is no data file");
        }
    }

    #[test]
    fn half_written_files_and_hidden_folders_are_told_by_their_names() {
        for half in ["part-0.snappy.parquet#1", ".tmp-12-3"] {
            assert!(is_half(half), "{half}");
        }
        for whole in ["part-0.parquet", "a#b.parquet", "x#1", "part.parquet#"] {
            assert!(!is_half(whole), "{whole}");
        }
        assert!(is_hidden("_delta_log") && is_hidden("_change_data") && is_hidden(".x"));
        assert!(!is_hidden("_day=1") && !is_hidden("day=1"));
    }

    #[test]
    fn a_folder_with_a_log_of_its_own_is_another_table() {
        assert_eq!(table_of_log("late/_delta_log/00000000000000000000.json"), Some("late"));
        assert_eq!(table_of_log("_delta_log/00000000000000000000.json"), None, "the table's own");
        assert_eq!(table_of_log("day=1/part-0.parquet"), None);
        let tables = HashSet::from(["late".to_owned(), "a/b".to_owned()]);
        assert!(
            is_in("late/part-0.parquet", &tables) && is_in("a/b/day=1/part-0.parquet", &tables)
        );
        for own in ["late-1/part-0.parquet", "late", "a/part-0.parquet", "part-0.parquet"] {
            assert!(!is_in(own, &tables), "{own}");
        }
    }
}
