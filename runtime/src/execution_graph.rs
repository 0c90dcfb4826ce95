//! From the logical graph to tasks: which nodes are chained, how many subtasks each chain has, and which exchanges
//! lie between. Pure.

use thalweg_core::graph::{Edge, JobGraph, NodeId, NodeKind, Partitioning};
use thalweg_core::{Error, Result};

/// A chain of nodes that run in one subtask, `parallelism` times.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// Its nodes in topological order; the first is the head.
    pub(crate) nodes: Vec<NodeId>,
    /// How many subtasks.
    pub(crate) parallelism: u32,
    /// Where the head's rows come from; nowhere, for a source.
    pub(crate) inputs: Vec<Exchange>,
}

/// An edge between two tasks.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) from: NodeId,
    pub(crate) tag: Option<&'static str>,
    pub(crate) partitioning: Partitioning,
    /// Whether watermarks come this way. Beside one that has them, an exchange without does not hold back event time.
    pub(crate) timed: bool,
}

/// All tasks, in topological order.
#[derive(Debug, Clone)]
pub(crate) struct ExecutionGraph {
    pub(crate) tasks: Vec<Task>,
}

impl ExecutionGraph {
    /// Chains what `Forward` edges connect at one parallelism.
    pub(crate) fn new(graph: &JobGraph, parallelism: u32) -> Result<Self> {
        let limit = u32::from(graph.max_parallelism());
        if parallelism == 0 || parallelism > limit {
            return Err(Error::config(format!("parallelism must be 1 to {limit}")));
        }
        let mut tasks: Vec<Task> = Vec::new();
        let mut task_of: Vec<usize> = Vec::new();
        for (index, node) in graph.nodes().iter().enumerate() {
            let id = NodeId(index);
            let edges: Vec<&Edge> = graph.inputs(id).collect();
            if edges.is_empty() && !matches!(node.kind, NodeKind::Source(_)) {
                return Err(Error::internal(format!("node `{}` has no input", node.uid)));
            }
            if let [edge] = edges.as_slice()
                && edge.partitioning == Partitioning::Forward
                && let Some(&upstream) = task_of.get(edge.from.0)
                && let Some(task) = tasks.get_mut(upstream)
                && node.parallelism.is_none_or(|p| p == task.parallelism)
            {
                task.nodes.push(id);
                task_of.push(upstream);
                continue;
            }
            let inputs: Vec<Exchange> = edges
                .into_iter()
                .map(|edge| Exchange {
                    from: edge.from,
                    tag: edge.tag,
                    partitioning: match &edge.partitioning {
                        // Another parallelism than upstream's: there is no "same" subtask to forward to.
                        Partitioning::Forward => Partitioning::Rebalance,
                        other => other.clone(),
                    },
                    timed: graph.is_timed(edge.from),
                })
                .collect();
            let all_to_one = inputs
                .iter()
                .any(|i| matches!(&i.partitioning, Partitioning::Hash(k) if k.is_empty()));
            let wanted = if all_to_one { 1 } else { node.parallelism.unwrap_or(parallelism) };
            task_of.push(tasks.len());
            tasks.push(Task { nodes: vec![id], parallelism: wanted, inputs });
        }
        Ok(Self { tasks })
    }

    /// Subtasks altogether.
    pub(crate) fn subtasks(&self) -> usize {
        self.tasks.iter().map(|t| t.parallelism as usize).sum()
    }
}
