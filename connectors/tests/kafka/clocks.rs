//! Wall clocks that are set while a sink is at work. Nothing else but messages with times reads them, so the other tests do not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use thalweg_connectors::clock;
use thalweg_connectors::testing::kafka_server::KafkaServer;
use thalweg_core::time::Clock;

use crate::job::{Job, all, known};

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// Shows what it is set to, µs.
#[derive(Debug)]
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_let_the_marker_of_a_quiet_sink_expire() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let hands = Arc::new(Hands(AtomicI64::new(60 * DAY)));
    clock::read_from(Arc::clone(&hands) as Arc<dyn Clock>);
    let refresh = Duration::from_millis(20);
    let job = Job::begin(kafka, 1).with(|config| config.marker_refresh = refresh);
    job.commit(&job.stage(1, 0..10)).unwrap();
    job.forget_marker();
    hands.0.store(30 * DAY, Ordering::SeqCst);
    let written = (0..50).any(|_| {
        std::thread::park_timeout(refresh);
        job.publish(7, &job.decided());
        job.copy().open(&known(1)).is_ok()
    });
    assert!(written, "the marker waits for the clock to be where it was");
    assert_eq!(job.read("read_committed"), all(0..10));
}
