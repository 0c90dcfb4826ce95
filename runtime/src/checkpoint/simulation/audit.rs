//! What must be true, whatever happened.

use std::collections::BTreeMap;

use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::sink::Cut;

use super::world::{Entry, World};
use crate::checkpoint::state_files::sha256;

/// At a published cut each table holds exactly the epochs up to it, and the tables belong together.
pub(super) fn cut(world: &World, cut: &Cut) {
    let tables = world.tables();
    let n = cut.checkpoint.0;
    let held = |path: &str| -> Vec<Entry> {
        let version = cut.versions.get(path).copied().unwrap_or_default() as usize;
        let log = tables.get(path).map_or(&[][..], Vec::as_slice);
        log.get(..version).unwrap_or(log).to_vec()
    };
    let (raw, counts) = (held("raw"), held("counts"));
    let ahead = raw.iter().chain(&counts).any(|e| e.txn > n);
    drop(tables);
    if ahead {
        world.violation(format!("the cut of checkpoint {n} holds a later one"));
    }
    let mut rows: BTreeMap<u16, u64> = BTreeMap::new();
    for (partition, _) in raw.iter().flat_map(|e| &e.rows) {
        *rows.entry(*partition).or_default() += 1;
    }
    let told: BTreeMap<u16, u64> = counts.iter().flat_map(|e| e.rows.clone()).collect();
    if rows != told {
        world.violation(format!("at the cut of checkpoint {n} rows and counts differ"));
    }
}

/// After the end: every message once, counts as a batch would count, one chain of manifests, nothing going back.
pub(super) fn end(world: &World) {
    let wrong = |what: String| world.violation(what);
    let ends = world.partitions();
    let tables = world.tables().clone();
    let log = |path: &str| tables.get(path).cloned().unwrap_or_default();
    let (raw, counts) = (log("raw"), log("counts"));
    let mut found: Vec<(u16, u64)> = raw.iter().flat_map(|e| e.rows.clone()).collect();
    found.sort_unstable();
    let mut expected: Vec<(u16, u64)> = Vec::new();
    for (partition, end) in ends.iter().enumerate() {
        expected.extend((0..*end).map(|offset| (partition as u16, offset)));
    }
    if found != expected {
        wrong(format!("{} rows where {} were sent", found.len(), expected.len()));
    }
    let told: BTreeMap<u16, u64> = counts.iter().flat_map(|e| e.rows.clone()).collect();
    let batch: BTreeMap<u16, u64> = (0..)
        .zip(&ends)
        .filter(|(_, end)| **end > 0)
        .map(|(partition, end)| (partition, *end))
        .collect();
    if told != batch {
        wrong("the counts are not those of a batch".to_owned());
    }
    for log in [&raw, &counts] {
        if log.windows(2).any(|pair| pair[0].txn >= pair[1].txn) {
            wrong("a table's transactions go back".to_owned());
        }
    }
    chain(world, raw.iter().map(|e| e.rows.len() as u64).sum());
}

/// From the newest manifest back to the first, by digests.
fn chain(world: &World, raw_rows: u64) {
    let names: Vec<String> = world.objects().keys().cloned().collect();
    let head = names.iter().filter_map(|name| Manifest::number_of(name)).max();
    let Some(head) = head else { return world.violation("there are no manifests".to_owned()) };
    let bytes = world.objects().get(&Manifest::name(head)).cloned().unwrap_or_default();
    let Ok(mut newer) = Manifest::decode(&bytes) else {
        return world.violation("the newest manifest is damaged".to_owned());
    };
    if !newer.finished {
        world.violation("the job is not finished".to_owned());
    }
    let told = newer.sinks.iter().find(|s| s.uid.as_str() == "raw").map(|s| s.rows);
    if told != Some(raw_rows) {
        world.violation(format!("the newest manifest counts {told:?} rows, there are {raw_rows}"));
    }
    while let Some(digest) = newer.parent.clone() {
        let below = newer.number.0.checked_sub(1).map(|n| world.manifests(n)).unwrap_or_default();
        let parent = below.into_iter().find(|(_, bytes)| sha256(bytes) == digest);
        let Some((older, _)) = parent else {
            return world.violation(format!("checkpoint {} has no parent", newer.number));
        };
        for split in &older.sources[0].splits {
            let later = newer.sources[0].splits.iter().find(|s| s.split.id == split.split.id);
            let goes_back = later.is_none_or(|s| {
                s.split.position < split.split.position || s.watermark < split.watermark
            });
            if goes_back {
                world.violation(format!(
                    "{} goes back behind checkpoint {}",
                    split.split.id, older.number
                ));
            }
        }
        newer = older;
    }
}
