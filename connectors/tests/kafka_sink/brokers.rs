//! Brokers that die while checkpoints are committed.

use thalweg_connectors::testing::kafka_server::{KafkaServer, or_skip};
use thalweg_core::CheckpointId;

use crate::job::{Job, all, known};

#[test]
fn commits_while_the_broker_dies_again_and_again_are_in_the_topic_once() {
    let Some(kafka) = or_skip(KafkaServer::start_own(1)) else { return };
    let job = Job::begin(&kafka, 2);
    let (kill, kills) = std::sync::mpsc::channel::<()>();
    let mut unclear = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for () in kills {
                kafka.kill9().unwrap();
                kafka.start_again().unwrap();
            }
        });
        for n in 0..16 {
            let pending = job.stage(n as u64 + 1, n * 500..n * 500 + 500);
            if n % 8 == 3 {
                kill.send(()).unwrap();
            }
            // As the restart strategy would: an error that may pass is tried again.
            let mut tries = 0;
            while let Err(error) = job.commit(&pending) {
                assert!(error.kind().is_retryable(), "{error}");
                tries += 1;
                assert!(tries < 20, "{error}");
            }
            unclear += tries;
        }
        drop(kill);
    });
    println!("{unclear} commits had to be tried again");
    assert_eq!(job.read("read_committed"), all(0..8_000));
}

#[test]
fn commits_go_on_while_each_of_three_brokers_dies_in_turn() {
    let Some(kafka) = or_skip(KafkaServer::start_own(3)) else { return };
    let job = Job::begin(&kafka, 6);
    for n in 0..9 {
        let pending = job.stage(n as u64 + 1, n * 100..n * 100 + 100);
        let node = n as usize / 3;
        match n % 3 {
            // With two of three replicas the topic, the coordinator and the marker's group move on.
            1 => kafka.kill9_node(node).unwrap(),
            2 => kafka.start_node_again(node).unwrap(),
            _ => {}
        }
        let mut tries = 0;
        while let Err(error) = job.commit(&pending) {
            assert!(error.kind().is_retryable(), "{error}");
            tries += 1;
            assert!(tries < 10, "{error}");
        }
    }
    assert_eq!(job.read("read_committed"), all(0..900));
    assert_eq!(job.copy().open(&known(9)).unwrap().txn, Some(CheckpointId(9)));
}
