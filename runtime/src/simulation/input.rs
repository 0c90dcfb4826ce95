//! The graph: a partitioned log whose rows appear in time, counts per key and window, an operator that watches time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::SchemaRef;
use thalweg_connectors::delta::DeltaSink;
use thalweg_connectors::kafka::KafkaSink;
use thalweg_core::connector::sink::Sink;
use thalweg_core::connector::source::{Polled, Source, SourceReader, Split, SplitBatch};
use thalweg_core::graph::{JobGraph, StreamEnvironment};
use thalweg_core::operator::{
    Collector, Context, KeyedContext, KeyedOperator, OpenContext, Operator, OperatorFactory,
};
use thalweg_core::record::{Batch, Micros};
use thalweg_core::state::{Key, MapStateDescriptor};
use thalweg_core::time::Clock;
use thalweg_core::watermark::WatermarkStrategy;
use thalweg_core::{Record, Result, Watermark};

use super::cluster;
use super::lake;
use super::lines::Lines;
use super::tables::{Hand, Table};
use super::topic_source::TopicSource;
use super::world::{Backing, World};

pub(super) const PARTITIONS: i64 = 5;
/// Rows of each partition, unless a world says otherwise.
pub(super) const ROWS: i64 = 480;
pub(super) const KEYS: i64 = 7;
/// Rows of each partition that the quiet sink gets, too.
pub(super) const EARLY: i64 = 8;
/// A row every so often; a window holds a few.
pub(super) const PACE: Duration = Duration::from_millis(200);
const WINDOW: i64 = 2_000_000;

#[derive(Record)]
#[expect(dead_code, reason = "only its columns are used")]
pub(super) struct Row {
    partition: i64,
    position: i64,
    key: i64,
    at: Micros,
}

#[derive(Record)]
#[expect(dead_code, reason = "only its columns are used")]
pub(super) struct Count {
    key: i64,
    window: i64,
    rows: i64,
}

pub(super) fn key_of(partition: i64, position: i64) -> i64 {
    (partition * 31 + position * 17) % KEYS
}

/// Out of order by up to 0.9 s.
pub(super) fn time_of(partition: i64, position: i64) -> i64 {
    position * PACE.as_micros() as i64 + (partition * 7 + position * 13) % 10 * 100_000
}

pub(super) fn window_of(partition: i64, position: i64) -> i64 {
    time_of(partition, position) / WINDOW
}

#[derive(Debug)]
struct Partitions(Arc<World>);

impl Source for Partitions {
    fn describe(&self) -> String {
        "a simulated log".to_owned()
    }
    fn schema(&self) -> SchemaRef {
        Row::schema()
    }
    fn is_bounded(&self) -> bool {
        true
    }
    fn identity(&self) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }
    fn start_splits(&self) -> Result<Vec<Split>> {
        // As of a log that goes on: what has an end is waited for, and never idle.
        let split = |p: i64| Split {
            id: p.to_string(),
            position: 0,
            end: None,
            properties: BTreeMap::new(),
        };
        Ok((0..PARTITIONS).map(split).collect())
    }
    fn verify(&self, _: &BTreeMap<String, String>, _: &[Split]) -> Result<()> {
        Ok(())
    }
    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(Reader { world: Arc::clone(&self.0), splits: Vec::new(), turn: 0 }))
    }
}

struct Reader {
    world: Arc<World>,
    splits: Vec<Split>,
    turn: usize,
}

impl SourceReader for Reader {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        self.splits.extend(splits);
        Ok(())
    }

    fn poll(&mut self, _: Duration) -> Result<Polled> {
        if self.splits.iter().all(|split| split.position >= self.world.rows) {
            return Ok(Polled::Exhausted);
        }
        let now = self.world.monotonic();
        for _ in 0..self.splits.len() {
            self.turn = (self.turn + 1) % self.splits.len();
            let split = &mut self.splits[self.turn];
            let partition: i64 = split.id.parse().unwrap();
            // The last partition is silent for ten seconds in every twenty.
            if partition == PARTITIONS - 1 && now.as_secs() % 20 >= 10 {
                continue;
            }
            let there = (now.as_micros() / PACE.as_micros()) as i64;
            let end = there.min(self.world.rows).min(split.position + 16);
            if end <= split.position {
                continue;
            }
            let positions: Vec<i64> = (split.position..end).collect();
            split.position = end;
            let mut inner = self.world.inner();
            inner.furthest = inner.furthest.max(end);
            drop(inner);
            return Ok(Polled::Rows(rows(partition, &positions)));
        }
        Ok(Polled::Nothing)
    }
}

fn rows(partition: i64, positions: &[i64]) -> SplitBatch {
    let ints = |of: &dyn Fn(i64) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(positions.iter().map(|o| of(*o))))
    };
    let at = positions.iter().map(|o| time_of(partition, *o));
    let at = TimestampMicrosecondArray::from_iter_values(at);
    let at = arrow_array::make_array(
        arrow_array::Array::to_data(&at)
            .into_builder()
            .data_type(Row::AT.field().data_type().clone())
            .build()
            .unwrap(),
    );
    let columns = vec![ints(&|_| partition), ints(&|o| o), ints(&|o| key_of(partition, o)), at];
    let batch = RecordBatch::try_new(Row::schema(), columns).unwrap();
    let next_positions = positions.iter().map(|o| o + 1).collect();
    SplitBatch { split: partition.to_string(), batch, next_positions }
}

const OPEN: MapStateDescriptor<i64, i64> = MapStateDescriptor::new("open");

/// Rows per key and window, told at the window's end; late ones are told as they come.
#[derive(Debug, Clone)]
struct CountWindows;

impl KeyedOperator for CountWindows {
    type In = Row;
    type Out = Count;

    fn process(
        &mut self,
        batch: Batch<Row>,
        context: &KeyedContext,
        _: &mut Collector,
    ) -> Result<()> {
        let open = context.map_state(&OPEN);
        let (partitions, positions) = (batch.column(Row::PARTITION)?, batch.column(Row::POSITION)?);
        for (row, key) in context.keys().iter().enumerate() {
            let window = window_of(partitions.value(row), positions.value(row));
            let before = open.entries(key)?.get(&window).copied().unwrap_or(0);
            open.insert(key, window, before + 1)?;
            context.set_timer(key, (window + 1) * WINDOW);
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        key: &Key,
        time: i64,
        context: &KeyedContext,
        out: &mut Collector,
    ) -> Result<()> {
        let (open, window) = (context.map_state(&OPEN), time / WINDOW - 1);
        let Some(rows) = open.entries(key)?.get(&window).copied() else { return Ok(()) };
        open.remove(key, &window)?;
        let mut columns = context.key_columns(&[key])?;
        columns.extend([window, rows].map(|v| Arc::new(Int64Array::from(vec![v])) as ArrayRef));
        out.emit(RecordBatch::try_new(Count::schema(), columns).unwrap());
        Ok(())
    }
}

/// Passes rows on and tells when event time goes back.
#[derive(Debug, Clone)]
struct Watch(Arc<World>);

struct Watching {
    world: Arc<World>,
    last: Watermark,
}

impl OperatorFactory for Watch {
    fn describe(&self) -> String {
        "watch".to_owned()
    }
    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(Arc::clone(input))
    }
    fn create(&self, _: OpenContext) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Watching { world: Arc::clone(&self.0), last: Watermark::MIN }))
    }
}

impl Operator for Watching {
    fn process(&mut self, batch: RecordBatch, _: &Context<'_>, out: &mut Collector) -> Result<()> {
        out.emit(batch);
        Ok(())
    }

    fn on_watermark(
        &mut self,
        now: Watermark,
        context: &Context<'_>,
        _: &mut Collector,
    ) -> Result<()> {
        if now <= self.last {
            let (uid, subtask) = (&context.open.uid, context.open.subtask);
            self.world.violation(format!("event time goes back at {uid} {subtask}"));
        }
        self.last = now;
        Ok(())
    }
}

/// The rows at the beginning: a sink of which the marker must outlive that.
#[derive(Debug, Clone)]
struct Early;

impl OperatorFactory for Early {
    fn describe(&self) -> String {
        "early".to_owned()
    }
    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(Arc::clone(input))
    }
    fn create(&self, _: OpenContext) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Self))
    }
}

impl Operator for Early {
    fn process(&mut self, batch: RecordBatch, _: &Context<'_>, out: &mut Collector) -> Result<()> {
        let positions = batch.column_by_name("position").unwrap().as_primitive::<Int64Type>();
        let early: BooleanArray = positions.iter().map(|p| p.map(|p| p < EARLY)).collect();
        out.emit(arrow_select::filter::filter_record_batch(&batch, &early).unwrap());
        Ok(())
    }
}

pub(super) fn graph(world: &Arc<World>, process: u64) -> JobGraph {
    let recovering = Arc::new(AtomicBool::new(false));
    let hand = Hand { world: Arc::clone(world), process, recovering };
    match world.backing {
        Backing::Played => {
            let log = Partitions(Arc::clone(world));
            build(&hand, log, Table("raw", hand.clone()), Table("counts", hand.clone()))
        }
        Backing::Topic => {
            let topic = TopicSource::new(world, process);
            build(&hand, topic, Table("raw", hand.clone()), Table("counts", hand.clone()))
        }
        Backing::Delta => {
            let tables = lake::committer(world, process);
            let [raw, counts] = lake::TABLES.map(|table| DeltaSink::append(&tables, table));
            build(&hand, Lines::new(world), raw, counts.rank(1))
        }
    }
}

fn build(
    hand: &Hand,
    source: impl Source + 'static,
    raw: impl Sink + 'static,
    counts: impl Sink + 'static,
) -> JobGraph {
    let world = &hand.world;
    let strategy = WatermarkStrategy::bounded_out_of_orderness(Row::AT, Duration::from_secs(1))
        .with_idleness(Duration::from_secs(4));
    let env = StreamEnvironment::new("simulated").max_parallelism(8);
    let rows = env
        .source::<Row>("log", source)
        .watermarks(strategy)
        .apply("watch-rows", Watch(Arc::clone(world)));
    rows.sink("raw", raw);
    let topics = cluster::committer(world, hand.process);
    let topic = || KafkaSink::exactly_once(&topics, "rows");
    rows.sink("topic", topic());
    rows.apply("early", Early).sink("quiet", topic());
    rows.key_by(Row::KEY)
        .process("count", CountWindows)
        .apply("watch-counts", Watch(Arc::clone(world)))
        .sink("counts", counts);
    env.build().unwrap()
}
