//! What must be true in the end, whatever happened.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_core::checkpoint::Manifest;

use super::input::{EARLY, PARTITIONS, key_of, window_of};
use super::world::World;
use crate::checkpoint::state_files::sha256;

/// Every row once, in the table and, of each sink, for a reader of the topic's committed messages, counts as a batch
/// would count, transactions in order, one chain of manifests.
pub(super) fn end(world: &World) {
    let mut wrong = Vec::new();
    let tables = world.inner().tables.clone();
    let rows = |path: &str| -> Vec<Vec<i64>> {
        tables.get(path).into_iter().flatten().flat_map(|e| e.rows.clone()).collect()
    };
    let all: Vec<(i64, i64)> =
        (0..PARTITIONS).flat_map(|p| (0..world.rows).map(move |o| (p, o))).collect();
    let mut raw = rows("raw");
    raw.sort_unstable();
    let expected: Vec<Vec<i64>> = all.iter().map(|(p, o)| vec![*p, *o, key_of(*p, *o)]).collect();
    if raw != expected {
        wrong.push(format!("{} rows where {} were sent, or others", raw.len(), expected.len()));
    }
    let (mut sent, back) = {
        let mut inner = world.inner();
        inner.broker.settle(Duration::MAX);
        (inner.broker.committed(), inner.broker.marker_goes_back())
    };
    sent.sort_unstable();
    // Two sinks send to the one topic.
    let early = expected.iter().filter(|row| row[1] < EARLY).cloned();
    let mut messages: Vec<Vec<i64>> = expected.iter().cloned().chain(early).collect();
    messages.sort_unstable();
    if sent != messages {
        let (sent, messages) = (sent.len(), messages.len());
        wrong.push(format!("{sent} committed messages where {messages} were sent, or others"));
    }
    if back {
        wrong.push("the topic's marker goes back".to_owned());
    }
    let mut batch: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for (p, o) in &all {
        *batch.entry((key_of(*p, *o), window_of(*p, *o))).or_default() += 1;
    }
    let mut told: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for row in rows("counts") {
        *told.entry((row[0], row[1])).or_default() += row[2];
    }
    if told != batch {
        wrong.push("the counts are not those of a batch".to_owned());
    }
    for (path, log) in &tables {
        if log.windows(2).any(|pair| pair[0].txn >= pair[1].txn) {
            wrong.push(format!("the transactions of {path} go back"));
        }
    }
    chain(world, &mut wrong);
    world.inner().violations.extend(wrong);
}

/// From the newest manifest back to the first, by digests: one manifest per number, and no position and no split's
/// watermark goes back. A zombie may create a number anew that was garbage already; the parent is gone, it is fenced.
fn chain(world: &World, wrong: &mut Vec<String>) {
    let created = world.inner().created.clone();
    let Some((mut number, contents)) = created.last_key_value() else {
        return wrong.push("there are no manifests".to_owned());
    };
    if contents.len() != 1 {
        wrong.push(format!("{} manifests have the number {number}", contents.len()));
    }
    let mut newer = contents.last().and_then(|bytes| Manifest::decode(bytes).ok());
    while let Some(manifest) = newer.take() {
        let Some(digest) = manifest.parent.as_deref() else { break };
        let below = created.range(..number).next_back();
        let parent =
            below.and_then(|(n, all)| Some((n, all.iter().find(|b| sha256(b) == digest)?)));
        let Some((before, bytes)) = parent.filter(|(n, _)| **n + 1 == *number) else {
            return wrong.push(format!("manifest {number} has no parent"));
        };
        let Ok(older) = Manifest::decode(bytes) else { break };
        for split in &older.sources[0].splits {
            let later = manifest.sources[0].splits.iter().find(|s| s.split.id == split.split.id);
            if later.is_none_or(|s| {
                s.split.position < split.split.position || s.watermark < split.watermark
            }) {
                wrong.push(format!("partition {} goes back at {number}", split.split.id));
            }
        }
        (number, newer) = (before, Some(older));
    }
    if *number != 0 {
        wrong.push(format!("the chain begins at {number}"));
    }
}
