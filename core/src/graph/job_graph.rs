//! The immutable, checked graph.

use std::collections::{BTreeMap, BTreeSet};
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

    /// The sources that the rows of a node come from: itself, where it is one.
    pub fn sources_of(&self, id: NodeId) -> Vec<(&Node, &SourceNode)> {
        let (mut found, mut above) = (Vec::new(), vec![id]);
        let mut next = 0;
        while let Some(id) = above.get(next).copied() {
            next += 1;
            if let Some(node) = self.node(id)
                && let NodeKind::Source(source) = &node.kind
            {
                found.push((node, source));
            }
            for edge in self.inputs(id) {
                if !above.contains(&edge.from) {
                    above.push(edge.from);
                }
            }
        }
        found
    }

    /// Whether a node passes on watermarks: it is, or is fed by, a source that makes them.
    pub fn is_timed(&self, id: NodeId) -> bool {
        self.sources_of(id).iter().any(|(_, source)| source.watermarks.is_some())
    }

    /// Names what a checkpoint must fit: job, key groups, nodes, columns and edges; not parallelism or tuning.
    ///
    /// Two graphs with the same text can share checkpoints; the manifest stores it. Two that differ may share them as
    /// well: a start compares what the nodes with state are grouped by ([`groupings`], [`key_types`]).
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
    exchanges(fingerprint, uid).into_iter().map(|(_, columns)| columns).collect()
}

/// The types of the columns that [`groupings`] tells of, by their names, without what stands in brackets behind a type. Those
/// of a side output are in no fingerprint.
pub fn key_types<'a>(fingerprint: &'a [String], uid: &'a OperatorUid) -> BTreeMap<String, &'a str> {
    let mut types = BTreeMap::new();
    let exchanges = exchanges(fingerprint, uid);
    for (edge, columns) in exchanges.into_iter().filter(|(edge, _)| edge.tag.is_empty()) {
        // A list of texts stands there as JSON has it, but for names with characters that nobody sees.
        let names: Vec<String> = serde_json::from_str(columns).unwrap_or_default();
        for name in names {
            if let Some(found) = column_type(fingerprint, edge.from, &name) {
                types.insert(name, found);
            }
        }
    }
    types
}

/// The exchanges by key that the rows of node `uid` come by, with their columns.
fn exchanges<'a>(fingerprint: &'a [String], uid: &'a OperatorUid) -> Vec<(EdgeLine<'a>, &'a str)> {
    let edges: Vec<_> = fingerprint.iter().filter_map(|line| EdgeLine::parse(line)).collect();
    let (mut found, mut chain) = (Vec::new(), vec![uid.as_str()]);
    let mut next = 0;
    while let Some(node) = chain.get(next).copied() {
        next += 1;
        for edge in edges.iter().filter(|edge| edge.to == node).copied() {
            match edge.partitioning.strip_prefix("Hash(") {
                Some(columns) => found.extend(columns.strip_suffix(')').map(|c| (edge, c))),
                None if edge.partitioning == "Forward" && !chain.contains(&edge.from) => {
                    chain.push(edge.from);
                }
                None => {}
            }
        }
    }
    found
}

/// An edge's line in a fingerprint.
#[derive(Clone, Copy)]
struct EdgeLine<'a> {
    from: &'a str,
    tag: &'a str,
    to: &'a str,
    partitioning: &'a str,
}

impl<'a> EdgeLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (from, rest) = line.strip_prefix("edge ")?.split_once('[')?;
        let (tag, rest) = rest.split_once("] -> ")?;
        let (to, partitioning) = rest.split_once(' ')?;
        Some(Self { from, tag, to, partitioning })
    }
}

/// The type of a column of a node's main output: `Timestamp`, where `Timestamp(…)` stands.
fn column_type<'a>(fingerprint: &'a [String], node: &str, column: &str) -> Option<&'a str> {
    let columns = fingerprint.iter().find_map(|line| {
        let (kind, rest) = line.split_once(' ')?;
        let columns = rest.strip_prefix(node)?.strip_prefix(" -> ")?;
        matches!(kind, "source" | "operator" | "sink").then_some(columns)
    })?;
    let head = format!("{column}:");
    let found = columns.strip_prefix(head.as_str());
    let found = found.or_else(|| columns.split_once(&format!(",{head}")).map(|(_, rest)| rest))?;
    found.split(|c: char| !c.is_ascii_alphanumeric()).next()
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

    #[test]
    fn a_fingerprint_tells_of_which_types_those_columns_are() {
        let hash = |columns: &[&str]| {
            Partitioning::Hash(columns.iter().map(|column| (*column).to_owned()).collect())
        };
        let at = arrow_schema::DataType::Timestamp(
            arrow_schema::TimeUnit::Microsecond,
            Some("UTC".into()),
        );
        let fingerprint = [
            "job readings groups 128".to_owned(),
            format!("source readings -> ward:Utf8,at:{at},bed:Int32,ward_bed:Int64"),
            "operator count -> n:Int64".to_owned(),
            format!("edge readings[] -> passed {:?}", hash(&["bed", "at"])),
            format!("edge passed[] -> count {:?}", Partitioning::Forward),
            format!("edge readings[late] -> late {:?}", hash(&["ward"])),
            format!("edge readings[] -> wards {:?}", hash(&["ward", "unknown"])),
        ];
        let types = |uid: &str| {
            let uid = OperatorUid::new(uid).unwrap();
            let found = key_types(&fingerprint, &uid).into_iter();
            found.map(|(name, found)| format!("{name} {found}")).collect::<Vec<_>>()
        };
        assert_eq!(types("count"), ["at Timestamp", "bed Int32"]);
        assert_eq!(types("wards"), ["ward Utf8"]);
        for none in ["late", "readings", "another"] {
            assert!(types(none).is_empty(), "{none}");
        }
    }
}
