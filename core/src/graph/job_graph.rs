//! The immutable, checked graph.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::SchemaRef;

use crate::OperatorUid;
use crate::connector::sink::Sink;
use crate::connector::source::Source;
use crate::operator::SharedFactory;
use crate::watermark::WatermarkStrategy;

/// Index of a node in its graph. Nodes are in topological order: an edge leads from a lower to a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// How rows are spread over the subtasks of the next node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partitioning {
    /// Subtask i to subtask i: no exchange, the two are chained.
    Forward,
    /// By key group of these columns; no columns means one group for all.
    Hash(Vec<String>),
    /// Batch by batch in turn.
    Rebalance,
}

/// From one node's output to another node.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Producer.
    pub from: NodeId,
    /// Side output of the producer; `None` is the main one.
    pub tag: Option<&'static str>,
    /// Consumer.
    pub to: NodeId,
    /// How rows are spread.
    pub partitioning: Partitioning,
}

/// A source with its watermarks.
#[derive(Debug, Clone)]
pub struct SourceNode {
    /// Where rows come from.
    pub source: Arc<dyn Source>,
    /// How event time is told; `None` for a stream without event time.
    pub watermarks: Option<WatermarkStrategy>,
}

/// What a node does.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// Reads.
    Source(SourceNode),
    /// Computes.
    Operator(SharedFactory),
    /// Writes.
    Sink(Arc<dyn Sink>),
}

/// One node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its stable name.
    pub uid: OperatorUid,
    /// What it does.
    pub kind: NodeKind,
    /// Columns in; for a source, the source's own.
    pub input_schema: SchemaRef,
    /// Columns out of the main output; empty for a sink.
    pub output_schema: SchemaRef,
    /// Parallelism asked for here; `None` for the job's.
    pub parallelism: Option<u32>,
}

/// A checked graph, ready to run.
#[derive(Debug, Clone)]
pub struct JobGraph {
    pub(crate) name: String,
    pub(crate) max_parallelism: u16,
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
}

impl JobGraph {
    /// The job's name, the first part of every app id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of key groups.
    pub fn max_parallelism(&self) -> u16 {
        self.max_parallelism
    }

    /// Nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Edges, in the order in which they were drawn.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The node of an id.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    /// Edges out of a node.
    pub fn outputs(&self, id: NodeId) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |e| e.from == id)
    }

    /// Edges into a node.
    pub fn inputs(&self, id: NodeId) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |e| e.to == id)
    }

    /// Names what a checkpoint must fit: job, key groups, nodes, columns and edges; not parallelism or tuning.
    ///
    /// Two graphs with the same text can share checkpoints; the manifest stores it. Two that differ may share them as
    /// well: a start compares what the nodes with state are grouped by ([`groupings`]).
    pub fn fingerprint(&self) -> Vec<String> {
        let mut lines = vec![format!("job {} groups {}", self.name, self.max_parallelism)];
        for node in &self.nodes {
            let kind = match &node.kind {
                NodeKind::Source(_) => "source",
                NodeKind::Operator(_) => "operator",
                NodeKind::Sink(_) => "sink",
            };
            let columns: Vec<String> = node
                .output_schema
                .fields()
                .iter()
                .map(|f| format!("{}:{}", f.name(), f.data_type()))
                .collect();
            lines.push(format!("{kind} {} -> {}", node.uid, columns.join(",")));
        }
        for edge in &self.edges {
            if let (Some(from), Some(to)) = (self.node(edge.from), self.node(edge.to)) {
                let tag = edge.tag.unwrap_or("");
                lines.push(format!(
                    "edge {}[{tag}] -> {} {:?}",
                    from.uid, to.uid, edge.partitioning
                ));
            }
        }
        lines
    }
}

/// The columns by which a graph of this fingerprint groups the rows of node `uid`, as they stand there: at its own exchange,
/// or at that of the chain it stands in. None for a node that is behind no exchange by key, or is not in that graph.
pub fn groupings<'a>(fingerprint: &'a [String], uid: &'a OperatorUid) -> BTreeSet<&'a str> {
    let edges: Vec<_> = fingerprint.iter().filter_map(|line| edge(line)).collect();
    let (mut found, mut chain) = (BTreeSet::new(), vec![uid.as_str()]);
    let mut next = 0;
    while let Some(node) = chain.get(next).copied() {
        next += 1;
        for (from, _, partitioning) in edges.iter().filter(|(_, to, _)| *to == node) {
            match partitioning.strip_prefix("Hash(") {
                Some(columns) => found.extend(columns.strip_suffix(')')),
                None if *partitioning == "Forward" && !chain.contains(from) => chain.push(from),
                None => {}
            }
        }
    }
    found
}

/// From where, to where and how, of an edge's line in a fingerprint.
fn edge(line: &str) -> Option<(&str, &str, &str)> {
    let (from, rest) = line.strip_prefix("edge ")?.split_once('[')?;
    let (to, partitioning) = rest.split_once("] -> ")?.1.split_once(' ')?;
    Some((from, to, partitioning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_by_what_the_rows_of_a_node_are_grouped() {
        let edge = |from: &str, to: &str, partitioning: Partitioning| {
            format!("edge {from}[] -> {to} {partitioning:?}")
        };
        let by = |columns: &[&str]| {
            Partitioning::Hash(columns.iter().map(|column| (*column).to_owned()).collect())
        };
        let fingerprint = [
            "operator count -> ward:Utf8,n:Int64".to_owned(),
            edge("readings", "count", by(&["ward", "bed"])),
            edge("others", "count", by(&["ward", "bed"])),
            edge("readings", "more-count", by(&["patient"])),
            edge("readings", "all", by(&[])),
            edge("count", "out", Partitioning::Rebalance),
            // Chained behind an exchange, one of them behind two nodes.
            edge("scaled", "chained", Partitioning::Forward),
            edge("filtered", "scaled", Partitioning::Forward),
            edge("readings", "filtered", by(&["bed"])),
            edge("readings", "unkeyed", Partitioning::Forward),
        ];
        let groupings = |uid: &str| {
            let uid = OperatorUid::new(uid).unwrap();
            let found = groupings(&fingerprint, &uid);
            found.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(groupings("count"), [r#"["ward", "bed"]"#]);
        assert_eq!(groupings("all"), ["[]"]);
        assert_eq!(groupings("chained"), [r#"["bed"]"#]);
        for none in ["out", "readings", "unkeyed", "another"] {
            assert!(groupings(none).is_empty(), "{none}");
        }
    }
}
