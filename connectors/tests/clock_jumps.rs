//! The wall clock of a process is set forward and back: what is waited for takes as long as it takes, tables stay whole, and
//! markers are kept. It is the process's for good, so nothing else is tested here.
#![cfg(all(feature = "delta", feature = "kafka", feature = "test-util"))]

#[path = "delta/support/mod.rs"]
mod delta_support;
#[cfg(test)]
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "kafka/job.rs"]
mod job;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use delta_support::Lake;
use job::{Job, all, known};
use rdkafka::mocking::MockCluster;
use thalweg_connectors::clock;
use thalweg_connectors::kafka::{KafkaConfig, KafkaSource};
use thalweg_connectors::testing::kafka_server::KafkaServer;
use thalweg_core::connector::source::Source;
use thalweg_core::testing::NoColumns;
use thalweg_core::time::Clock;
use tokio::sync::Mutex;

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// There is one clock, so the tests take turns.
static ALONE: Mutex<()> = Mutex::const_new(());
/// How far from the machine's it is set, µs.
static AHEAD: AtomicI64 = AtomicI64::new(0);

#[derive(Debug)]
struct Wall;

impl Clock for Wall {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that is handed in")]
    fn now_micros(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |d| d.as_micros() as i64) + AHEAD.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

fn set_clock(days: i64) {
    clock::read_from(Arc::new(Wall));
    AHEAD.store(days * DAY, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_stays_whole_wherever_the_clock_is_set_and_clean_up_goes_by_it() {
    let _alone = ALONE.lock().await;
    let lake = Lake::with(|c| c.checkpoint_every(10), |sink| sink).await;
    let mut left = Vec::new();
    // Two days ahead, what was just written has expired; two days back, nothing has for a while.
    for (round, days) in (0..4).zip([0, 2, -2, 0]) {
        set_clock(days);
        for n in round * 10 + 1..=round * 10 + 10 {
            let committed = lake.append(n, n as i64..n as i64 + 1).await.unwrap();
            assert!(!committed.replayed && committed.version == n, "{committed:?}");
            lake.committer.maintained().await;
        }
        left.push((1..=round * 10 + 10).filter(|n| lake.entry(*n).exists()).count());
    }
    assert_eq!(left, [10, 1, 11, 21], "entries after each round");
    let restarted = lake.restarted();
    assert!(restarted.append(40, 99..100).await.unwrap().replayed);
    assert_eq!(restarted.append(41, 41..42).await.unwrap().version, 41);
    assert_eq!(lake.ids().await, (1..=41).collect::<Vec<_>>());
}

#[test]
fn a_broker_that_is_away_is_waited_for_though_the_clock_jumps() {
    let _alone = ALONE.blocking_lock();
    set_clock(0);
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("events", 1, 1).unwrap();
    let config = KafkaConfig::new(brokers.bootstrap_servers(), "events");
    let source = KafkaSource::new(config, Arc::new(NoColumns));
    brokers.broker_down(1).unwrap();
    let found = std::thread::scope(|scope| {
        let asking = scope.spawn(|| source.start_splits());
        // It is away for longer than one question takes, and for less than all of them may.
        std::thread::park_timeout(Duration::from_millis(500));
        set_clock(2);
        std::thread::park_timeout(Duration::from_millis(1_500));
        brokers.broker_up(1).unwrap();
        asking.join().unwrap()
    });
    assert_eq!(found.unwrap().len(), 1);
}

#[test]
fn a_clock_that_is_set_back_does_not_let_the_marker_of_a_quiet_sink_expire() {
    // Before the broker is started: its process would inherit the sockets of mock brokers.
    let _alone = ALONE.blocking_lock();
    let Some(kafka) = KafkaServer::shared() else { return };
    set_clock(0);
    let refresh = Duration::from_millis(20);
    let job = Job::begin(kafka, 1).with(|config| config.marker_refresh = refresh);
    job.commit(&job.stage(1, 0..10)).unwrap();
    job.forget_marker();
    set_clock(-30);
    let written = (0..50).any(|_| {
        std::thread::park_timeout(refresh);
        job.refresh(&job.decided());
        job.copy().open(&known(1)).is_ok()
    });
    assert!(written, "the marker waits for the clock to be where it was");
    assert_eq!(job.read("read_committed"), all(0..10));
}
