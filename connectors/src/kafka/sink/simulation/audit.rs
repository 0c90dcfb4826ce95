//! What was sent, judged by what was decided.

use std::collections::BTreeMap;

use super::world::{Inner, SINKS};

/// A transaction that a broker has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) id: String,
    /// Where it moved the marker.
    pub(super) n: Option<u64>,
    pub(super) rows: Vec<u64>,
}

/// Every decided row once, in the order of its checkpoints, and in the transaction that moves the marker there.
pub(super) fn audit(inner: &Inner) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut markers = BTreeMap::new();
    for Sent { id, n, rows } in &inner.broker.sent {
        let Some(n) = *n else {
            wrong.push(format!("{id}: {} rows without a marker", rows.len()));
            continue;
        };
        let last = markers.insert(id.as_str(), n).unwrap_or(0);
        let decided = inner.decided(id, n);
        if n < last {
            wrong.push(format!("{id}: the marker goes back from {last} to {n}"));
        } else if n == last && !rows.is_empty() {
            wrong.push(format!("{id}: checkpoint {n} is sent again"));
        } else if n > last && decided != Some(rows.as_slice()) {
            wrong.push(format!("{id}: checkpoint {n} decided {decided:?}, sent {rows:?}"));
        }
    }
    for id in SINKS {
        let sent: Vec<u64> =
            inner.broker.sent.iter().filter(|s| s.id == id).flat_map(|s| s.rows.clone()).collect();
        let decided: Vec<u64> = inner.all_decided(id);
        if sent != decided {
            wrong.push(format!("{id}: decided {decided:?}, sent {sent:?}"));
        }
    }
    wrong
}
