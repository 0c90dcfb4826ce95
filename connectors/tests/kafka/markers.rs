//! Markers of sinks without rows: they are written again beside the commits of others, by whoever owns the job.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thalweg_connectors::testing::kafka_server::KafkaServer;
use thalweg_core::connector::sink::Committer;
use thalweg_core::connector::staging::{DecidedCheckpoint, StagedBytes};
use thalweg_core::testing::MemoryStaging;
use thalweg_core::{CheckpointId, Error, ErrorKind, Result};

use crate::job::{Believed, Job, all, known};

/// A start that expects checkpoint `n` in the topic.
fn next_start(job: &Job, n: u64) -> Result<Option<CheckpointId>> {
    job.copy().open(&known(n)).map(|found| found.txn)
}

/// Whether the marker of checkpoint 1 is gone, which stops the next start.
fn is_gone(job: &Job) -> bool {
    next_start(job, 1).is_err_and(|error| error.kind() == ErrorKind::DataLoss)
}

#[test]
fn the_marker_of_a_quiet_sink_is_written_again_beside_the_commits_of_others() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 1).with(|config| config.marker_refresh = Duration::ZERO);
    job.commit(&job.stage(1, 0..10)).unwrap();
    job.forget_marker();
    assert!(is_gone(&job));
    job.refresh(&job.decided());
    assert_eq!(next_start(&job, 1).unwrap(), Some(CheckpointId(1)));
    assert_eq!(job.read("read_committed"), all(0..10));
    // And the session still commits.
    assert!(!job.commit(&job.stage(8, 10..20)).unwrap().replayed);
    assert_eq!(job.read("read_committed"), all(0..20));
}

#[test]
fn the_marker_of_a_sink_that_was_quiet_since_a_restart_is_written_again_once_a_day() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 1);
    let first = job.stage(1, 0..10);
    job.commit(&first).unwrap();
    // One process has only looked at the marker, another found a commit done: neither knows how old it is.
    let looked = job.copy();
    looked.open(&known(1)).unwrap();
    let replayed = job.copy();
    assert!(replayed.commit(&first).unwrap().replayed);
    for next in [&replayed, &looked] {
        job.forget_marker();
        assert!(is_gone(&job));
        next.refresh(&next.decided());
        assert_eq!(next_start(&job, 1).unwrap(), Some(CheckpointId(1)));
    }
    assert_eq!(job.read("read_committed"), all(0..10));
    // It has been written just now.
    job.forget_marker();
    looked.refresh(&looked.decided());
    assert!(is_gone(&job));
    assert!(!looked.commit(&job.stage(9, 10..20)).unwrap().replayed);
    assert_eq!(job.read("read_committed"), all(0..20));
}

/// A store of checkpoints that does not answer once.
#[derive(Debug)]
struct Silent(Arc<MemoryStaging>, AtomicBool);

impl DecidedCheckpoint for Silent {
    fn read(&self, staged: &StagedBytes) -> Result<Vec<u8>> {
        self.0.read(staged)
    }

    fn is_newest(&self) -> Result<bool> {
        if self.1.swap(true, Ordering::Relaxed) {
            return self.0.is_newest();
        }
        Err(Error::transient("no answer"))
    }
}

#[test]
fn a_refresh_that_fails_is_made_up_for() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 1).with(|config| config.marker_refresh = Duration::ZERO);
    let first = job.stage(1, 0..10);
    job.commit(&first).unwrap();
    // Another instance has begun a session and is gone: the one that is here is refused.
    assert!(job.copy().commit(&first).unwrap().replayed);
    job.forget_marker();
    job.refresh(&job.decided());
    assert!(is_gone(&job), "it did not fail");
    // Nor does the next one succeed, of a session that would have to be begun.
    let silent = Silent(Arc::clone(&job.staging), AtomicBool::new(false));
    let silent: Arc<dyn DecidedCheckpoint> = Arc::new(silent);
    job.refresh(&silent);
    assert!(is_gone(&job), "it did not ask");
    job.refresh(&silent);
    assert_eq!(next_start(&job, 1).unwrap(), Some(CheckpointId(1)));
    assert!(!job.commit(&job.stage(10, 10..20)).unwrap().replayed);
    assert_eq!(job.read("read_committed"), all(0..20));
}

#[test]
fn a_copy_that_wakes_up_late_refreshes_nothing() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let owner = Job::begin(kafka, 1);
    owner.commit(&owner.stage(1, 0..10)).unwrap();
    let (zombie, believer) = (owner.copy(), owner.copy());
    zombie.open(&known(1)).unwrap();
    believer.open(&known(1)).unwrap();
    owner.commit(&owner.stage(2, 10..20)).unwrap();
    // Its manifest is not the newest: it begins no session, so the owner's goes on. A new one of the owner's would ask.
    owner.staging.supersede();
    zombie.refresh(&zombie.decided());
    owner.commit(&owner.stage(3, 20..30)).unwrap();
    // One that believes its manifest the newest fences the owner, who begins again, and moves no marker back.
    let newest: Arc<dyn DecidedCheckpoint> = Arc::new(Believed(Arc::clone(&owner.staging)));
    believer.refresh(&newest);
    assert_eq!(next_start(&owner, 3).unwrap(), Some(CheckpointId(3)));
    let staged = owner.stage(4, 30..40);
    let committed = owner.runtime.block_on(owner.cluster.commit(&staged, &newest)).unwrap();
    assert!(!committed.replayed);
    assert_eq!(owner.read("read_committed"), all(0..40));
}
