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
    use std::ops::Range;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
    use rdkafka::mocking::MockCluster;
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use thalweg_connectors::kafka::KafkaSink;
    use thalweg_core::connector::sink::Committer;
    use thalweg_core::connector::staging::{DecidedCheckpoint, StagedBytes};
    use thalweg_core::testing::MemoryStaging;
    use thalweg_core::{CheckpointId, ErrorKind, Result};

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

    /// What is staged. Mock brokers answer what moves the marker within a transaction, and keep nothing of it: it is moved
    /// plainly when the rows of that session are read whose transaction is to come through. Nor do they take back the rows of
    /// a transaction that is aborted, so whether rows come once can be told only where no session that sent any has failed.
    #[derive(Debug)]
    struct Kept {
        staging: Arc<MemoryStaging>,
        servers: String,
        topic: String,
        app_id: String,
        checkpoint: i64,
        session: usize,
        reads: AtomicUsize,
    }

    impl DecidedCheckpoint for Kept {
        fn read(&self, staged: &StagedBytes) -> Result<Vec<u8>> {
            if self.reads.fetch_add(1, Ordering::Relaxed) + 1 == self.session {
                let group: BaseConsumer = ClientConfig::new()
                    .set("bootstrap.servers", &self.servers)
                    .set("group.id", &self.app_id)
                    .create()
                    .unwrap();
                let mut marker = TopicPartitionList::new();
                let at = Offset::Offset(self.checkpoint);
                marker.add_partition_offset(&self.topic, 0, at).unwrap();
                group.commit(&marker, CommitMode::Sync).unwrap();
            }
            DecidedCheckpoint::read(self.staging.as_ref(), staged)
        }

        fn is_newest(&self) -> Result<bool> {
            Ok(true)
        }
    }

    /// Commits these rows as checkpoint `n`, which takes this many sessions.
    fn commit(job: &Job, n: i64, ids: Range<i64>, sessions: usize) {
        let pending = job.stage(n.cast_unsigned(), ids);
        let kept = Arc::new(Kept {
            staging: Arc::clone(&job.staging),
            servers: job.servers.clone(),
            topic: job.topic.clone(),
            app_id: job.app_id.clone(),
            checkpoint: n,
            session: sessions,
            reads: AtomicUsize::new(0),
        });
        let checkpoint = Arc::clone(&kept) as Arc<dyn DecidedCheckpoint>;
        let committed = job.runtime.block_on(job.cluster.commit(&pending, &checkpoint)).unwrap();
        assert!(!committed.replayed, "checkpoint {n}");
        assert_eq!(kept.reads.load(Ordering::Relaxed), sessions, "checkpoint {n}");
    }

    #[test]
    fn a_checkpoint_whose_requests_are_refused_for_a_moment_comes_once_by_one_session() {
        use RDKafkaRespErr::{
            RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS as BUSY,
            RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS as LOADS,
            RD_KAFKA_RESP_ERR_NOT_COORDINATOR as ELSEWHERE,
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as REPLICAS,
            RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as MOVED,
            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as TIMEOUT,
        };
        let _alone = alone();
        let brokers = MockCluster::new(1).unwrap();
        brokers.create_topic("mirror", 1, 1).unwrap();
        let job = Job::at(&brokers.bootstrap_servers(), "mirror");
        let troubles = [
            (RDKafkaApiKey::AddPartitionsToTxn, [BUSY, LOADS, ELSEWHERE]),
            (RDKafkaApiKey::Produce, [MOVED, REPLICAS, TIMEOUT]),
            (RDKafkaApiKey::AddOffsetsToTxn, [BUSY, LOADS, ELSEWHERE]),
            (RDKafkaApiKey::TxnOffsetCommit, [BUSY, LOADS, ELSEWHERE]),
            (RDKafkaApiKey::EndTxn, [BUSY, LOADS, ELSEWHERE]),
        ];
        for (n, (request, errors)) in (1..).zip(troubles) {
            brokers.request_errors(request, &errors);
            commit(&job, n, (n - 1) * 10..n * 10, 1);
            assert_eq!(job.read("read_committed"), all(0..n * 10));
        }
        // Behind an end that was sent again there is another producer, which sends the next ones once as well.
        commit(&job, 6, 50..60, 1);
        assert_eq!(job.read("read_committed"), all(0..60));
    }

    #[test]
    fn a_producer_that_is_fenced_before_its_rows_are_sent_is_followed_by_one_that_sends_them_once()
    {
        use RDKafkaRespErr::{
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH as EPOCH,
            RD_KAFKA_RESP_ERR_PRODUCER_FENCED as FENCED,
        };
        let _alone = alone();
        let brokers = MockCluster::new(1).unwrap();
        brokers.create_topic("mirror", 1, 1).unwrap();
        let job = Job::at(&brokers.bootstrap_servers(), "mirror");
        for (n, error) in (1..).zip([FENCED, EPOCH]) {
            brokers.request_errors(RDKafkaApiKey::AddPartitionsToTxn, &[error]);
            commit(&job, n, (n - 1) * 10..n * 10, 2);
            assert_eq!(job.read("read_committed"), all(0..n * 10));
        }
    }

    #[test]
    fn what_a_broker_forbids_within_a_transaction_ends_the_commit_and_is_named() {
        use RDKafkaRespErr::{
            RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED as GROUP,
            RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED as ID,
        };
        let _alone = alone();
        let brokers = MockCluster::new(1).unwrap();
        for (topic, request, error, named) in [
            ("a", RDKafkaApiKey::AddOffsetsToTxn, GROUP, "groups"),
            ("b", RDKafkaApiKey::TxnOffsetCommit, GROUP, "groups"),
            ("c", RDKafkaApiKey::EndTxn, ID, "transactional ids"),
        ] {
            brokers.create_topic(topic, 1, 1).unwrap();
            let job = Job::at(&brokers.bootstrap_servers(), topic);
            let pending = job.stage(1, 0..10);
            brokers.request_errors(request, &[error]);
            let told = job.commit(&pending).unwrap_err();
            assert_eq!(told.kind(), ErrorKind::InvalidConfig, "{told}");
            assert!(told.to_string().contains(named), "{told}");
        }
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
