//! Counters that the world may look at while the job runs. Labels are uids; values of records never come here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use dashmap::DashMap;
use thalweg_core::operator::LeftOut;

/// Rows through one node, over all its subtasks.
#[derive(Debug, Default)]
pub struct NodeMetrics {
    /// Rows in (for a source: rows read).
    pub rows_in: AtomicU64,
    /// Rows out, side outputs included.
    pub rows_out: AtomicU64,
    late: AtomicU64,
    dropped: AtomicU64,
    null_key: AtomicU64,
}

impl NodeMetrics {
    /// Counts rows that are in no output.
    pub fn leave_out(&self, rows: LeftOut) {
        // Mostly there are none, and counters that threads share are not for free.
        if rows != LeftOut::default() {
            self.late.fetch_add(rows.late, Ordering::Relaxed);
            self.dropped.fetch_add(rows.dropped, Ordering::Relaxed);
            self.null_key.fetch_add(rows.null_key, Ordering::Relaxed);
        }
    }

    /// Rows that are in no output, so far.
    pub fn left_out(&self) -> LeftOut {
        let [late, dropped, null_key] =
            [&self.late, &self.dropped, &self.null_key].map(|n| n.load(Ordering::Relaxed));
        LeftOut { late, dropped, null_key }
    }
}

/// The metrics of one job; shared by every attempt.
#[derive(Debug, Default)]
pub struct JobMetrics {
    nodes: DashMap<String, Arc<NodeMetrics>>,
    /// Rows committed per sink since genesis.
    committed: DashMap<String, u64>,
    /// Newest finished checkpoint.
    pub checkpoint: AtomicU64,
    /// When it was finished, µs since the epoch; 0 before the first.
    pub checkpoint_at: AtomicI64,
    /// Time from barrier to finish of the newest checkpoint, µs.
    pub checkpoint_micros: AtomicU64,
    /// Attempts begun.
    pub attempts: AtomicU64,
    /// Rows between the newest checkpoint's positions and the sources' ends, when known; -1 when not.
    pub lag: AtomicI64,
    /// How often sources were told to go past rows that were lost, and did.
    pub losses: AtomicU64,
}

impl JobMetrics {
    /// The counters of a node.
    pub fn node(&self, uid: &str) -> Arc<NodeMetrics> {
        Arc::clone(&self.nodes.entry(uid.to_owned()).or_default())
    }

    /// Sets what is committed for a sink.
    pub(crate) fn set_committed(&self, sink: &str, rows: u64) {
        self.committed.insert(sink.to_owned(), rows);
    }

    /// Rows committed per sink since genesis, by name.
    pub fn committed(&self) -> std::collections::BTreeMap<String, u64> {
        self.committed.iter().map(|e| (e.key().clone(), *e.value())).collect()
    }

    /// Rows in and out per node, by name.
    pub fn nodes(&self) -> std::collections::BTreeMap<String, (u64, u64)> {
        self.nodes
            .iter()
            .map(|e| {
                let node = e.value();
                let rows_in = node.rows_in.load(Ordering::Relaxed);
                (e.key().clone(), (rows_in, node.rows_out.load(Ordering::Relaxed)))
            })
            .collect()
    }

    /// Rows that are in no output, by the name of each node that left some out.
    pub fn left_out(&self) -> std::collections::BTreeMap<String, LeftOut> {
        let nodes = self.nodes.iter().map(|e| (e.key().clone(), e.value().left_out()));
        nodes.filter(|(_, rows)| *rows != LeftOut::default()).collect()
    }
}
