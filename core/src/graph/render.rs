//! The graph as text and as Mermaid.

use super::job_graph::{JobGraph, Node, NodeId, NodeKind, Partitioning};
use crate::sensitivity::all_sensitivities;

impl JobGraph {
    /// One line per node, indented below what feeds it first.
    pub fn to_text(&self) -> String {
        let mut text = format!("job {} ({} key groups)\n", self.name(), self.max_parallelism());
        for (index, node) in self.nodes().iter().enumerate() {
            let mut inputs: Vec<String> = Vec::new();
            for edge in self.inputs(NodeId(index)) {
                let from = self.node(edge.from).map_or("?", |n| n.uid.as_str());
                let tag = edge.tag.map(|t| format!("[{t}]")).unwrap_or_default();
                inputs.push(format!("{from}{tag}{}", partitioning(&edge.partitioning)));
            }
            let from = if inputs.is_empty() {
                String::new()
            } else {
                format!(" <- {}", inputs.join(", "))
            };
            let line =
                format!("  {} {}: {}{from}{}\n", kind(node), node.uid, describe(node), marks(node));
            text.push_str(&line);
        }
        text
    }

    /// A Mermaid flowchart.
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (index, node) in self.nodes().iter().enumerate() {
            let label = format!("{}<br/>{}", node.uid, describe(node)).replace('"', "'");
            let shape = match node.kind {
                NodeKind::Source(_) => format!("n{index}([\"{label}\"])"),
                NodeKind::Operator(_) => format!("n{index}[\"{label}\"]"),
                NodeKind::Sink(_) => format!("n{index}[(\"{label}\")]"),
            };
            text.push_str(&format!("  {shape}\n"));
        }
        for edge in self.edges() {
            let mut label = edge.tag.map(str::to_owned).unwrap_or_default();
            label.push_str(&partitioning(&edge.partitioning));
            let arrow =
                if label.is_empty() { "-->".to_owned() } else { format!("-->|{}|", label.trim()) };
            text.push_str(&format!("  n{} {arrow} n{}\n", edge.from.0, edge.to.0));
        }
        text
    }
}

fn kind(node: &Node) -> &'static str {
    match node.kind {
        NodeKind::Source(_) => "source",
        NodeKind::Operator(_) => "operator",
        NodeKind::Sink(_) => "sink",
    }
}

fn describe(node: &Node) -> String {
    match &node.kind {
        NodeKind::Source(source) => source.source.describe(),
        NodeKind::Operator(factory) => factory.describe(),
        NodeKind::Sink(sink) => sink.describe(),
    }
}

fn marks(node: &Node) -> String {
    let marks = all_sensitivities(&node.output_schema);
    if marks.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = marks.iter().map(|m| m.as_str()).collect();
    format!(" {{{}}}", names.join(", "))
}

fn partitioning(partitioning: &Partitioning) -> String {
    match partitioning {
        Partitioning::Forward => String::new(),
        Partitioning::Hash(keys) if keys.is_empty() => " (all to one)".to_owned(),
        Partitioning::Hash(keys) => format!(" (by {})", keys.join(", ")),
        Partitioning::Rebalance => " (rebalanced)".to_owned(),
    }
}
