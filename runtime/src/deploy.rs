//! Makes the subtasks of one attempt: channels, chains, writers, readers, each with its share of the restored state.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use actix::Recipient;
use thalweg_core::checkpoint::manifest::SplitSnapshot;
use thalweg_core::connector::sink::{IoHandle, WriterContext};
use thalweg_core::graph::{JobGraph, Node, NodeId, NodeKind};
use thalweg_core::key::KeyGroupRange;
use thalweg_core::operator::{OpenContext, Promised, StateBlob};
use thalweg_core::watermark::{SourceWatermarks, SplitWatermarks};
use thalweg_core::{Attempt, Error, OperatorUid, Result, SubtaskIndex, Watermark, failpoint};
use tokio::sync::{mpsc, watch};

use crate::checkpoint::recover::{JobContext, Restored};
use crate::checkpoint::staging::SinkStaging;
use crate::checkpoint::state_files::StateStore;
use crate::exchange::{InputGate, Partitioner, Receiver, channel};
use crate::execution_graph::{Exchange, ExecutionGraph, Task, heard};
use crate::metrics::{JobMetrics, NodeMetrics};
use crate::settings::Settings;
use crate::subtask::{
    Budget, Chain, ChainNode, Checkpointer, Emitter, OutgoingEdge, Output, Pump, SinkSlot,
    SourceWork, SubtaskEvent, SubtaskPlan, Target, TaskWork, Work,
};

/// What all subtasks of an attempt share.
pub(crate) struct Deployment<'a> {
    pub(crate) attempt: Attempt,
    pub(crate) context: &'a JobContext,
    pub(crate) execution: &'a ExecutionGraph,
    pub(crate) settings: &'a Settings,
    pub(crate) metrics: &'a JobMetrics,
    pub(crate) restored: &'a Restored,
    /// Operator state; every subtask takes its own out.
    pub(crate) state: RefCell<BTreeMap<OperatorUid, Vec<StateBlob>>>,
    pub(crate) store: Arc<StateStore>,
    pub(crate) io: IoHandle,
    pub(crate) events: Recipient<SubtaskEvent>,
    pub(crate) cancel: watch::Receiver<bool>,
    pub(crate) alive: mpsc::Sender<()>,
    pub(crate) budget: Budget,
    pub(crate) activity: Arc<AtomicU64>,
    /// Readers are tasks, not threads.
    pub(crate) readers_here: bool,
}

/// The subtasks.
#[derive(Default)]
pub(crate) struct Deployed {
    pub(crate) plans: Vec<SubtaskPlan>,
    /// Source subtasks: source and index into `plans`.
    pub(crate) sources: Vec<(OperatorUid, usize)>,
}

/// An exchange, with the node and output it leaves from.
type Leaving = (NodeId, Option<&'static str>, OutgoingEdge);

/// What subtasks share: the ends of all exchanges, by task and subtask, and the event time of each source.
#[derive(Default)]
struct Wiring {
    /// With whether their watermarks count.
    inputs: BTreeMap<(usize, u32), Vec<(Receiver, bool)>>,
    outputs: BTreeMap<(usize, u32), Vec<Leaving>>,
    times: BTreeMap<usize, Arc<SourceWatermarks>>,
}

/// What a source subtask hears of event time.
struct Times {
    own: Arc<SourceWatermarks>,
    others: Vec<Arc<SourceWatermarks>>,
}

impl Deployment<'_> {
    /// Makes all subtasks. Threads that are to be joined when they end go to `readers` as they are started: also when a
    /// later subtask cannot be made.
    pub(crate) fn build(&self, readers: &mut Vec<JoinHandle<()>>) -> Result<Deployed> {
        let mut wiring = self.wire()?;
        let mut deployed = Deployed::default();
        for (index, task) in self.execution.tasks.iter().enumerate() {
            for subtask in 0..task.parallelism {
                let reader = self.subtask(index, task, subtask, &mut wiring, &mut deployed)?;
                readers.extend(reader);
            }
        }
        Ok(deployed)
    }

    fn graph(&self) -> &JobGraph {
        &self.context.graph
    }

    fn node(&self, id: NodeId) -> Result<&Node> {
        self.graph().node(id).ok_or_else(|| Error::internal("a task names an unknown node"))
    }

    fn wire(&self) -> Result<Wiring> {
        let mut wiring = Wiring::default();
        for (index, task) in self.execution.tasks.iter().enumerate() {
            if task.inputs.is_empty() {
                let time = SourceWatermarks::new(task.parallelism as usize);
                wiring.times.insert(index, Arc::new(time));
            }
            let timed = task.inputs.iter().any(|exchange| exchange.timed);
            for exchange in &task.inputs {
                // Where no input knows event time, its end is waited for.
                let counts = exchange.timed || !timed;
                self.connect((index, task), exchange, counts, &mut wiring)?;
            }
        }
        Ok(wiring)
    }

    /// The channels of one exchange; `counts` says whether its watermarks do.
    fn connect(
        &self,
        (index, task): (usize, &Task),
        exchange: &Exchange,
        counts: bool,
        wiring: &mut Wiring,
    ) -> Result<()> {
        let upstream = self
            .execution
            .tasks
            .iter()
            .position(|t| t.nodes.contains(&exchange.from))
            .ok_or_else(|| Error::internal("an exchange from an unknown task"))?;
        let from = self.execution.tasks.get(upstream).map_or(1, |t| t.parallelism);
        for sender_index in 0..from {
            let mut senders = Vec::new();
            for subtask in 0..task.parallelism {
                let (sender, receiver) = channel(self.settings.channel_rows);
                senders.push(sender);
                wiring.inputs.entry((index, subtask)).or_default().push((receiver, counts));
            }
            let partitioner = Partitioner::new(
                exchange.partitioning.clone(),
                task.parallelism,
                self.graph().max_parallelism(),
                sender_index,
            );
            wiring.outputs.entry((upstream, sender_index)).or_default().push((
                exchange.from,
                exchange.tag,
                OutgoingEdge { partitioner, senders },
            ));
        }
        Ok(())
    }

    /// Makes one subtask. Returns its reader's thread, if it has one.
    fn subtask(
        &self,
        index: usize,
        task: &Task,
        subtask: u32,
        wiring: &mut Wiring,
        deployed: &mut Deployed,
    ) -> Result<Option<JoinHandle<()>>> {
        let head = task.nodes.first().ok_or_else(|| Error::internal("an empty task"))?;
        let head = self.node(*head)?;
        let number = deployed.plans.len();
        let (chain, emitter) = self.chain(index, task, subtask, wiring)?;
        let (give_back, returned) = std::sync::mpsc::channel();
        let checkpointer = Checkpointer {
            attempt: self.attempt,
            subtask: number,
            events: self.events.clone(),
            io: self.io.clone(),
            store: Arc::clone(&self.store),
            previous: Vec::new(),
            returned,
            give_back,
        };
        let (mut orders, mut thread) = (None, None);
        let work = if let NodeKind::Source(_) = &head.kind {
            let (sender, receiver) = mpsc::channel(64);
            orders = Some(sender);
            deployed.sources.push((head.uid.clone(), number));
            let parts = (chain, emitter, checkpointer, self.times(index, wiring)?);
            let (source, reader) = self.source(head, task, subtask, parts, receiver)?;
            thread = reader;
            Work::Source(Box::new(source))
        } else {
            let inputs = wiring.inputs.remove(&(index, subtask)).unwrap_or_default();
            let gate = InputGate::new(inputs, self.restored.manifest.number);
            Work::Task(Box::new(TaskWork { gate, chain, emitter, checkpointer }))
        };
        deployed.plans.push(SubtaskPlan {
            attempt: self.attempt,
            subtask: number,
            name: format!("chain `{}`, subtask {subtask}", head.uid),
            work,
            orders,
            events: self.events.clone(),
            cancel: self.cancel.clone(),
            alive: self.alive.clone(),
        });
        Ok(thread)
    }

    fn times(&self, index: usize, wiring: &Wiring) -> Result<Times> {
        let own = wiring.times.get(&index).cloned();
        let own = own.ok_or_else(|| Error::internal("a source without event time"))?;
        let others = wiring.times.iter().filter(|(other, _)| **other != index);
        let others = others.filter(|(other, _)| self.is_timed(**other));
        Ok(Times { own, others: others.map(|(_, time)| Arc::clone(time)).collect() })
    }

    /// Whether a task is that of a source with event time.
    fn is_timed(&self, task: usize) -> bool {
        let head = self.execution.tasks.get(task).and_then(|t| t.nodes.first());
        let head = head.and_then(|head| self.graph().node(*head)).map(|node| &node.kind);
        matches!(head, Some(NodeKind::Source(source)) if source.watermarks.is_some())
    }

    fn open_context(&self, node: &Node, task: &Task, subtask: u32) -> OpenContext {
        let groups = self.graph().max_parallelism();
        OpenContext {
            uid: node.uid.clone(),
            subtask: SubtaskIndex(subtask),
            parallelism: task.parallelism,
            max_parallelism: groups,
            key_groups: KeyGroupRange::of_subtask(subtask, task.parallelism, groups),
            input_schema: Arc::clone(&node.input_schema),
        }
    }

    fn take_state(&self, open: &OpenContext) -> Vec<StateBlob> {
        let mut state = self.state.borrow_mut();
        let Some(all) = state.get_mut(&open.uid) else { return Vec::new() };
        all.extract_if(.., |blob| open.key_groups.contains(blob.key_group)).collect()
    }

    /// The task's operators and sinks, wired to each other and to the exchanges behind them.
    fn chain(
        &self,
        index: usize,
        task: &Task,
        subtask: u32,
        wiring: &mut Wiring,
    ) -> Result<(Chain, Emitter)> {
        let mut emitter = Emitter { edges: Vec::new(), sinks: Vec::new() };
        let mut places: BTreeMap<NodeId, Target> = BTreeMap::new();
        let mut nodes: Vec<(NodeId, ChainNode)> = Vec::new();
        for (position, id) in task.nodes.iter().enumerate() {
            let node = self.node(*id)?;
            let open = self.open_context(node, task, subtask);
            let mut outputs = Vec::new();
            let (mut operator, mut promised) = (None, Promised::default());
            let mut metrics = self.metrics.node(node.uid.as_str());
            match &node.kind {
                NodeKind::Source(_) => {}
                NodeKind::Operator(factory) => {
                    let at = |e: Error| e.at(format!("operator `{}`", node.uid));
                    let mut made = factory.create(open.clone()).map_err(at)?;
                    promised = Promised::of(&**factory, &node.input_schema).map_err(at)?;
                    let blobs = self.take_state(&open);
                    if !blobs.is_empty() {
                        failpoint::hit("operator.restore")?;
                        made.restore(blobs).map_err(at)?;
                    }
                    operator = Some(made);
                }
                NodeKind::Sink(sink) => {
                    let made = sink.writer(WriterContext {
                        subtask: SubtaskIndex(subtask),
                        attempt: self.attempt,
                        schema: Arc::clone(&node.input_schema),
                        io: self.io.clone(),
                        staging: Arc::new(SinkStaging {
                            store: Arc::clone(&self.store),
                            uid: node.uid.clone(),
                            subtask: SubtaskIndex(subtask),
                            restored: self.restored.manifest.number,
                        }),
                    });
                    let writer = made.map_err(|e| e.at(format!("sink `{}`", node.uid)))?;
                    let slot = Target::Sink(emitter.sinks.len());
                    let uid = node.uid.clone();
                    emitter.sinks.push(SinkSlot { uid, writer, metrics: Arc::clone(&metrics) });
                    if position > 0 {
                        places.insert(*id, slot);
                        continue;
                    }
                    // A sink at the head: rows pass through to it, and are counted there.
                    outputs.push(Output { tag: None, target: slot });
                    metrics = Arc::new(NodeMetrics::default());
                }
            }
            places.insert(*id, Target::Operator(nodes.len()));
            nodes.push((*id, ChainNode { open, operator, promised, outputs, metrics }));
        }
        for (id, node) in &mut nodes {
            for edge in self.graph().outputs(*id) {
                if task.nodes.contains(&edge.to)
                    && let Some(target) = places.get(&edge.to)
                {
                    node.outputs.push(Output { tag: edge.tag, target: *target });
                }
            }
        }
        for (from, tag, edge) in wiring.outputs.remove(&(index, subtask)).unwrap_or_default() {
            let target = Target::Edge(emitter.edges.len());
            emitter.edges.push(edge);
            if let Some((_, node)) = nodes.iter_mut().find(|(id, _)| *id == from) {
                node.outputs.push(Output { tag, target });
            }
        }
        let head = *task.nodes.first().ok_or_else(|| Error::internal("an empty task"))?;
        let heard = heard(self.graph(), head, |source| self.told(source));
        let chain = nodes.into_iter().map(|(_, n)| n).collect();
        Ok((Chain::new(chain, heard.unwrap_or(Watermark::MIN)), emitter))
    }

    /// What all subtasks of a source had told of event time at the checkpoint.
    fn told(&self, source: &OperatorUid) -> Watermark {
        let known = self.restored.manifest.sources.iter().find(|s| s.uid == *source);
        known.and_then(|s| s.watermark).map_or(Watermark::MIN, Watermark)
    }

    fn source(
        &self,
        node: &Node,
        task: &Task,
        subtask: u32,
        (chain, emitter, checkpointer, times): (Chain, Emitter, Checkpointer, Times),
        orders: mpsc::Receiver<crate::subtask::Order>,
    ) -> Result<(SourceWork, Option<JoinHandle<()>>)> {
        let NodeKind::Source(source) = &node.kind else {
            return Err(Error::internal("a source subtask without a source"));
        };
        let known = self.restored.manifest.sources.iter().filter(|s| s.uid == node.uid);
        let found = self.restored.discovered.get(&node.uid).into_iter().flatten();
        let mine: Vec<SplitSnapshot> = known
            .flat_map(|s| &s.splits)
            .chain(found)
            .enumerate()
            .filter(|(i, _)| *i as u32 % task.parallelism == subtask)
            .map(|(_, s)| s.clone())
            .collect();
        let now = self.context.clock.monotonic();
        let watermarks = match &source.watermarks {
            None => None,
            Some(strategy) => {
                let mut watermarks = SplitWatermarks::new(strategy.clone(), &node.input_schema)?;
                for s in &mine {
                    watermarks.add(s, now);
                }
                Some(watermarks)
            }
        };
        let unfinished =
            mine.iter().filter(|s| !s.split.is_finished()).map(|s| s.split.clone()).collect();
        let name = format!("{}-{subtask}", node.uid);
        let reader = source.source.reader();
        let reader = reader.map_err(|e| e.at(format!("source `{}`", node.uid)))?;
        let (pump, reader) = if self.readers_here {
            (Pump::start_here(reader, unfinished, self.alive.clone()), None)
        } else {
            let (pump, thread) = Pump::start(&name, reader, unfinished)?;
            (pump, Some(thread))
        };
        let work = SourceWork {
            uid: node.uid.clone(),
            promised: Promised::new([(None, Arc::clone(&node.input_schema))]),
            grows: !source.source.is_bounded() && source.source.discovery_interval().is_some(),
            pump,
            orders,
            watermarks,
            splits: mine.into_iter().map(|s| (s.split.id.clone(), s)).collect(),
            chain,
            emitter,
            checkpointer,
            clock: Arc::clone(&self.context.clock),
            budget: self.budget.clone(),
            activity: Arc::clone(&self.activity),
            source_time: times.own,
            other_times: times.others,
            subtask: subtask as usize,
            rows: 0,
            said: source.watermarks.as_ref().map_or(Watermark::MIN, |_| self.told(&node.uid)),
            exhausted: false,
            paused: None,
        };
        Ok((work, reader))
    }
}
