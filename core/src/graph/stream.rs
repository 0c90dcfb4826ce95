//! The fluent, typed surface. Type parameters end here; inside everything is boxed.

use std::marker::PhantomData;
use std::sync::Arc;

use super::StreamEnvironment;
use super::job_graph::{NodeId, Partitioning};
use crate::connector::sink::Sink;
use crate::operator::{KeyedFactory, KeyedOperator, OperatorFactory, OutputTag};
use crate::record::{ColumnName, Record};
use crate::watermark::WatermarkStrategy;
use crate::window::SlidingEventTimeWindows;

/// A stream of records of type `R`. Copy it freely: using it twice reads the same rows twice.
#[must_use = "a stream that nothing consumes does nothing"]
pub struct DataStream<'env, R> {
    environment: &'env StreamEnvironment,
    node: NodeId,
    tag: Option<&'static str>,
    record: PhantomData<fn() -> R>,
}

impl<R> Clone for DataStream<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for DataStream<'_, R> {}

impl<R> std::fmt::Debug for DataStream<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataStream(node {})", self.node.0)
    }
}

impl<'env, R> DataStream<'env, R> {
    pub(crate) fn new(
        environment: &'env StreamEnvironment,
        node: NodeId,
        tag: Option<&'static str>,
    ) -> Self {
        Self { environment, node, tag, record: PhantomData }
    }

    /// Makes watermarks at this source. It adds a column, and so comes before any other use of the stream.
    pub fn watermarks(self, strategy: WatermarkStrategy) -> Self {
        self.environment.set_watermarks(self.node, strategy);
        self
    }

    /// Applies an operator whose output is records of the same type.
    pub fn apply(self, uid: &str, factory: impl OperatorFactory + 'static) -> Self {
        self.transform(uid, factory)
    }

    /// Applies an operator whose output is records of type `O`. Chained to this stream: no exchange.
    pub fn transform<O>(
        self,
        uid: &str,
        factory: impl OperatorFactory + 'static,
    ) -> DataStream<'env, O> {
        let node = self.environment.operator(
            uid,
            Arc::new(factory),
            &[(self.node, self.tag)],
            &Partitioning::Forward,
            None,
        );
        DataStream::new(self.environment, node, None)
    }

    /// The rows that the last operator put into a side output.
    pub fn side_output<O>(self, tag: &OutputTag<O>) -> DataStream<'env, O> {
        if !self.environment.has_side_output(self.node, tag.name()) {
            let text = format!("has no side output `{}`", tag.name());
            self.environment.problem_at(self.node, text);
        }
        DataStream::new(self.environment, self.node, Some(tag.name()))
    }

    /// Groups rows by a column: rows of one key meet in one subtask. So do those whose key is null: a [`KeyedOperator`]
    /// takes null as a key like any other, while windowed aggregates leave such rows out and count them
    /// ([`crate::operator::LeftOut::null_key`]).
    pub fn key_by(self, column: impl Into<ColumnName>) -> KeyedStream<'env, R> {
        self.key_by_all([column.into()])
    }

    /// Groups rows by several columns; by none, all rows share the empty key.
    pub fn key_by_all(self, columns: impl IntoIterator<Item = ColumnName>) -> KeyedStream<'env, R> {
        let columns = columns.into_iter().map(|c| c.0).collect();
        KeyedStream { stream: self, others: Vec::new(), columns }
    }

    /// Writes the stream.
    pub fn sink(self, uid: &str, sink: impl Sink + 'static) {
        self.environment.sink(uid, Arc::new(sink), (self.node, self.tag));
    }
}

/// A stream whose rows are grouped by key.
#[must_use = "a stream that nothing consumes does nothing"]
pub struct KeyedStream<'env, R> {
    stream: DataStream<'env, R>,
    /// Streams whose rows join those of the first.
    others: Vec<DataStream<'env, R>>,
    columns: Vec<&'static str>,
}

impl<R> std::fmt::Debug for KeyedStream<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyedStream(by {})", self.columns.join(", "))
    }
}

impl<'env, R> KeyedStream<'env, R> {
    /// The rows of both streams, which are of one environment, have the same columns and are grouped by the same: rows
    /// of one key meet in one subtask, in no order between the two. Event time is where it is in the stream that is
    /// behind; a source without watermarks holds nobody back.
    pub fn union(mut self, other: Self) -> Self {
        if !std::ptr::eq(self.stream.environment, other.stream.environment) {
            // The numbers of its nodes mean others here: whatever else there is to say would be about those.
            let text = "a union with a stream of another environment: draw both in one";
            self.stream.environment.problem_at(self.stream.node, text);
            return self;
        }
        if self.columns != other.columns {
            let text = format!(
                "a union of streams grouped by {} and by {}",
                self.columns.join(", "),
                other.columns.join(", ")
            );
            self.stream.environment.problem_at(other.stream.node, text);
        }
        self.others.push(other.stream);
        self.others.extend(other.others);
        self
    }

    /// Applies an operator behind the exchange by key.
    pub fn transform<O>(
        self,
        uid: &str,
        factory: impl OperatorFactory + 'static,
    ) -> DataStream<'env, O> {
        let keys = self.columns.iter().map(|c| (*c).to_owned()).collect();
        let streams = std::iter::once(&self.stream).chain(&self.others);
        let from: Vec<_> = streams.map(|stream| (stream.node, stream.tag)).collect();
        let node = self.stream.environment.operator(
            uid,
            Arc::new(factory),
            &from,
            &Partitioning::Hash(keys),
            None,
        );
        DataStream::new(self.stream.environment, node, None)
    }

    /// Applies a [`KeyedOperator`], its state kept per key.
    pub fn process<O>(self, uid: &str, operator: O) -> DataStream<'env, O::Out>
    where
        O: KeyedOperator<In = R>,
        R: Record,
    {
        let factory = KeyedFactory::new(operator, self.columns.clone());
        self.transform(uid, factory)
    }

    /// Windows over this key, tumbling or sliding; see [`WindowedStream`].
    pub fn window(self, windows: impl Into<SlidingEventTimeWindows>) -> WindowedStream<'env, R> {
        WindowedStream { keyed: self, windows: windows.into() }
    }
}

/// A keyed stream cut into windows.
#[must_use = "a stream that nothing consumes does nothing"]
pub struct WindowedStream<'env, R> {
    keyed: KeyedStream<'env, R>,
    windows: SlidingEventTimeWindows,
}

impl<R> std::fmt::Debug for WindowedStream<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WindowedStream({:?})", self.keyed)
    }
}

/// An aggregate in two phases: partial results per subtask, merged behind the exchange by key.
pub trait WindowFunction {
    /// The phase before the exchange.
    fn partial(
        &self,
        keys: &[&'static str],
        windows: SlidingEventTimeWindows,
    ) -> Box<dyn OperatorFactory>;

    /// The phase behind it.
    fn merge(
        &self,
        keys: &[&'static str],
        windows: SlidingEventTimeWindows,
    ) -> Box<dyn OperatorFactory>;
}

impl<'env, R> WindowedStream<'env, R> {
    /// Aggregates each window of each key; the results must have the columns of `O`. The node before the exchange is
    /// called `uid-partial`.
    pub fn aggregate<O: Record>(
        self,
        uid: &str,
        function: &impl WindowFunction,
    ) -> DataStream<'env, O> {
        let Self { keyed, windows } = self;
        if !keyed.others.is_empty() {
            let text = "windows over a union are not there yet: aggregate each stream by itself";
            keyed.stream.environment.problem(uid, text);
        }
        let partial = function.partial(&keyed.columns, windows);
        let stream: DataStream<'env, R> =
            keyed.stream.transform(&format!("{uid}-partial"), Boxed(partial));
        let merged = function.merge(&keyed.columns, windows);
        let others = Vec::new();
        let partials = KeyedStream { stream, others, columns: keyed.columns };
        let results: DataStream<'env, O> = partials.transform(uid, Boxed(merged));
        let found = results.environment.schema_of((results.node, results.tag));
        results.environment.check_record(uid, &found, &O::schema());
        results
    }
}

#[derive(Debug)]
struct Boxed(Box<dyn OperatorFactory>);

impl OperatorFactory for Boxed {
    fn describe(&self) -> String {
        self.0.describe()
    }
    fn input_record(&self) -> Option<arrow_schema::SchemaRef> {
        self.0.input_record()
    }
    fn needs_event_time(&self) -> bool {
        self.0.needs_event_time()
    }
    fn output_schema(
        &self,
        input: &arrow_schema::SchemaRef,
    ) -> crate::Result<arrow_schema::SchemaRef> {
        self.0.output_schema(input)
    }
    fn side_outputs(
        &self,
        input: &arrow_schema::SchemaRef,
    ) -> crate::Result<Vec<crate::operator::SideOutput>> {
        self.0.side_outputs(input)
    }
    fn create(
        &self,
        context: crate::operator::OpenContext,
    ) -> crate::Result<Box<dyn crate::operator::Operator>> {
        self.0.create(context)
    }
}
