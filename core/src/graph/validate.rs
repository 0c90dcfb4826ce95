//! Everything that can be wrong with a graph, found at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use arrow_schema::SchemaRef;

use super::job_graph::{JobGraph, Node, NodeId, NodeKind, Partitioning};
use crate::OperatorUid;
use crate::key::key_columns;
use crate::sensitivity::{Sensitivity, sensitivities};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    place: Option<String>,
    text: String,
}

impl Problem {
    pub(crate) fn at(uid: &OperatorUid, text: impl Into<String>) -> Self {
        Self::named(uid.as_str(), text)
    }

    pub(crate) fn named(place: &str, text: impl Into<String>) -> Self {
        Self { place: Some(place.to_owned()), text: text.into() }
    }

    pub(crate) fn of_graph(text: impl Into<String>) -> Self {
        Self { place: None, text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "node `{place}`: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// All problems of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphErrors(pub(crate) Vec<Problem>);

impl GraphErrors {
    /// The problems, in the order in which the graph was written.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for GraphErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "the graph has {} problem(s): {}", texts.len(), texts.join("; "))
    }
}

impl std::error::Error for GraphErrors {}

impl From<GraphErrors> for crate::Error {
    fn from(errors: GraphErrors) -> Self {
        Self::graph(errors.to_string())
    }
}

pub(crate) fn check(
    graph: &JobGraph,
    side_outputs: &BTreeMap<(usize, &'static str), SchemaRef>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_uids(graph, &mut problems);
    check_shape(graph, &mut problems);
    check_keys(graph, &mut problems);
    check_event_time(graph, &mut problems);
    check_targets(graph, &mut problems);
    check_committers(graph, &mut problems);
    check_clearances(graph, side_outputs, &mut problems);
    problems
}

fn check_uids(graph: &JobGraph, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for node in &graph.nodes {
        if !seen.insert(&node.uid) {
            problems.push(Problem::at(&node.uid, "this uid is used twice"));
        }
    }
}

fn check_shape(graph: &JobGraph, problems: &mut Vec<Problem>) {
    if graph.max_parallelism == 0 || graph.max_parallelism > 32_768 {
        problems.push(Problem::of_graph("max parallelism must be 1 to 32768"));
    }
    if !graph.nodes.iter().any(|n| matches!(n.kind, NodeKind::Source(_))) {
        problems.push(Problem::of_graph("there is no source"));
    }
    if !graph.nodes.iter().any(|n| matches!(n.kind, NodeKind::Sink(_))) {
        problems.push(Problem::of_graph("there is no sink"));
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        if let Some(p) = node.parallelism
            && (p == 0 || p > u32::from(graph.max_parallelism))
        {
            let limit = graph.max_parallelism;
            problems.push(Problem::at(&node.uid, format!("parallelism must be 1 to {limit}")));
        }
        let mut names = BTreeSet::new();
        for field in node.output_schema.fields() {
            if !names.insert(field.name()) {
                let text = format!("column `{}` occurs twice", field.name());
                problems.push(Problem::at(&node.uid, text));
            }
        }
        // A side output does not have the rows of the main one.
        let consumed = graph.outputs(NodeId(index)).any(|edge| edge.tag.is_none());
        if !consumed && !matches!(node.kind, NodeKind::Sink(_)) {
            problems.push(Problem::at(&node.uid, "nothing consumes its rows: add a sink"));
        }
    }
}

fn check_keys(graph: &JobGraph, problems: &mut Vec<Problem>) {
    for edge in &graph.edges {
        let (Partitioning::Hash(keys), Some(to)) = (&edge.partitioning, graph.node(edge.to)) else {
            continue;
        };
        for key in keys {
            match to.input_schema.field_with_name(key) {
                Err(_) => problems
                    .push(Problem::at(&to.uid, format!("key column `{key}` is not in its input"))),
                // What hashing takes is what decoding makes.
                Ok(field) if key_columns(&[], &[field.data_type().clone()]).is_err() => {
                    let text =
                        format!("column `{key}` of type {} cannot be a key", field.data_type());
                    problems.push(Problem::at(&to.uid, text));
                }
                Ok(_) => {}
            }
        }
    }
}

/// Who waits for event time that nobody makes is done at the end of the input, and never where there is none.
fn check_event_time(graph: &JobGraph, problems: &mut Vec<Problem>) {
    for (index, node) in graph.nodes.iter().enumerate() {
        let NodeKind::Operator(factory) = &node.kind else { continue };
        if !factory.needs_event_time() || graph.is_timed(NodeId(index)) {
            continue;
        }
        let sources = graph.sources_of(NodeId(index));
        if let Some((endless, _)) = sources.iter().find(|(_, source)| !source.source.is_bounded()) {
            let text = format!(
                "it waits for event time, which no source before it makes: call `watermarks` on source `{}`",
                endless.uid
            );
            problems.push(Problem::at(&node.uid, text));
        }
    }
}

/// What a table holds is compared with what one sink has written (P19), and whoever looks after a place, or removes it,
/// takes what lies below it for a part of it.
fn check_targets(graph: &JobGraph, problems: &mut Vec<Problem>) {
    // Paths compare by their names: `a/b/` is `a/b`.
    let mut writers: BTreeMap<(String, PathBuf), &OperatorUid> = BTreeMap::new();
    for node in &graph.nodes {
        let NodeKind::Sink(sink) = &node.kind else { continue };
        // One that cannot take its input has said so already.
        let Ok(target) = sink.target(&node.input_schema) else { continue };
        if sink.shares_target() {
            continue;
        }
        let path = target.path.clone();
        if let Some(first) = writers.insert((target.kind, target.path.into()), &node.uid) {
            let text = format!(
                "it writes to `{path}`, as sink `{first}` does: give each sink a place of its own"
            );
            problems.push(Problem::at(&node.uid, text));
        }
    }
    for ((kind, path), uid) in &writers {
        for outer in path.ancestors().skip(1) {
            if let Some(first) = writers.get(&(kind.clone(), outer.to_path_buf())) {
                let text = format!(
                    "it writes to `{}`, which lies inside of `{}`, the place of sink `{first}`: put it beside that",
                    path.display(),
                    outer.display()
                );
                problems.push(Problem::at(uid, text));
            }
        }
    }
}

/// A checkpoint knows what waits by its kind alone: two clusters or two roots of one kind would be taken for one.
fn check_committers(graph: &JobGraph, problems: &mut Vec<Problem>) {
    let mut committers: BTreeMap<&str, (usize, &OperatorUid)> = BTreeMap::new();
    for node in &graph.nodes {
        let NodeKind::Sink(sink) = &node.kind else { continue };
        let committer = sink.committer();
        let (kind, identity) = (committer.kind(), committer.identity());
        let (first, uid) = committers.entry(kind).or_insert((identity, &node.uid));
        if *first != identity {
            let text = format!(
                "its committer is another than that of sink `{uid}`: give all sinks of kind `{kind}` the same one"
            );
            problems.push(Problem::at(&node.uid, text));
        }
    }
}

/// No column may reach a sink that is not cleared for it; the problem names the way it took.
fn check_clearances(
    graph: &JobGraph,
    side_outputs: &BTreeMap<(usize, &'static str), SchemaRef>,
    problems: &mut Vec<Problem>,
) {
    for (index, node) in graph.nodes.iter().enumerate() {
        let NodeKind::Sink(sink) = &node.kind else { continue };
        let clearance = sink.clearance();
        for field in node.input_schema.fields() {
            for sensitivity in sensitivities(field) {
                if clearance.allows(sensitivity) {
                    continue;
                }
                let (path, origin) = path_of(graph, side_outputs, NodeId(index), field.name());
                let origin = graph.node(origin).unwrap_or(node);
                let inherited = inherited(origin, field.name(), sensitivity);
                problems.push(Problem::at(
                    &node.uid,
                    format!(
                        "column `{}` ({sensitivity}) reaches this sink unmasked by {path}{inherited}; mask or drop it, or clear the sink",
                        field.name()
                    ),
                ));
            }
        }
    }
}

/// The nodes from where the marked column appears down to the sink, and the first of them.
fn path_of(
    graph: &JobGraph,
    side_outputs: &BTreeMap<(usize, &'static str), SchemaRef>,
    sink: NodeId,
    column: &str,
) -> (String, NodeId) {
    let (mut names, mut origin) = (Vec::new(), sink);
    let mut at = Some(sink);
    while let Some(id) = at {
        let Some(node) = graph.node(id) else { break };
        names.push(node.uid.as_str().to_owned());
        origin = id;
        at = graph
            .inputs(id)
            .find(|edge| {
                let schema = match edge.tag {
                    None => graph.node(edge.from).map(|n| &n.output_schema),
                    Some(tag) => side_outputs.get(&(edge.from.0, tag)),
                };
                schema.is_some_and(|s| {
                    s.field_with_name(column).is_ok_and(|f| !sensitivities(f).is_empty())
                })
            })
            .map(|edge| edge.from);
    }
    names.reverse();
    (names.join(" -> "), origin)
}

/// The columns that a column has its mark from, where it was made by a node that the graph cannot look into.
fn inherited(origin: &Node, column: &str, sensitivity: Sensitivity) -> String {
    let fields = origin.input_schema.fields().iter();
    let marked = fields.filter(|field| sensitivities(field).contains(&sensitivity));
    let names: Vec<&str> = marked.map(|field| field.name().as_str()).collect();
    if names.is_empty() || names.contains(&column) {
        return String::new();
    }
    format!(", inherited from `{}`", names.join("`, `"))
}
