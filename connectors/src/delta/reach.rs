//! How far a log may be cleaned: up to a log checkpoint that is whole.
//!
//! Others write large ones in parts, and may die between them. delta-rs takes one part for all of it: behind what is left of
//! such a checkpoint it would remove entries that nothing stands for.

use std::collections::HashMap;

use deltalake::logstore::{LogStore, LogStoreRef};
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore};
use thalweg_core::Result;

use super::failure;

/// The version of the last whole checkpoint up to `version` behind which every entry was written before `expired`, ms.
pub(super) async fn last_checkpoint(
    log: &LogStoreRef,
    name: &str,
    version: u64,
    expired: i64,
) -> Result<Option<u64>> {
    let listed = log.object_store(None).list(Some(log.log_path())).try_collect::<Vec<_>>().await;
    let listed = listed.map_err(|e| failure::storage("list the log", name, &e))?;
    let file = |meta: &ObjectMeta| {
        let (version, kind) = parse(meta.location.filename()?)?;
        Some((version, kind, meta.last_modified.timestamp_millis()))
    };
    Ok(last_whole(listed.iter().filter_map(file), version, expired))
}

/// What a file of a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Entry,
    /// A checkpoint, or one of its parts.
    Checkpoint {
        parts: u64,
    },
}

/// Version and kind by a file's name.
fn parse(name: &str) -> Option<(u64, Kind)> {
    const UUID: usize = 36;
    let parts: Vec<&str> = name.split('.').collect();
    let (version, rest) = parts.split_first()?;
    let kind = match rest {
        ["json"] => Kind::Entry,
        ["checkpoint", "parquet"] => Kind::Checkpoint { parts: 1 },
        ["checkpoint", id, "parquet" | "json"] if id.len() == UUID => Kind::Checkpoint { parts: 1 },
        ["checkpoint", _, parts, "parquet"] => Kind::Checkpoint { parts: parts.parse().ok()? },
        _ => return None,
    };
    Some((version.parse().ok()?, kind))
}

fn last_whole(
    files: impl Iterator<Item = (u64, Kind, i64)>,
    version: u64,
    expired: i64,
) -> Option<u64> {
    let (mut kept, mut found) = (version, HashMap::new());
    for (version, kind, modified) in files {
        if modified >= expired {
            kept = kept.min(version);
        }
        if let Kind::Checkpoint { parts } = kind {
            *found.entry((version, parts)).or_insert(0_u64) += 1;
        }
    }
    let whole = found.into_iter().filter(|((_, parts), there)| there >= parts);
    whole.map(|((version, _), _)| version).filter(|version| *version <= kept).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(version: u64, rest: &str) -> String {
        format!("{version:020}.{rest}")
    }

    /// How far a log with these files goes that are old, and these that are not.
    fn last(old: &[String], young: &[String], version: u64) -> Option<u64> {
        let old = old.iter().map(|name| (name, 1));
        let files = old.chain(young.iter().map(|name| (name, 10)));
        let files = files.filter_map(|(name, modified)| {
            parse(name).map(|(version, kind)| (version, kind, modified))
        });
        last_whole(files, version, 10)
    }

    #[test]
    fn a_checkpoint_counts_once_all_of_its_parts_are_there() {
        let half = name(20, "checkpoint.0000000001.0000000002.parquet");
        let rest = name(20, "checkpoint.0000000002.0000000002.parquet");
        let mut files = vec![name(10, "checkpoint.parquet"), name(20, "json"), half];
        assert_eq!(last(&files, &[], 30), Some(10));
        assert_eq!(last(&files, &[], 9), None);
        files.push(rest);
        assert_eq!(last(&files, &[], 30), Some(20));
        assert_eq!(last(&files, &[], 19), Some(10));
        // What is behind it is no hindrance.
        let id = "80a083e8-7026-4e79-81be-64bd76c43a11";
        files = vec![files.remove(2), name(30, &format!("checkpoint.{id}.json"))];
        assert_eq!(last(&files, &[], 30), Some(30));
    }

    #[test]
    fn entries_that_are_not_old_enough_stay_with_what_stands_for_those_before() {
        let half = name(20, "checkpoint.0000000001.0000000002.parquet");
        let old = [name(10, "checkpoint.parquet"), half, name(30, "checkpoint.parquet")];
        assert_eq!(last(&old, &[name(25, "json")], 40), Some(10));
        assert_eq!(last(&old, &[name(9, "json")], 40), None);
        assert_eq!(last(&old, &[name(9, "crc"), ".tmp-1".to_owned()], 40), Some(30));
    }
}
