//! What must be true in the end, whatever happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use thalweg_core::CheckpointId;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::source::Split;

use super::input::{EARLY, PARTITIONS, key_of, window_of};
use super::topic_source::partition_of;
use super::world::{Backing, World};
use crate::checkpoint::state_files::sha256;

/// Every row once, in the table and, of each sink, for a reader of the topic's committed messages, counts as a batch
/// would count, transactions in order, one chain of manifests.
pub(super) fn end(world: &World) {
    let mut wrong = Vec::new();
    let tables = world.inner().tables.clone();
    let rows = |path: &str| -> Vec<Vec<i64>> {
        tables.get(path).into_iter().flatten().flat_map(|e| e.rows.clone()).collect()
    };
    let mut raw = rows("raw");
    raw.sort_unstable();
    let all: Vec<(i64, i64)> = match world.backing {
        Backing::Topic => due(world, &raw, &mut wrong),
        Backing::Played | Backing::Delta => {
            (0..PARTITIONS).flat_map(|p| (0..world.rows).map(move |o| (p, o))).collect()
        }
    };
    // A job that came to no end has not sent everything, and has windows that are open.
    let ended = world.backing != Backing::Topic || !world.topic().is_another();
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
    if ended && sent != messages {
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
    if ended && told != batch {
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

/// What must be there of a topic: every committed message that the chain is to read and the topic still has; of those that
/// are deleted the ones that were read. The others are lost, and somebody must have gone on behind each of them and told that
/// (`Topic::skip`). To be read is what lies between start and end of the first manifest (`Topic::begin` has looked at it), and
/// all of a partition that is not in it, unless the job has an end. Where the topic has become another one, only what was read.
fn due(world: &World, raw: &[Vec<i64>], wrong: &mut Vec<String>) -> Vec<(i64, i64)> {
    // Others than the first were made where it was cleaned up.
    let begun = world.manifests(CheckpointId::GENESIS).into_iter().next();
    let begun: BTreeMap<i64, Split> = begun
        .iter()
        .flat_map(|manifest| &manifest.sources[0].splits)
        .map(|s| (i64::from(partition_of(&s.split.id)), s.split.clone()))
        .collect();
    let read: BTreeSet<(i64, i64)> = raw.iter().map(|row| (row[0], row[1])).collect();
    let topic = world.topic();
    let (mut due, mut missed) = (Vec::new(), 0);
    for sent in topic.committed() {
        let is_asked_for = match begun.get(&sent.partition) {
            Some(Split { position, end, .. }) => {
                sent.offset >= *position && end.is_none_or(|end| sent.offset < end)
            }
            None => !topic.extent.bounded,
        };
        if !is_asked_for {
            continue;
        }
        let row = (sent.partition, sent.position);
        let is_gone = sent.deleted || topic.is_another();
        if read.contains(&row) || !is_gone {
            due.push(row);
        } else if !topic.is_another() && !topic.was_skipped(&sent) {
            missed += 1;
        }
    }
    if missed > 0 {
        wrong.push(format!("{missed} messages are missing, and nobody told that they are lost"));
    }
    due
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
