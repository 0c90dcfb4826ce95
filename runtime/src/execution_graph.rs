//! From the logical graph to tasks: which nodes are chained, how many subtasks each chain has, and which exchanges
//! lie between. Pure.

use thalweg_core::graph::{Edge, JobGraph, NodeId, NodeKind, Partitioning};
use thalweg_core::{Error, OperatorUid, Result, Watermark};

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

/// What a node had heard of event time at a checkpoint, by what its sources had told by then, all subtasks of each: that of
/// the slowest with event time. Behind a barrier everybody has heard all that was told in front of it, and no more, whatever
/// the parallelism; `None` where there is no event time.
pub(crate) fn heard(
    graph: &JobGraph,
    id: NodeId,
    told: impl Fn(&OperatorUid) -> Watermark,
) -> Option<Watermark> {
    let sources = graph.sources_of(id).into_iter();
    let timed = sources.filter(|(_, source)| source.watermarks.is_some());
    timed.map(|(node, _)| told(&node.uid)).min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow_schema::SchemaRef;
    use thalweg_connectors::memory::{MemorySource, MemoryStore};
    use thalweg_core::Record;
    use thalweg_core::graph::StreamEnvironment;
    use thalweg_core::operator::{OpenContext, Operator, OperatorFactory};
    use thalweg_core::record::Micros;
    use thalweg_core::watermark::WatermarkStrategy;

    use super::*;

    #[derive(Record)]
    #[expect(dead_code, reason = "only its columns are used")]
    struct Row {
        key: i64,
        at: Micros,
    }

    /// An operator that is drawn only.
    #[derive(Debug)]
    struct Columns;

    impl OperatorFactory for Columns {
        fn describe(&self) -> String {
            "columns".to_owned()
        }
        fn output_schema(&self, _: &SchemaRef) -> Result<SchemaRef> {
            Ok(Row::schema())
        }
        fn create(&self, _: OpenContext) -> Result<Box<dyn Operator>> {
            Err(Error::internal("nothing runs"))
        }
    }

    #[test]
    fn a_node_has_heard_of_the_slowest_source_with_event_time_in_front_of_it() {
        let store = MemoryStore::default();
        let strategy =
            || WatermarkStrategy::bounded_out_of_orderness(Row::AT, Duration::from_secs(1));
        let env = StreamEnvironment::new("heard");
        let source = || MemorySource::new(Row::schema());
        let slow = env.source::<Row>("slow", source()).watermarks(strategy());
        let fast = env.source::<Row>("fast", source()).watermarks(strategy());
        let untimed = env.source::<Row>("untimed", source());
        fast.sink("fast-rows", store.sink("fast"));
        untimed.sink("untimed-rows", store.sink("untimed"));
        fast.apply("fast-columns", Columns)
            .key_by(Row::KEY)
            .union(slow.apply("slow-columns", Columns).key_by(Row::KEY))
            .union(untimed.key_by(Row::KEY))
            .transform::<Row>("all", Columns)
            .sink("all-rows", store.sink("all"));
        let graph = env.build().unwrap();
        let told = |source: &OperatorUid| match source.as_str() {
            "slow" => Watermark(5),
            "fast" => Watermark(9),
            _ => Watermark::MIN,
        };
        let heard_at = |uid: &str| {
            let node = graph.nodes().iter().position(|n| n.uid.as_str() == uid).unwrap();
            heard(&graph, NodeId(node), told)
        };
        assert_eq!(heard_at("slow"), Some(Watermark(5)));
        assert_eq!(heard_at("fast-rows"), Some(Watermark(9)));
        assert_eq!(heard_at("untimed-rows"), None);
        assert_eq!(heard_at("all-rows"), Some(Watermark(5)));
    }
}
