//! The operators of one subtask: rows go from operator to operator by a plain call. What leaves the chain is listed as
//! effects, in order, for the loop to act on. Nothing here waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::RecordBatch;
use thalweg_core::operator::{Collector, Context, OpenContext, Operator, Promised, StateChunk};
use thalweg_core::{Error, OperatorUid, Result, Watermark};

use crate::metrics::NodeMetrics;

/// Where an output leads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// Another operator of this chain.
    Operator(usize),
    /// A sink of this subtask.
    Sink(usize),
    /// An exchange.
    Edge(usize),
}

/// One consumer of a node's output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) tag: Option<&'static str>,
    pub(crate) target: Target,
}

/// An operator, or the head of a chain that begins with a source or a sink.
pub(crate) struct ChainNode {
    pub(crate) open: OpenContext,
    /// `None` passes rows through (a source's place in the chain).
    pub(crate) operator: Option<Box<dyn Operator>>,
    /// What the operator may emit.
    pub(crate) promised: Promised,
    pub(crate) outputs: Vec<Output>,
    pub(crate) metrics: Arc<NodeMetrics>,
}

/// What leaves the chain.
pub(crate) enum Effect {
    Write { sink: usize, batch: RecordBatch },
    Send { edge: usize, batch: RecordBatch },
}

/// The nodes in topological order, and what each has heard of event time. What one emits because time advances reaches
/// the next before that has heard of it: such rows are not late.
pub(crate) struct Chain {
    nodes: Vec<ChainNode>,
    heard: Vec<Watermark>,
}

impl Chain {
    /// Operators that had heard of `heard` when their state was stored: until they hear of more they stand there, or what
    /// they have emitted already would be on time once more.
    pub(crate) fn new(nodes: Vec<ChainNode>, heard: Watermark) -> Self {
        let heard = vec![heard; nodes.len()];
        Self { nodes, heard }
    }

    /// Rows for the head.
    pub(crate) fn process(&mut self, batch: RecordBatch) -> Result<Vec<Effect>> {
        let mut effects = Vec::new();
        self.push(0, batch, &mut effects)?;
        Ok(effects)
    }

    /// Event time has advanced: each operator hears it after everything that its upstream emitted because of it. The end of
    /// time comes in front of the last barrier: what is buffered until then would be late everywhere behind it.
    pub(crate) fn advance(&mut self, watermark: Watermark) -> Result<Vec<Effect>> {
        let mut effects = Vec::new();
        for index in 0..self.nodes.len() {
            if watermark == Watermark::MAX {
                self.flush_one(index, &mut effects)?;
            }
            if let Some(heard) = self.heard.get_mut(index) {
                *heard = watermark.max(*heard);
            }
            self.call(index, &mut effects, |operator, context, out| {
                operator.on_watermark(context.watermark, context, out)
            })?;
        }
        Ok(effects)
    }

    /// Whatever is buffered without being state comes out now.
    pub(crate) fn flush(&mut self) -> Result<Vec<Effect>> {
        let mut effects = Vec::new();
        for index in 0..self.nodes.len() {
            self.flush_one(index, &mut effects)?;
        }
        Ok(effects)
    }

    /// The state of every operator.
    pub(crate) fn snapshot(&mut self) -> Result<Vec<(OpenContext, Vec<StateChunk>)>> {
        let mut all = Vec::new();
        for node in &mut self.nodes {
            if let Some(operator) = &mut node.operator {
                let chunks = placed(&node.open.uid, || operator.snapshot())?;
                all.push((node.open.clone(), chunks));
            }
        }
        Ok(all)
    }

    fn flush_one(&mut self, index: usize, effects: &mut Vec<Effect>) -> Result<()> {
        self.call(index, effects, |operator, context, out| operator.before_barrier(context, out))
    }

    /// Calls an operator, and hands on what it emits.
    fn call(
        &mut self,
        index: usize,
        effects: &mut Vec<Effect>,
        call: impl FnOnce(&mut dyn Operator, &Context<'_>, &mut Collector) -> Result<()>,
    ) -> Result<()> {
        let (Some(node), Some(heard)) = (self.nodes.get_mut(index), self.heard.get(index)) else {
            return Ok(());
        };
        let Some(operator) = &mut node.operator else { return Ok(()) };
        let mut out = Collector::default();
        let context = Context { watermark: *heard, open: &node.open };
        placed(&node.open.uid, || call(operator.as_mut(), &context, &mut out))?;
        node.metrics.leave_out(out.take_left_out());
        self.route(index, out.take(), effects)
    }

    fn push(&mut self, index: usize, batch: RecordBatch, effects: &mut Vec<Effect>) -> Result<()> {
        let (Some(node), Some(heard)) = (self.nodes.get_mut(index), self.heard.get(index)) else {
            return Err(Error::internal("a chain without its node"));
        };
        node.metrics.rows_in.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        let emitted = match &mut node.operator {
            None => vec![(None, batch)],
            Some(operator) => {
                let mut out = Collector::default();
                let context = Context { watermark: *heard, open: &node.open };
                placed(&node.open.uid, || operator.process(batch, &context, &mut out))?;
                node.metrics.leave_out(out.take_left_out());
                out.take()
            }
        };
        self.route(index, emitted, effects)
    }

    fn route(
        &mut self,
        index: usize,
        emitted: Vec<(Option<&'static str>, RecordBatch)>,
        effects: &mut Vec<Effect>,
    ) -> Result<()> {
        for (tag, batch) in emitted {
            let Some(node) = self.nodes.get(index) else { continue };
            if node.operator.is_some() {
                placed(&node.open.uid, || node.promised.check(tag, &batch))?;
            }
            node.metrics.rows_out.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            let targets: Vec<Target> =
                node.outputs.iter().filter(|o| o.tag == tag).map(|o| o.target).collect();
            for target in targets {
                // A batch is a handful of reference counts: cloning it copies no rows.
                match target {
                    Target::Operator(next) => self.push(next, batch.clone(), effects)?,
                    Target::Sink(sink) => {
                        effects.push(Effect::Write { sink, batch: batch.clone() });
                    }
                    Target::Edge(edge) => effects.push(Effect::Send { edge, batch: batch.clone() }),
                }
            }
        }
        Ok(())
    }
}

/// What fails in an operator is told with its place. So is a panic, but for its text, which may quote a record.
fn placed<T>(uid: &OperatorUid, call: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = catch_unwind(AssertUnwindSafe(call));
    let done = done.unwrap_or_else(|_| Err(Error::internal("it panicked")));
    done.map_err(|error| error.at(format!("operator `{uid}`")))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow_array::{ArrayRef, Int64Array, RecordBatchOptions};
    use arrow_schema::Schema;
    use thalweg_core::key::KeyGroupRange;
    use thalweg_core::operator::LeftOut;
    use thalweg_core::{ErrorKind, SubtaskIndex};

    use super::*;

    struct LeavesOut;

    impl Operator for LeavesOut {
        fn process(
            &mut self,
            batch: RecordBatch,
            _context: &Context<'_>,
            out: &mut Collector,
        ) -> Result<()> {
            out.leave_out(LeftOut { dropped: batch.num_rows() as u64, late: 1, null_key: 2 });
            Ok(())
        }
    }

    /// Emits a row when time advances.
    struct Ticks;

    impl Operator for Ticks {
        fn process(&mut self, _: RecordBatch, _: &Context<'_>, _: &mut Collector) -> Result<()> {
            Ok(())
        }

        fn on_watermark(
            &mut self,
            _watermark: Watermark,
            _context: &Context<'_>,
            out: &mut Collector,
        ) -> Result<()> {
            out.emit(rows(1));
            Ok(())
        }
    }

    /// Holds rows back until a barrier.
    #[derive(Default)]
    struct Holds(Vec<RecordBatch>);

    impl Operator for Holds {
        fn process(
            &mut self,
            batch: RecordBatch,
            _: &Context<'_>,
            _: &mut Collector,
        ) -> Result<()> {
            self.0.push(batch);
            Ok(())
        }

        fn before_barrier(&mut self, _: &Context<'_>, out: &mut Collector) -> Result<()> {
            self.0.drain(..).for_each(|batch| out.emit(batch));
            Ok(())
        }
    }

    /// Passes rows on to the output `tag`, with a column that it has not promised if `wider`.
    struct Strays {
        tag: Option<&'static str>,
        wider: bool,
    }

    impl Operator for Strays {
        fn process(
            &mut self,
            batch: RecordBatch,
            _: &Context<'_>,
            out: &mut Collector,
        ) -> Result<()> {
            let more: ArrayRef = Arc::new(Int64Array::from(vec![7; batch.num_rows()]));
            let wide = RecordBatch::try_from_iter([("more", more)]).unwrap();
            let batch = if self.wider { wide } else { batch };
            match self.tag {
                None => out.emit(batch),
                Some(tag) => out.side_output(tag, batch),
            }
            Ok(())
        }

        fn snapshot(&mut self) -> Result<Vec<StateChunk>> {
            panic!("about patient 4711")
        }
    }

    /// Leaves a trace of what it hears: the watermark at which a row comes, and its own.
    struct Hears(Arc<Mutex<Vec<(&'static str, i64)>>>);

    impl Operator for Hears {
        fn process(
            &mut self,
            _: RecordBatch,
            context: &Context<'_>,
            _: &mut Collector,
        ) -> Result<()> {
            self.0.lock().unwrap().push(("row", context.watermark.0));
            Ok(())
        }

        fn on_watermark(
            &mut self,
            watermark: Watermark,
            context: &Context<'_>,
            _: &mut Collector,
        ) -> Result<()> {
            assert_eq!(context.watermark, watermark);
            self.0.lock().unwrap().push(("time", watermark.0));
            Ok(())
        }
    }

    fn rows(count: usize) -> RecordBatch {
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let schema = Arc::new(Schema::empty());
        RecordBatch::try_new_with_options(schema, Vec::new(), &options).unwrap()
    }

    fn node(operator: impl Operator + 'static, outputs: Vec<Output>) -> ChainNode {
        let open = OpenContext {
            uid: OperatorUid::new("operator").unwrap(),
            subtask: SubtaskIndex(0),
            parallelism: 1,
            max_parallelism: 128,
            key_groups: KeyGroupRange::of_subtask(0, 1, 128),
            input_schema: Arc::new(Schema::empty()),
        };
        let promised = Promised::new([(None, Arc::new(Schema::empty()))]);
        let metrics = Arc::default();
        ChainNode { open, operator: Some(Box::new(operator)), promised, outputs, metrics }
    }

    #[test]
    fn what_is_emitted_because_time_advances_comes_before_the_next_operator_hears_of_it() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let next = Output { tag: None, target: Target::Operator(1) };
        let nodes = vec![node(Ticks, vec![next]), node(Hears(Arc::clone(&heard)), Vec::new())];
        let mut chain = Chain::new(nodes, Watermark::MIN);
        for time in [7, 9] {
            chain.advance(Watermark(time)).unwrap();
        }
        let min = Watermark::MIN.0;
        let expected = [("row", min), ("time", 7), ("row", 7), ("time", 9)];
        assert_eq!(*heard.lock().unwrap(), expected);
    }

    #[test]
    fn what_is_held_back_until_a_barrier_comes_before_the_end_of_time() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let next = |at| vec![Output { tag: None, target: Target::Operator(at) }];
        let nodes = vec![
            node(Holds::default(), next(1)),
            node(Holds::default(), next(2)),
            node(Hears(Arc::clone(&heard)), Vec::new()),
        ];
        let mut chain = Chain::new(nodes, Watermark::MIN);
        chain.process(rows(1)).unwrap();
        for time in [Watermark(7), Watermark::MAX] {
            chain.advance(time).unwrap();
        }
        chain.flush().unwrap();
        let expected = [("time", 7), ("row", 7), ("time", Watermark::MAX.0)];
        assert_eq!(*heard.lock().unwrap(), expected);
    }

    #[test]
    fn a_restored_chain_stands_where_it_had_got_to() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = node(Hears(Arc::clone(&heard)), Vec::new());
        let mut chain = Chain::new(vec![hears], Watermark(7));
        chain.process(rows(1)).unwrap();
        for time in [5, 9] {
            chain.advance(Watermark(time)).unwrap();
            chain.process(rows(1)).unwrap();
        }
        let expected = [("row", 7), ("time", 7), ("row", 7), ("time", 9), ("row", 9)];
        assert_eq!(*heard.lock().unwrap(), expected);
    }

    #[test]
    fn rows_that_were_not_promised_end_the_job_with_the_operator_and_the_column_or_output_named() {
        for (tag, wider, says) in [(None, true, "`more`"), (Some("late"), false, "`late`")] {
            let strays = node(Strays { tag, wider }, Vec::new());
            let mut chain = Chain::new(vec![strays], Watermark::MIN);
            let error = chain.process(rows(1)).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidGraph);
            assert_eq!(error.place(), Some("operator `operator`"));
            assert!(error.to_string().contains(says), "{error}");
        }
        let promised = node(Strays { tag: None, wider: false }, Vec::new());
        Chain::new(vec![promised], Watermark::MIN).process(rows(1)).unwrap();
    }

    #[test]
    fn a_panic_is_told_with_the_operator_and_without_its_text() {
        let strays = node(Strays { tag: None, wider: false }, Vec::new());
        let error = Chain::new(vec![strays], Watermark::MIN).snapshot().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(format!("{error:?}"), "Internal: operator `operator`: it panicked");
    }

    #[test]
    fn rows_that_an_operator_leaves_out_are_counted() {
        let node = node(LeavesOut, Vec::new());
        let metrics = Arc::clone(&node.metrics);
        let mut chain = Chain::new(vec![node], Watermark::MIN);
        let rows = rows(3);
        for (late, dropped, null_key) in [(1, 3, 2), (2, 6, 4)] {
            assert!(chain.process(rows.clone()).unwrap().is_empty());
            assert_eq!(metrics.left_out(), LeftOut { late, dropped, null_key });
        }
    }
}
