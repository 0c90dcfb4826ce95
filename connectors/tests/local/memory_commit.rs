//! The memory sink commits exactly once, under every failure that a test can ask for.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests count as tests")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use thalweg_connectors::memory::MemoryStore;
use thalweg_core::connector::sink::{
    Committed, Committer, Cut, IoHandle, PendingCommit, Sink, SinkWriter, Target,
    TargetExpectation, WriterContext,
};
use thalweg_core::connector::staging::DecidedCheckpoint;
use thalweg_core::sensitivity::{Sensitivity, mark, sensitivities};
use thalweg_core::testing::MemoryStaging;
use thalweg_core::{Attempt, CheckpointId, Clearance, ErrorKind, Result, SubtaskIndex};

/// Runs a future that must be ready without waiting.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

fn batch(n: &[i64]) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(n.to_vec())) as _)]).unwrap()
}

fn writer(sink: &dyn Sink, schema: &Arc<Schema>) -> Box<dyn SinkWriter> {
    let io = IoHandle::new(drop);
    let schema = Arc::clone(schema);
    let staging = Arc::new(MemoryStaging::default());
    sink.writer(WriterContext {
        subtask: SubtaskIndex(0),
        attempt: Attempt(1),
        schema,
        io,
        staging,
    })
    .unwrap()
}

fn decided() -> Arc<dyn DecidedCheckpoint> {
    Arc::new(MemoryStaging::default())
}

/// A job with one sink, as far as a committer can tell.
struct Job {
    store: MemoryStore,
    committer: Arc<dyn Committer>,
    target: Target,
    expected: TargetExpectation,
}

impl Job {
    fn begin(store: &MemoryStore) -> Self {
        let sink = store.sink("gold");
        let expected = TargetExpectation { id: Some("t-1".to_owned()), txn: None, version: None };
        let target = sink.target(&batch(&[]).schema()).unwrap();
        let job = Self { store: store.clone(), committer: sink.committer(), target, expected };
        assert_eq!(job.open(false).unwrap(), (None, 0));
        job
    }

    fn open(&self, adopt: bool) -> Result<(Option<u64>, u64)> {
        let opened = self.committer.open(&self.target, "job/1", &self.expected, adopt);
        now(opened).map(|s| (s.txn.map(|n| n.0), s.version))
    }

    /// Stages rows as a writer does, one batch each.
    fn stage(&self, checkpoint: u64, batches: &[&[i64]]) -> PendingCommit {
        let mut writer = writer(&self.store.sink("gold"), &batch(&[]).schema());
        for n in batches {
            now(writer.write(batch(n))).unwrap();
        }
        let staged = now(writer.close_epoch(CheckpointId(checkpoint))).unwrap();
        PendingCommit {
            sink: "gold".to_owned(),
            kind: self.target.kind.clone(),
            path: self.target.path.clone(),
            target_id: "t-1".to_owned(),
            app_id: "job/1".to_owned(),
            checkpoint: CheckpointId(checkpoint),
            rank: 0,
            rows: staged.rows,
            staged: staged.items,
            void: false,
        }
    }

    fn commit(&self, pending: &PendingCommit) -> Result<Committed> {
        // As after a crash: what is known of the commit is what its manifest says.
        let bytes = serde_json::to_vec(pending).unwrap();
        now(self.committer.commit(&serde_json::from_slice(&bytes).unwrap(), &decided()))
    }
}

#[test]
fn rows_are_visible_once_they_are_committed_and_a_replay_does_nothing() {
    let store = MemoryStore::default();
    let job = Job::begin(&store);
    let first = job.stage(1, &[&[1, 2], &[3]]);
    assert_eq!(store.rows("gold"), 0);
    assert_eq!(job.commit(&first).unwrap(), Committed { version: 1, replayed: false });
    assert_eq!(store.batches("gold"), [batch(&[1, 2]), batch(&[3])]);
    assert_eq!(job.commit(&first).unwrap(), Committed { version: 1, replayed: true });
    let third = job.stage(3, &[&[4]]);
    assert_eq!(job.commit(&third).unwrap(), Committed { version: 2, replayed: false });
    assert_eq!(job.commit(&third).unwrap(), Committed { version: 2, replayed: true });
    assert_eq!(store.commits("gold"), [(CheckpointId(1), 3), (CheckpointId(3), 1)]);
    assert_eq!(store.batches_at("gold", 1), [batch(&[1, 2]), batch(&[3])]);
    assert_eq!(now(job.committer.version("gold")).unwrap(), 2);
    assert_eq!(now(job.committer.count_rows("gold")).unwrap(), Some(4));
}

#[test]
fn an_older_checkpoint_is_fenced() {
    let store = MemoryStore::default();
    let job = Job::begin(&store);
    let (old, new) = (job.stage(1, &[&[1]]), job.stage(2, &[&[2]]));
    job.commit(&new).unwrap();
    assert_eq!(job.commit(&old).unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(store.rows("gold"), 1);
}

#[test]
fn applications_do_not_fence_each_other() {
    let store = MemoryStore::default();
    let job = Job::begin(&store);
    job.commit(&job.stage(9, &[&[1]])).unwrap();
    let other = PendingCommit { app_id: "job/2".to_owned(), ..job.stage(1, &[&[2]]) };
    assert_eq!(job.commit(&other).unwrap(), Committed { version: 2, replayed: false });
    assert_eq!(job.commit(&other).unwrap(), Committed { version: 2, replayed: true });
}

#[test]
fn a_failed_commit_can_be_repeated_and_one_whose_answer_was_lost_is_not_doubled() {
    let store = MemoryStore::default();
    let job = Job::begin(&store);
    let pending = job.stage(1, &[&[1]]);
    store.fail_next_commits(2);
    for _ in 0..2 {
        assert_eq!(job.commit(&pending).unwrap_err().kind(), ErrorKind::Transient);
        assert_eq!(store.rows("gold"), 0);
    }
    store.lose_next_answers(1);
    assert_eq!(job.commit(&pending).unwrap_err().kind(), ErrorKind::Transient);
    assert_eq!(store.rows("gold"), 1);
    assert_eq!(job.commit(&pending).unwrap(), Committed { version: 1, replayed: true });
    assert_eq!(store.rows("gold"), 1);
}

#[test]
fn an_empty_epoch_stages_nothing_and_makes_no_version() {
    let store = MemoryStore::default();
    let job = Job::begin(&store);
    let empty = job.stage(1, &[&[]]);
    assert_eq!((empty.staged.len(), empty.rows), (0, 0));
    assert_eq!(job.commit(&empty).unwrap(), Committed { version: 0, replayed: false });
    assert_eq!(store.commits("gold"), []);
}

#[test]
fn rows_that_were_staged_but_never_decided_stay_invisible() {
    let store = MemoryStore::default();
    let job = Job::begin(&store);
    drop(job.stage(1, &[&[1, 2]]));
    job.commit(&job.stage(1, &[&[1, 2]])).unwrap();
    assert_eq!(store.rows("gold"), 2);
    assert_eq!(store.write_calls("gold"), 2);
}

#[test]
fn a_table_is_opened_only_as_the_manifest_remembers_it() {
    let store = MemoryStore::default();
    let mut job = Job::begin(&store);
    job.commit(&job.stage(1, &[&[1]])).unwrap();
    // The manifest may be one commit behind: whoever holds it finishes it.
    assert_eq!(job.open(false).unwrap(), (Some(1), 1));
    job.expected.txn = Some(CheckpointId(1));
    job.expected.version = Some(1);
    assert_eq!(job.open(false).unwrap(), (Some(1), 1));
    job.expected.version = Some(2);
    assert_eq!(job.open(false).unwrap_err().kind(), ErrorKind::DataLoss);
    job.expected.version = Some(1);
    assert!(store.remove("gold"));
    assert_eq!(job.open(false).unwrap_err().kind(), ErrorKind::DataLoss);
    assert_eq!(job.commit(&job.stage(2, &[&[1]])).unwrap_err().kind(), ErrorKind::DataLoss);
}

#[test]
fn rows_that_no_manifest_knows_are_refused_unless_they_are_adopted() {
    let store = MemoryStore::default();
    let first = Job::begin(&store);
    first.commit(&first.stage(1, &[&[1]])).unwrap();
    let target = &first.target;
    let open = |app: &'static str, adopt| {
        let expected = TargetExpectation { id: Some("t-2".to_owned()), txn: None, version: None };
        now(first.committer.open(target, app, &expected, adopt))
    };
    assert_eq!(open("job/2", false).unwrap_err().kind(), ErrorKind::InvalidConfig);
    assert_eq!(open("job/2", true).unwrap().id, "t-1");
    assert_eq!(open("job/2", false).unwrap().version, 1);
}

#[test]
fn other_columns_are_refused() {
    let store = MemoryStore::default();
    let mut job = Job::begin(&store);
    let other = Arc::new(Schema::new(vec![Field::new("n", DataType::Utf8, false)]));
    job.target = store.sink("gold").target(&other).unwrap();
    assert_eq!(job.open(false).unwrap_err().kind(), ErrorKind::IncompatibleState);
}

#[test]
fn writes_and_commits_wait_while_they_are_stalled() {
    let store = MemoryStore::default();
    let job = Job::begin(&store);
    let pending = job.stage(1, &[&[1]]);
    let mut writer = writer(&store.sink("gold"), &batch(&[]).schema());
    store.stall();
    store.stall_commits();
    let mut waiting = Context::from_waker(Waker::noop());
    let mut write = writer.write(batch(&[2]));
    let decided = decided();
    let mut commit = job.committer.commit(&pending, &decided);
    assert!(write.as_mut().poll(&mut waiting).is_pending());
    assert!(commit.as_mut().poll(&mut waiting).is_pending());
    assert_eq!((store.write_calls("gold"), store.rows("gold")), (2, 0));
    store.resume();
    now(write).unwrap();
    now(commit).unwrap();
    assert_eq!(store.rows("gold"), 1);
    assert_eq!(now(writer.close_epoch(CheckpointId(2))).unwrap().rows, 1);
}

#[test]
fn a_sink_admits_what_it_is_cleared_for_and_its_rows_carry_no_marks() {
    let store = MemoryStore::default();
    let sink = store.sink("gold");
    assert!(Sensitivity::ALL.into_iter().all(|s| sink.clearance().allows(s)));
    assert_eq!(sink.clone().cleared_for(Clearance::none()).clearance(), Clearance::none());
    assert_eq!(
        (sink.clone().ranked(2).rank(), sink.clone().writers(1).parallelism()),
        (2, Some(1))
    );

    let job = Job::begin(&store);
    let field = mark(Field::new("n", DataType::Int64, false), [Sensitivity::PhiId]);
    let schema = Arc::new(Schema::new(vec![field]));
    assert_eq!(sink.target(&schema).unwrap(), job.target);
    let mut writer = writer(&sink, &schema);
    let marked = RecordBatch::try_new(schema, batch(&[7]).columns().to_vec()).unwrap();
    now(writer.write(marked)).unwrap();
    let staged = now(writer.close_epoch(CheckpointId(1))).unwrap();
    let pending = PendingCommit { rows: 1, staged: staged.items, ..job.stage(1, &[]) };
    job.commit(&pending).unwrap();
    assert!(sensitivities(store.batches("gold")[0].schema().field(0)).is_empty());
}

#[test]
fn a_cut_is_published_once() {
    let store = MemoryStore::default();
    let committer = store.committer();
    let cut = Cut {
        job: "job".to_owned(),
        chain: "c".to_owned(),
        checkpoint: CheckpointId(3),
        created_at: 0,
        versions: [("gold".to_owned(), 2)].into(),
    };
    now(committer.publish_cut(&cut)).unwrap();
    now(committer.publish_cut(&cut)).unwrap();
    assert_eq!(store.cuts(), [cut]);
}
