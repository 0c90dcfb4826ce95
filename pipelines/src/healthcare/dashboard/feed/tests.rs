use std::fs::{self, File};
use std::time::SystemTime;

use serde_json::Value;
use tempfile::TempDir;
use thalweg_connectors::delta::{CUTS, DeltaCommitter, DeltaMaintenance};
use thalweg_core::CheckpointId;
use thalweg_objects::{Access, Place};

use super::*;
use crate::healthcare::graph::JOB;

/// A board over published cuts of no tables.
struct World {
    folder: TempDir,
    board: Arc<Board>,
    tables: Tables,
    committed: Committed,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::from(folder.path());
        let follower = DeltaFollower::at(&place, &Access::from_environment()).unwrap();
        Self {
            folder,
            board: Arc::default(),
            tables: Tables::new(follower, &Observed::default()),
            committed: Committed::default(),
        }
    }

    /// Publishes cuts, one a second by the clock.
    async fn publish(&self, checkpoints: impl IntoIterator<Item = u64>) {
        self.publish_at(JOB, checkpoints.into_iter().map(|n| (n, n as i64 * 1_000_000))).await;
    }

    /// Publishes cuts of a job: numbers, and times in µs.
    async fn publish_at(&self, job: &str, cuts: impl IntoIterator<Item = (u64, i64)>) {
        let committer = DeltaCommitter::new(self.folder.path()).unwrap();
        for (n, created_at) in cuts {
            let cut = Cut {
                job: job.to_owned(),
                chain: "chain".to_owned(),
                checkpoint: CheckpointId(n),
                created_at,
                versions: BTreeMap::new(),
            };
            committer.publish(&cut).await.unwrap();
        }
    }

    /// A day passes, and somebody looks after the log: only the newest entry is left.
    async fn clean_log(&self) {
        for entry in fs::read_dir(self.folder.path().join(CUTS).join("_delta_log")).unwrap() {
            let file = File::options().append(true).open(entry.unwrap().path()).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        let service = DeltaMaintenance::new(self.folder.path()).unwrap();
        assert!(service.checkpoint_log(CUTS).await.unwrap().removed > 0);
    }

    /// Somebody looks: the numbers of the checkpoints on the board.
    async fn look(&mut self) -> Vec<u64> {
        let Self { board, tables, committed, .. } = self;
        let job = Observed::default();
        // At most once it has lost its way.
        if !tables.follow(board, &job, committed).await.unwrap() {
            assert!(
                tables.follow(board, &job, committed).await.unwrap(),
                "it begins anew for ever"
            );
        }
        let (message, _) = board.message(None, &["checkpoints"]);
        let message: Value = serde_json::from_str(&message).unwrap();
        let rows = message["sections"]["checkpoints"].as_array();
        rows.into_iter().flatten().map(|row| row["n"].as_u64().unwrap()).collect()
    }
}

#[test]
fn a_version_that_is_gone_is_told_from_a_store_that_does_not_answer() {
    let failed = |kind: io::ErrorKind| error::io("read a data file", kind.into());
    for gone in
        [failed(io::ErrorKind::NotFound), Error::config("removed"), Error::corrupt("cut off")]
    {
        assert!(is_gone(&gone), "{gone}");
    }
    let passing = [
        failed(io::ErrorKind::TimedOut),
        failed(io::ErrorKind::PermissionDenied),
        Error::transient("no answer"),
        Error::internal("a reader ended early"),
    ];
    for passing in passing {
        assert!(!is_gone(&passing), "{passing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_again_when_the_log_was_cleaned_sees_what_was_published_meanwhile() {
    let mut world = World::new();
    assert!(world.look().await.is_empty());
    world.publish(1..=2).await;
    assert_eq!(world.look().await, [1, 2]);
    world.publish(3..=4).await;
    world.clean_log().await;
    assert_eq!(world.look().await, [1, 2, 3, 4]);
    world.publish(5..=5).await;
    assert_eq!(world.look().await, [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_again_much_later_sees_as_much_as_who_looks_first() {
    let mut world = World::new();
    world.publish(1..=2).await;
    assert_eq!(world.look().await, [1, 2]);
    world.publish(3..=140).await;
    let newest: Vec<u64> = (111..=140).collect();
    assert_eq!(world.look().await, newest);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_gone_are_on_the_board_no_more_and_new_ones_are_whole() {
    let mut world = World::new();
    world.publish(1..=3).await;
    assert_eq!(world.look().await, [1, 2, 3]);
    fs::remove_dir_all(world.folder.path().join(CUTS)).unwrap();
    assert!(world.look().await.is_empty());
    world.publish(11..=14).await;
    assert_eq!(world.look().await, [11, 12, 13, 14]);
    // As many versions again between two looks.
    fs::remove_dir_all(world.folder.path().join(CUTS)).unwrap();
    world.publish(21..=25).await;
    assert_eq!(world.look().await, [21, 22, 23, 24, 25]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_is_at_the_last_checkpoint_of_its_own_job_whatever_a_clock_did() {
    let mut world = World::new();
    let newest = |world: &World| world.tables.newest.as_ref().map(|cut| cut.checkpoint.0);
    world.publish(1..=40).await;
    // The clock is set back, and another job has its tables beside ours.
    world.publish_at(JOB, [(41, 100_000)]).await;
    world.publish_at("other", [(900, 900_000_000)]).await;
    // It is read from the beginning, and then followed.
    let listed = world.look().await;
    assert_eq!(listed, (12..=41).collect::<Vec<_>>());
    assert_eq!(newest(&world), Some(41));
    world.publish_at("other", [(901, 901_000_000)]).await;
    world.publish_at(JOB, [(42, 200_000)]).await;
    let listed = world.look().await;
    assert_eq!(listed, (12..=42).collect::<Vec<_>>());
    assert_eq!(newest(&world), Some(42));
}

#[tokio::test(flavor = "multi_thread")]
async fn that_the_tables_cannot_be_read_is_said_until_they_can() {
    let World { folder, board, tables, committed } = World::new();
    let log = folder.path().join(CUTS).join("_delta_log");
    fs::create_dir_all(&log).unwrap();
    fs::write(log.join("00000000000000000000.json"), "{").unwrap();
    let (reading, keeping) = (board.read(), Arc::clone(&board));
    let kept = tokio::spawn(async move {
        let job = Observed::default();
        Box::pin(keep(&keeping, tables, &job, &committed, Duration::from_millis(10))).await;
    });
    let told = async |stale: bool| {
        let mut changes = board.changes();
        let wanted = format!("\"stale\":{stale}");
        while !board.message(None, &[]).0.contains(&wanted) {
            changes.changed().await.unwrap();
        }
    };
    let within = Duration::from_mins(3);
    assert!(tokio::time::timeout(within, told(true)).await.is_ok(), "nothing is said");
    assert!(tokio::time::timeout(within, board.ready().wait_for(|ready| *ready)).await.is_ok());
    // There is nothing to be read.
    fs::remove_dir_all(folder.path().join(CUTS)).unwrap();
    assert!(tokio::time::timeout(within, told(false)).await.is_ok(), "it is said for ever");
    kept.abort();
    drop(reading);
}
