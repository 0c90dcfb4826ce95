//! The pipeline as the dashboards show it: its graph, its counters, its checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use thalweg_connectors::delta::DeltaFollower;
use thalweg_core::connector::sink::Cut;
use thalweg_core::graph::{JobGraph, NodeKind, Partitioning};
use thalweg_runtime::JobMetrics;
use thalweg_serving::http::Edit;

use super::arrivals::Arrivals;
use super::metrics::Unusable;
use super::tap::Tap;
use crate::healthcare::config::TimeSection;
use crate::healthcare::event::DecodeCounters;

/// A pipeline to show; running in this process or not.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    graph: Option<Arc<Value>>,
    running: Option<(Arc<JobMetrics>, Arc<Tap>)>,
    decoded: Option<Arc<DecodeCounters>>,
    ahead: Option<Duration>,
}

impl Observed {
    /// A graph whose job, if any, runs elsewhere.
    pub fn graph(graph: &JobGraph) -> Self {
        Self { graph: Some(Arc::new(drawn(graph))), ..Self::default() }
    }

    /// The job runs here: its counters, and a tap on its way to gold.
    #[must_use]
    pub fn running(mut self, metrics: &Arc<JobMetrics>, tap: &Arc<Tap>) -> Self {
        self.running = Some((Arc::clone(metrics), Arc::clone(tap)));
        self
    }

    /// What the decoders of the job that runs here come across.
    #[must_use]
    pub fn decoding(mut self, counters: &Arc<DecodeCounters>) -> Self {
        self.decoded = Some(Arc::clone(counters));
        self
    }

    /// How far ahead of its arrival an event may be and still move the job's event time, where that is set.
    #[must_use]
    pub fn ahead(mut self, ahead: Duration) -> Self {
        self.ahead = Some(ahead);
        self
    }

    /// The newest arrival among the tables' messages.
    pub(super) fn arrivals(&self, follower: DeltaFollower) -> Arrivals {
        Arrivals::new(follower, self.ahead.unwrap_or_else(|| TimeSection::default().ahead))
    }

    pub(super) fn unusable(&self) -> Unusable {
        let owned = |(name, count): (&str, u64)| (name.to_owned(), count);
        let decoded = self.decoded.iter().flat_map(|counters| counters.unusable());
        let withheld = self.decoded.iter().flat_map(|counters| counters.withheld());
        Unusable {
            decoded: decoded.map(owned).collect(),
            withheld: withheld.map(owned).collect(),
            masked: self.tap().map(|tap| tap.masked().unparsed()).unwrap_or_default(),
        }
    }

    pub(super) fn metrics(&self) -> Option<&JobMetrics> {
        self.running.as_ref().map(|(metrics, _)| metrics.as_ref())
    }

    pub(super) fn tap(&self) -> Option<&Tap> {
        self.running.as_ref().map(|(_, tap)| tap.as_ref())
    }

    pub(super) fn watch(&self, watched: bool) {
        if let Some(tap) = self.tap() {
            tap.watch(watched);
        }
    }
}

/// The counters of a running job.
#[derive(Debug, Serialize)]
struct Job {
    /// Rows in and out by node.
    nodes: BTreeMap<String, (u64, u64)>,
    /// Rows committed by sink.
    committed: BTreeMap<String, u64>,
    checkpoint: u64,
    /// ms; 0 before the first.
    at: i64,
    /// From barrier to finish, ms.
    took: f64,
    /// Rows behind the source's end; negative when unknown.
    lag: i64,
    attempts: u64,
}

/// Puts the counters on the board.
pub(super) fn put_job(edit: &mut Edit<'_>, job: &Observed) {
    let Some(metrics) = job.metrics() else { return };
    let load = |counter: &std::sync::atomic::AtomicI64| counter.load(Ordering::Relaxed);
    let counters = Job {
        nodes: metrics.nodes(),
        committed: metrics.committed(),
        checkpoint: metrics.checkpoint.load(Ordering::Relaxed),
        at: load(&metrics.checkpoint_at) / 1_000,
        took: metrics.checkpoint_micros.load(Ordering::Relaxed) as f64 / 1_000.0,
        lag: load(&metrics.lag),
        attempts: metrics.attempts.load(Ordering::Relaxed),
    };
    edit.put("job", "job", &counters);
}

/// Puts the graph on the board.
pub(super) fn put_graph(edit: &mut Edit<'_>, job: &Observed) {
    if let Some(graph) = &job.graph {
        edit.put("graph", "graph", graph.as_ref());
    }
}

pub(super) fn checkpoint(cut: &Cut) -> Value {
    let chain: String = cut.chain.chars().take(8).collect();
    json!({ "n": cut.checkpoint.0, "chain": chain, "at": cut.created_at / 1_000, "tables": cut.versions })
}

fn drawn(graph: &JobGraph) -> Value {
    let node = |node: &thalweg_core::graph::Node| {
        let (kind, text) = match &node.kind {
            NodeKind::Source(source) => ("source", source.source.describe()),
            NodeKind::Operator(operator) => ("operator", operator.describe()),
            NodeKind::Sink(sink) => ("sink", sink.describe()),
        };
        json!({ "id": node.uid.as_str(), "kind": kind, "text": text })
    };
    let edge = |edge: &thalweg_core::graph::Edge| {
        let by = match &edge.partitioning {
            Partitioning::Forward => String::new(),
            Partitioning::Hash(keys) if keys.is_empty() => "all to one".to_owned(),
            Partitioning::Hash(keys) => format!("by {}", keys.join(", ")),
            Partitioning::Rebalance => "rebalanced".to_owned(),
        };
        json!({ "from": edge.from.0, "to": edge.to.0, "tag": edge.tag, "by": by })
    };
    json!({
        "name": graph.name(),
        "nodes": graph.nodes().iter().map(node).collect::<Vec<_>>(),
        "edges": graph.edges().iter().map(edge).collect::<Vec<_>>(),
    })
}
