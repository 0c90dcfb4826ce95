//! M(n) out of M(n-1) and the subtasks' reports. Pure.

use std::collections::BTreeMap;

use thalweg_core::checkpoint::manifest::{SinkSnapshot, SourceSnapshot};
use thalweg_core::checkpoint::{Manifest, ManifestKind};
use thalweg_core::connector::sink::{PendingCommit, Staged};
use thalweg_core::{CheckpointId, OperatorUid, Watermark};

use crate::subtask::{SourceReport, SubtaskReport};

/// Everything that a manifest is made of.
pub(super) struct Parts<'a> {
    /// M(n-1), its expectations updated by finishing it.
    pub(super) parent: &'a Manifest,
    pub(super) parent_digest: &'a str,
    /// Rows per source at the attempt's start; reports count from there.
    pub(super) base_rows: &'a BTreeMap<OperatorUid, u64>,
    pub(super) id: CheckpointId,
    pub(super) token: &'a str,
    pub(super) created_at: i64,
    pub(super) fingerprint: Vec<String>,
    pub(super) finished: bool,
    pub(super) reports: Vec<SubtaskReport>,
}

/// Puts them together, in an order that does not depend on who reported first.
pub(super) fn assemble(parts: Parts<'_>) -> Manifest {
    let mut state = Vec::new();
    let mut staged: BTreeMap<OperatorUid, Staged> = BTreeMap::new();
    let mut read: BTreeMap<OperatorUid, Vec<SourceReport>> = BTreeMap::new();
    for report in parts.reports {
        state.extend(report.state);
        for (uid, part) in report.staged {
            let all = staged.entry(uid).or_default();
            all.items.extend(part.items);
            all.rows += part.rows;
        }
        if let Some(source) = report.source {
            read.entry(source.uid.clone()).or_default().push(source);
        }
    }
    state.sort_by(|a, b| (&a.uid, a.subtask).cmp(&(&b.uid, b.subtask)));
    let mut sources = parts.parent.sources.clone();
    for source in &mut sources {
        if let Some(reports) = read.remove(&source.uid) {
            let base = parts.base_rows.get(&source.uid).copied().unwrap_or_default();
            advance(source, base, reports);
        }
    }
    let mut sinks = parts.parent.sinks.clone();
    let pending =
        sinks.iter_mut().filter_map(|s| pend(s, parts.id, staged.remove(&s.uid)?)).collect();
    Manifest {
        number: parts.id,
        attempt: parts.token.to_owned(),
        parent: Some(parts.parent_digest.to_owned()),
        kind: ManifestKind::Checkpoint,
        finished: parts.finished,
        created_at: parts.created_at,
        fingerprint: parts.fingerprint,
        sources,
        state,
        sinks,
        pending,
        ..parts.parent.clone()
    }
}

fn advance(source: &mut SourceSnapshot, base: u64, reports: Vec<SourceReport>) {
    source.rows = base + reports.iter().map(|r| r.rows).sum::<u64>();
    // Nobody behind an exchange has heard more than what the slowest has said.
    let heard = reports.iter().map(|r| r.said).min().filter(|said| *said > Watermark::MIN);
    source.watermark = heard.map(|Watermark(time)| time);
    source.splits = reports.into_iter().flat_map(|r| r.splits).collect();
    source.splits.sort_by(|a, b| a.split.id.cmp(&b.split.id));
}

/// An epoch without rows commits nothing (P17).
fn pend(sink: &mut SinkSnapshot, id: CheckpointId, staged: Staged) -> Option<PendingCommit> {
    // Rows that are out already count as well: an at-least-once sink has nothing to commit.
    sink.rows += staged.rows;
    if staged.items.is_empty() {
        return None;
    }
    Some(PendingCommit {
        sink: sink.uid.to_string(),
        kind: sink.target.kind.clone(),
        path: sink.target.path.clone(),
        target_id: sink.expected.id.clone().unwrap_or_default(),
        app_id: sink.app_id.clone(),
        checkpoint: id,
        rank: sink.rank,
        rows: staged.rows,
        staged: staged.items,
        void: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::sample::manifest;

    #[test]
    fn a_source_is_as_far_as_the_slowest_of_its_subtasks_has_said() {
        let uid = OperatorUid::new("readings").unwrap();
        let source = SourceSnapshot {
            uid: uid.clone(),
            identity: BTreeMap::new(),
            splits: Vec::new(),
            rows: 0,
            watermark: None,
        };
        let mut parent = Manifest { sources: vec![source], ..manifest(1) };
        let rounds =
            [([Watermark::MIN, Watermark(7)], None), ([Watermark(9), Watermark(8)], Some(8))];
        for (said, expected) in rounds {
            let report = |said| SubtaskReport {
                source: Some(SourceReport { uid: uid.clone(), splits: Vec::new(), rows: 2, said }),
                ..SubtaskReport::default()
            };
            parent = assemble(Parts {
                parent: &parent,
                parent_digest: "",
                base_rows: &BTreeMap::new(),
                id: parent.number.next(),
                token: "token",
                created_at: 0,
                fingerprint: Vec::new(),
                finished: false,
                reports: said.map(report).into(),
            });
            assert_eq!((parent.sources[0].rows, parent.sources[0].watermark), (4, expected));
        }
    }
}
