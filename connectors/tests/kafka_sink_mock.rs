//! The Kafka sinks among librdkafka's mock brokers, which have troubles to order. They are apart from the tests
//! with a real broker: its process would inherit the mock brokers' sockets, and one that is taken down would seem to be
//! there and to say nothing, until messages run out of time.
#![cfg(all(feature = "kafka", feature = "test-util"))]

#[cfg(test)]
#[path = "kafka/job.rs"]
#[expect(dead_code, reason = "shared with the tests with a real broker, which use all of it")]
mod job;

#[cfg(test)]
mod troubles {
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use thalweg_connectors::kafka::KafkaSink;
    use thalweg_core::{CheckpointId, ErrorKind};

    use crate::job::{Job, all, batch};

    /// One of these tests counts what the process holds.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Threads and open files of this process.
    fn held() -> [usize; 2] {
        ["task", "fd"].map(|what| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count())
    }

    #[test]
    fn producers_that_fail_to_start_leave_nothing_behind() {
        use RDKafkaRespErr::{
            RD_KAFKA_RESP_ERR_PRODUCER_FENCED as FENCED,
            RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED as FORBIDDEN,
        };
        let _alone = alone();
        let brokers = MockCluster::new(1).unwrap();
        brokers.create_topic("mirror", 1, 1).unwrap();
        let job = Job::at(&brokers.bootstrap_servers(), "mirror");
        let pending = job.stage(1, 0..10);
        let fail = || {
            // The first is followed by another within the commit, the second ends it.
            brokers.request_errors(RDKafkaApiKey::InitProducerId, &[FENCED, FORBIDDEN]);
            let error = job.commit(&pending).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            assert!(error.to_string().contains("transactional ids"), "{error}");
        };
        fail();
        let before = held();
        (0..20).for_each(|_| fail());
        // The runtime may have made a thread or two, and brokers close their ends a moment later. Each of the 40 producers
        // has several threads and files.
        let freed = (0..600).any(|_| {
            let few = held().iter().zip(before).all(|(now, before)| *now <= before + 8);
            if !few {
                std::thread::park_timeout(Duration::from_millis(100));
            }
            few
        });
        assert!(freed, "threads and files before {before:?}, now {:?}", held());
    }

    #[test]
    fn an_at_least_once_checkpoint_waits_out_whatever_passes() {
        use RDKafkaRespErr::{
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as REPLICAS,
            RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as MOVED,
            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as TIMEOUT,
        };
        let _alone = alone();
        let brokers = MockCluster::new(3).unwrap();
        brokers.create_topic("mirror", 1, 3).unwrap();
        brokers.partition_leader("mirror", 0, Some(1)).unwrap();
        let servers = brokers.bootstrap_servers();
        let job = Job::at(&servers, "mirror");
        let mut writer = job.writer(&KafkaSink::at_least_once(&job.cluster, "mirror"));
        let troubles: [&dyn Fn(); 5] = [
            &|| brokers.request_errors(RDKafkaApiKey::Produce, &[MOVED; 3]),
            &|| brokers.request_errors(RDKafkaApiKey::Produce, &[TIMEOUT, REPLICAS, TIMEOUT]),
            &|| brokers.broker_round_trip_time(1, Duration::from_millis(300)).unwrap(),
            &|| {
                brokers.partition_leader("mirror", 0, Some(2)).unwrap();
                brokers.broker_down(1).unwrap();
            },
            &|| brokers.broker_up(1).unwrap(),
        ];
        for (n, trouble) in (0..).zip(troubles) {
            let closed = job.runtime.block_on(async {
                writer.write(batch(n * 1_000..n * 1_000 + 500)).await?;
                trouble();
                writer.write(batch(n * 1_000 + 500..n * 1_000 + 1_000)).await?;
                writer.close_epoch(CheckpointId(n.cast_unsigned() + 1)).await
            });
            assert_eq!(closed.unwrap().rows, 1_000);
            // What a checkpoint has waited for is there.
            let mut ids = job.read("read_committed");
            ids.dedup();
            assert_eq!(ids, all(0..n * 1_000 + 1_000));
        }
    }
}
