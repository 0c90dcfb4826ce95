//! Where a graph begins: collects nodes, edges and problems.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};

use super::job_graph::{Edge, JobGraph, Node, NodeId, NodeKind, Partitioning, SourceNode};
use super::stream::DataStream;
use super::validate::{self, GraphErrors, Problem};
use crate::connector::sink::Sink;
use crate::connector::source::Source;
use crate::operator::SharedFactory;
use crate::record::{Record, misfits};
use crate::watermark::{ROW_WATERMARK, WatermarkStrategy};
use crate::{OperatorUid, Result};

/// Key groups when nothing else is said; fixed for the life of a chain of checkpoints.
pub const DEFAULT_MAX_PARALLELISM: u16 = 128;

/// Collects a graph. Streams borrow it, so they can be copied and used twice.
#[derive(Debug)]
pub struct StreamEnvironment {
    name: String,
    max_parallelism: u16,
    draft: RefCell<Draft>,
}

#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) nodes: Vec<Node>,
    pub(crate) side_outputs: BTreeMap<(usize, &'static str), SchemaRef>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) problems: Vec<Problem>,
}

impl StreamEnvironment {
    /// An empty graph of a job called `name` (letters, digits, `.`, `_`, `-`).
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            max_parallelism: DEFAULT_MAX_PARALLELISM,
            draft: RefCell::default(),
        }
    }

    /// Number of key groups, the bound of every parallelism. Default 128; never change it for a job that has
    /// checkpoints.
    #[must_use]
    pub fn max_parallelism(mut self, groups: u16) -> Self {
        self.max_parallelism = groups;
        self
    }

    /// Reads `source` as records of `R`, whose columns it must have; others pass along.
    pub fn source<R: Record>(&self, uid: &str, source: impl Source + 'static) -> DataStream<'_, R> {
        self.shared_source(uid, Arc::new(source))
    }

    /// As [`StreamEnvironment::source`], for a source that is shared already.
    pub fn shared_source<R: Record>(
        &self,
        uid: &str,
        source: Arc<dyn Source>,
    ) -> DataStream<'_, R> {
        let schema = source.schema();
        let kind = NodeKind::Source(SourceNode { source, watermarks: None });
        let id = self.add(uid, kind, Arc::clone(&schema), Arc::clone(&schema));
        // Watermarks, which come later, add their own column.
        let record = R::schema();
        let fields = record.fields().iter().filter(|field| field.name() != ROW_WATERMARK);
        for text in misfits(&schema, &Schema::new(fields.cloned().collect::<Vec<_>>())) {
            self.problem_at(id, text);
        }
        DataStream::new(self, id, None)
    }

    pub(crate) fn set_watermarks(&self, id: NodeId, strategy: WatermarkStrategy) {
        let mut draft = self.draft.borrow_mut();
        // Whoever reads it was planned for rows without the column that watermarks add.
        let is_used = draft.edges.iter().any(|edge| edge.from == id);
        let Some(node) = draft.nodes.get_mut(id.0) else { return };
        let uid = node.uid.clone();
        match (&mut node.kind, strategy.output_schema(&node.input_schema)) {
            (NodeKind::Source(source), Ok(schema)) => {
                source.watermarks = Some(strategy);
                node.output_schema = schema;
                if is_used {
                    let text =
                        "it is used already: call `watermarks` before anything reads the stream";
                    draft.problems.push(Problem::at(&uid, text));
                }
            }
            (_, Err(error)) => draft.problems.push(Problem::at(&uid, error.to_string())),
            (_, Ok(_)) => {
                draft.problems.push(Problem::at(&uid, "watermarks are made at the source"));
            }
        }
    }

    pub(crate) fn operator(
        &self,
        uid: &str,
        factory: SharedFactory,
        from: &[(NodeId, Option<&'static str>)],
        partitioning: &Partitioning,
        parallelism: Option<u32>,
    ) -> NodeId {
        let input = self.schema_of_all(uid, from);
        if let Some(record) = factory.input_record() {
            self.check_record(uid, &input, &record);
        }
        let output = factory.output_schema(&input).unwrap_or_else(|error| {
            self.problem(uid, error.to_string());
            Arc::new(Schema::empty())
        });
        let sides = factory.side_outputs(&input).unwrap_or_else(|error| {
            self.problem(uid, error.to_string());
            Vec::new()
        });
        let id = self.add(uid, NodeKind::Operator(factory), input, output);
        let mut draft = self.draft.borrow_mut();
        for side in sides {
            draft.side_outputs.insert((id.0, side.tag), side.schema);
        }
        if let Some(node) = draft.nodes.get_mut(id.0) {
            node.parallelism = parallelism;
        }
        for (from, tag) in from.iter().copied() {
            let partitioning = partitioning.clone();
            draft.edges.push(Edge { from, tag, to: id, partitioning });
        }
        id
    }

    /// The columns of all inputs of a node, which must be the same in each: an operator is planned for one schema.
    fn schema_of_all(&self, uid: &str, from: &[(NodeId, Option<&'static str>)]) -> SchemaRef {
        let mut inputs = from.iter().map(|input| self.schema_of(*input));
        let first = inputs.next().unwrap_or_else(|| Arc::new(Schema::empty()));
        for other in inputs {
            let mut pairs = first.fields().iter().zip(other.fields());
            let column = pairs.find(|(a, b)| a != b).map(|(a, _)| a.name().clone());
            if let Some(column) = column {
                let text = format!("its inputs differ in column `{column}`, or in its marks");
                self.problem(uid, text);
            } else if first.fields().len() != other.fields().len() {
                self.problem(uid, "its inputs have different numbers of columns");
            }
        }
        first
    }

    /// Says what keeps rows of an operator from being read as records. Without any columns it has a problem already.
    pub(crate) fn check_record(&self, place: &str, found: &Schema, wanted: &Schema) {
        if !found.fields().is_empty() {
            for text in misfits(found, wanted) {
                self.problem(place, text);
            }
        }
    }

    pub(crate) fn sink(
        &self,
        uid: &str,
        sink: Arc<dyn Sink>,
        from: (NodeId, Option<&'static str>),
    ) {
        let input = self.schema_of(from);
        let parallelism = sink.parallelism();
        if let Err(error) = sink.target(&input) {
            self.problem(uid, error.to_string());
        }
        let id = self.add(uid, NodeKind::Sink(sink), input, Arc::new(Schema::empty()));
        let mut draft = self.draft.borrow_mut();
        if let Some(node) = draft.nodes.get_mut(id.0) {
            node.parallelism = parallelism;
        }
        let partitioning =
            if parallelism.is_some() { Partitioning::Rebalance } else { Partitioning::Forward };
        draft.edges.push(Edge { from: from.0, tag: from.1, to: id, partitioning });
    }

    fn add(&self, uid: &str, kind: NodeKind, input: SchemaRef, output: SchemaRef) -> NodeId {
        let mut draft = self.draft.borrow_mut();
        let uid = match OperatorUid::new(uid) {
            Ok(uid) => uid,
            Err(error) => {
                draft.problems.push(Problem::of_graph(error.to_string()));
                fallback_uid(draft.nodes.len())
            }
        };
        draft.nodes.push(Node {
            uid,
            kind,
            input_schema: input,
            output_schema: output,
            parallelism: None,
        });
        NodeId(draft.nodes.len() - 1)
    }

    pub(crate) fn schema_of(&self, (id, tag): (NodeId, Option<&'static str>)) -> SchemaRef {
        let draft = self.draft.borrow();
        match tag {
            None => draft.nodes.get(id.0).map(|n| Arc::clone(&n.output_schema)),
            Some(tag) => draft.side_outputs.get(&(id.0, tag)).map(Arc::clone),
        }
        .unwrap_or_else(|| Arc::new(Schema::empty()))
    }

    pub(crate) fn has_side_output(&self, id: NodeId, tag: &'static str) -> bool {
        self.draft.borrow().side_outputs.contains_key(&(id.0, tag))
    }

    pub(crate) fn problem(&self, place: &str, text: impl Into<String>) {
        self.draft.borrow_mut().problems.push(Problem::named(place, text));
    }

    pub(crate) fn problem_at(&self, id: NodeId, text: impl Into<String>) {
        let mut draft = self.draft.borrow_mut();
        let problem = match draft.nodes.get(id.0) {
            Some(node) => Problem::at(&node.uid, text),
            None => Problem::of_graph(text),
        };
        draft.problems.push(problem);
    }

    /// The graph, if nothing is wrong with it.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn build(self) -> Result<JobGraph, GraphErrors> {
        let mut draft = self.draft.into_inner();
        if OperatorUid::new(&self.name).is_err() {
            draft.problems.push(Problem::of_graph(format!(
                "job name `{}` must be 1 to 64 characters of a-z A-Z 0-9 . _ -",
                self.name
            )));
        }
        let graph = JobGraph {
            name: self.name,
            max_parallelism: self.max_parallelism,
            nodes: draft.nodes,
            edges: draft.edges,
        };
        let mut problems = draft.problems;
        problems.extend(validate::check(&graph, &draft.side_outputs));
        if problems.is_empty() { Ok(graph) } else { Err(GraphErrors(problems)) }
    }
}

fn fallback_uid(index: usize) -> OperatorUid {
    #[expect(clippy::expect_used, reason = "letters and digits are a legal uid")]
    OperatorUid::new(&format!("node-{index}")).expect("legal")
}
