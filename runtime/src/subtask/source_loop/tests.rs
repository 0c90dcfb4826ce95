//! The loop alone, in time that passes while nobody has anything to do.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::Mutex;

use actix::{Actor, Context, Handler};
use arrow_array::{RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{Schema, SchemaRef};
use thalweg_core::connector::sink::IoHandle;
use thalweg_core::connector::source::{SourceReader, Split};
use thalweg_core::crypto::MasterKey;
use thalweg_core::graph::Partitioning;
use thalweg_core::key::KeyGroupRange;
use thalweg_core::operator::OpenContext;
use thalweg_core::record::Micros;
use thalweg_core::watermark::WatermarkStrategy;
use thalweg_core::{Attempt, ErrorKind, Record, SubtaskIndex};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::*;
use crate::checkpoint::state_files::StateStore;
use crate::checkpoint::storage::MemoryStorage;
use crate::exchange::{Partitioner, Receiver, channel};
use crate::subtask::chain::{ChainNode, Output, Target};
use crate::subtask::emitter::OutgoingEdge;
use crate::subtask::report::SubtaskEvent;

#[derive(Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Row {
    at: Micros,
}

/// Takes what the subtask tells.
struct Ear;

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<SubtaskEvent> for Ear {
    type Result = ();
    fn handle(&mut self, _: SubtaskEvent, _: &mut Self::Context) {}
}

#[derive(Debug)]
struct Virtual(Instant);

impl Clock for Virtual {
    fn now_micros(&self) -> i64 {
        0
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What is to be read, as soon as it is there.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<VecDeque<Polled>>>);

impl Script {
    /// One more row of split `a`, behind which `position` is.
    fn push(&self, position: i64, at: i64) {
        self.push_as(Row::schema(), Some(at), vec![position]);
    }

    /// One more row, in a column as `schema` has it.
    fn push_as(&self, schema: SchemaRef, at: Option<i64>, next_positions: Vec<i64>) {
        let at = TimestampMicrosecondArray::from(vec![at]).with_timezone("UTC");
        let batch = RecordBatch::try_new(schema, vec![Arc::new(at)]).unwrap();
        let rows = SplitBatch { split: "a".to_owned(), batch, next_positions };
        self.0.lock().unwrap().push_back(Polled::Rows(rows));
    }
}

impl SourceReader for Script {
    fn assign(&mut self, _: Vec<Split>) -> Result<()> {
        Ok(())
    }
    fn poll(&mut self, _: Duration) -> Result<Polled> {
        Ok(self.0.lock().unwrap().pop_front().unwrap_or(Polled::Nothing))
    }
}

/// Starts the loop.
fn start(script: &Script) -> (mpsc::Sender<Order>, Receiver) {
    let (work, orders, receiver) = work(script);
    drop(tokio::task::spawn_local(work.run()));
    (orders, receiver)
}

/// The loop over splits `a` and `b`, whose watermarks are at 50, and an exchange that holds one row. A split falls idle after
/// 4 s.
fn work(script: &Script) -> (SourceWork, mpsc::Sender<Order>, Receiver) {
    let clock = Arc::new(Virtual(Instant::now()));
    let strategy = WatermarkStrategy::bounded_out_of_orderness(Row::AT, Duration::from_micros(10))
        .with_idleness(Duration::from_secs(4));
    let mut watermarks = SplitWatermarks::new(strategy, &Row::schema()).unwrap();
    let mut splits = BTreeMap::new();
    for id in ["a", "b"] {
        let split =
            Split { id: id.to_owned(), position: 0, end: None, properties: BTreeMap::new() };
        let snapshot = SplitSnapshot { split, watermark: Some(50) };
        watermarks.add(&snapshot, clock.monotonic());
        splits.insert(id.to_owned(), snapshot);
    }
    let uid = OperatorUid::new("rows").unwrap();
    let node = ChainNode {
        open: OpenContext {
            uid: uid.clone(),
            subtask: SubtaskIndex(0),
            parallelism: 1,
            max_parallelism: 8,
            key_groups: KeyGroupRange::of_subtask(0, 1, 8),
            input_schema: Row::schema(),
        },
        operator: None,
        promised: Promised::default(),
        outputs: vec![Output { tag: None, target: Target::Edge(0) }],
        metrics: Arc::default(),
    };
    let (sender, receiver) = channel(1);
    let partitioner = Partitioner::new(Partitioning::Forward, 1, 8, 0);
    let edges = vec![OutgoingEdge { partitioner, senders: vec![sender] }];
    let store = StateStore {
        storage: Arc::new(MemoryStorage::default()),
        key: Arc::new(MasterKey::generate().unwrap()),
        chain: "chain".to_owned(),
        token: "token".to_owned(),
    };
    let (give_back, returned) = std::sync::mpsc::channel();
    let checkpointer = Checkpointer {
        attempt: Attempt(1),
        subtask: 0,
        events: Ear.start().recipient(),
        io: IoHandle::new(|work| drop(tokio::task::spawn_local(work))),
        store: Arc::new(store),
        previous: Vec::new(),
        returned,
        give_back,
    };
    let (orders, ordered) = mpsc::channel(64);
    // Nobody waits for the reader to end.
    let (alive, _) = mpsc::channel(1);
    let work = SourceWork {
        uid,
        promised: Promised::new([(None, Row::schema())]),
        grows: false,
        pump: Pump::start_here(Box::new(script.clone()), Vec::new(), alive),
        orders: ordered,
        watermarks: Some(watermarks),
        splits,
        chain: Chain::new(vec![node], Watermark::MIN),
        emitter: Emitter { edges, sinks: Vec::new() },
        checkpointer,
        clock,
        budget: Budget(None),
        activity: Arc::default(),
        source_time: Arc::new(SourceWatermarks::new(1)),
        other_times: Vec::new(),
        subtask: 0,
        rows: 0,
        said: Watermark::MIN,
        exhausted: false,
        paused: None,
    };
    (work, orders, receiver)
}

/// What comes within `time`: the highest watermark, and how many rows.
async fn heard(receiver: &mut Receiver, time: Duration) -> (Option<Watermark>, usize) {
    let end = Instant::now() + time;
    let (mut highest, mut rows) = (None, 0);
    loop {
        let next = poll_fn(|context| receiver.poll(context));
        let Ok(element) = tokio::time::timeout_at(end, next).await else { return (highest, rows) };
        match element.expect("the loop has ended") {
            StreamElement::Watermark(watermark) => highest = highest.max(Some(watermark)),
            other => rows += other.rows(),
        }
    }
}

fn play(play: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, play);
}

#[test]
fn a_time_in_which_a_source_is_held_up_is_no_silence_of_its_splits() {
    for is_paused in [false, true] {
        play(async {
            let script = Script::default();
            let (orders, mut behind) = start(&script);
            assert_eq!(heard(&mut behind, Duration::from_secs(1)).await, (Some(Watermark(50)), 0));
            if is_paused {
                orders.send(Order::Pace(false)).await.unwrap();
            }
            // The second one waits behind the first, which nobody takes.
            script.push(1, 110);
            script.push(2, 110);
            tokio::time::sleep(Duration::from_secs(10)).await;
            if is_paused {
                orders.send(Order::Pace(true)).await.unwrap();
            }
            // There may be rows of the other split that are still to be read.
            let at_once = heard(&mut behind, Duration::from_secs(2)).await;
            assert_eq!(at_once, (None, 2), "paused: {is_paused}");
            let later = heard(&mut behind, Duration::from_secs(10)).await;
            assert_eq!(later, (Some(Watermark(100)), 0), "paused: {is_paused}");
        });
    }
}

#[test]
fn rows_that_a_source_has_not_promised_end_the_job_with_the_source_and_the_column_named() {
    let column = |name: &str, nullable| {
        let field = Row::AT.field().with_name(name).with_nullable(nullable);
        Arc::new(Schema::new(vec![field]))
    };
    for (schema, at, positions, says) in [
        (column("born", false), Some(7), vec![1], "`born` where `at` belongs"),
        (column("at", true), None, vec![1], "`at` has nulls"),
        (column("at", false), Some(7), vec![1, 2], "2 positions for a batch of 1 rows"),
        (column("at", false), Some(7), vec![], "0 positions for a batch of 1 rows"),
    ] {
        play(async {
            let script = Script::default();
            let (work, _orders, _behind) = work(&script);
            script.push_as(schema, at, positions);
            let running = tokio::task::spawn_local(work.run());
            let ended = tokio::time::timeout(Duration::from_mins(1), running).await;
            let error = ended.expect("the loop goes on").unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidGraph, "{error}");
            assert_eq!(error.place(), Some("source `rows`"));
            assert!(error.to_string().contains(says), "{error}");
        });
    }
}
