//! The Kafka sinks against a real Apache Kafka, read by a consumer that knows nothing of them.
#![cfg(all(feature = "kafka", feature = "test-util"))]

#[cfg(test)]
mod kafka {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use arrow_array::{Int64Array, RecordBatch, StringArray};
    use arrow_schema::SchemaRef;
    use rdkafka::ClientConfig;
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::client::DefaultClientContext;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::error::KafkaError;
    use rdkafka::message::Message;
    use rdkafka::metadata::MetadataPartition;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaErrorCode as Code, RDKafkaRespErr};
    use thalweg_connectors::kafka::{DemoBroker, KafkaCommitter, KafkaSink, KafkaSinkConfig};
    use thalweg_connectors::testing::kafka_server::{KafkaServer, or_skip, unique_topic};
    use thalweg_core::connector::sink::{
        Committed, Committer, Cut, IoHandle, PendingCommit, Sink, SinkWriter, Staged, Target,
        TargetExpectation, TargetStatus, WriterContext,
    };
    use thalweg_core::connector::staging::DecidedCheckpoint;
    use thalweg_core::testing::MemoryStaging;
    use thalweg_core::{Attempt, CheckpointId, ErrorKind, Result, SubtaskIndex};
    use tokio::runtime::Runtime;

    const TEN: Duration = Duration::from_secs(10);

    /// A job with one sink, as far as its committer can tell.
    struct Job {
        runtime: Runtime,
        servers: String,
        topic: String,
        app_id: String,
        cluster: Arc<KafkaCommitter>,
        staging: Arc<MemoryStaging>,
    }

    impl Job {
        fn begin(kafka: &KafkaServer, partitions: i32) -> Self {
            let topic = unique_topic("sink");
            kafka.create_topic(&topic, partitions, &[]).unwrap();
            let job = Self::at(kafka.bootstrap_servers(), &topic);
            job.open(&TargetExpectation::default()).unwrap();
            job
        }

        fn at(servers: &str, topic: &str) -> Self {
            Self {
                runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap(),
                servers: servers.to_owned(),
                topic: topic.to_owned(),
                app_id: format!("job/{topic}/0-of-1/mirror"),
                cluster: Arc::new(KafkaCommitter::new(KafkaSinkConfig::new(servers))),
                staging: Arc::new(MemoryStaging::default()),
            }
        }

        /// The same job in another process: what was staged is shared, as a checkpoint store is.
        fn copy(&self) -> Self {
            let copy = Self::at(&self.servers, &self.topic);
            Self { staging: Arc::clone(&self.staging), ..copy }
        }

        fn sink(&self) -> KafkaSink {
            KafkaSink::exactly_once(&self.cluster, &self.topic).key_by("name")
        }

        fn target(&self) -> Target {
            self.sink().target(&schema()).unwrap()
        }

        fn open(&self, expected: &TargetExpectation) -> Result<TargetStatus> {
            let target = self.target();
            let open = self.cluster.open(&target, &self.app_id, expected, false);
            self.runtime.block_on(open)
        }

        fn writer(&self, sink: &KafkaSink) -> Box<dyn SinkWriter> {
            let handle = self.runtime.handle().clone();
            let context = WriterContext {
                subtask: SubtaskIndex(0),
                attempt: Attempt(1),
                schema: schema(),
                io: IoHandle::new(move |future| drop(handle.spawn(future))),
                staging: Arc::clone(&self.staging) as _,
            };
            sink.writer(context).unwrap()
        }

        fn stage(&self, n: u64, ids: std::ops::Range<i64>) -> PendingCommit {
            let mut writer = self.writer(&self.sink());
            let staged = self.runtime.block_on(async {
                // The writer counts from the first checkpoint of its attempt.
                writer.write(batch(ids)).await?;
                writer.close_epoch(CheckpointId(1)).await
            });
            self.pending(n, staged.unwrap())
        }

        fn pending(&self, n: u64, staged: Staged) -> PendingCommit {
            PendingCommit {
                sink: "mirror".to_owned(),
                kind: "kafka".to_owned(),
                path: self.topic.clone(),
                target_id: String::new(),
                app_id: self.app_id.clone(),
                checkpoint: CheckpointId(n),
                rank: 0,
                rows: staged.rows,
                staged: staged.items,
                void: false,
            }
        }

        fn commit(&self, pending: &PendingCommit) -> Result<Committed> {
            let checkpoint: Arc<dyn DecidedCheckpoint> = Arc::clone(&self.staging) as _;
            self.runtime.block_on(self.cluster.commit(pending, &checkpoint))
        }

        fn read(&self, isolation: &str) -> Vec<i64> {
            let mut ids: Vec<i64> = read(&self.servers, &self.topic, isolation)
                .into_iter()
                .map(|(_, value)| serde_json::from_slice::<Row>(&value).unwrap().id)
                .collect();
            ids.sort_unstable();
            ids
        }

        /// As a broker does after its retention.
        fn forget_marker(&self) {
            let admin: AdminClient<DefaultClientContext> =
                ClientConfig::new().set("bootstrap.servers", &self.servers).create().unwrap();
            let deleted = admin.delete_groups(&[&self.app_id], &AdminOptions::new());
            self.runtime.block_on(deleted).unwrap().into_iter().for_each(|r| drop(r.unwrap()));
        }

        /// An open transaction of this job's: a message and the marker of checkpoint 2. The broker waits for its end
        /// this long.
        fn left_open(&self, milliseconds: &str) -> BaseProducer {
            let producer: BaseProducer = ClientConfig::new()
                .set("bootstrap.servers", &self.servers)
                .set("transactional.id", &self.app_id)
                .set("transaction.timeout.ms", milliseconds)
                .create()
                .unwrap();
            producer.init_transactions(TEN).unwrap();
            producer.begin_transaction().unwrap();
            let half = br#"{"id":-1,"name":null}"#;
            let record = BaseRecord::<(), [u8]>::to(&self.topic).payload(half);
            producer.send(record).map_err(|(e, _)| e).unwrap();
            producer.flush(TEN).unwrap();
            let group: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", &self.servers)
                .set("group.id", &self.app_id)
                .create()
                .unwrap();
            let mut marker = TopicPartitionList::new();
            marker.add_partition_offset(&self.topic, 0, Offset::Offset(2)).unwrap();
            let group = group.group_metadata().unwrap();
            producer.send_offsets_to_transaction(&marker, &group, TEN).unwrap();
            producer
        }
    }

    #[derive(serde::Deserialize)]
    struct Row {
        id: i64,
        name: Option<String>,
    }

    fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
        let names: StringArray = ids.clone().map(|id| Some(format!("n{}", id % 5))).collect();
        RecordBatch::try_from_iter([
            ("id", Arc::new(ids.collect::<Int64Array>()) as _),
            ("name", Arc::new(names) as _),
        ])
        .unwrap()
    }

    fn schema() -> SchemaRef {
        batch(0..0).schema()
    }

    fn all(ids: std::ops::Range<i64>) -> Vec<i64> {
        ids.collect()
    }

    /// Everything in the topic, from each partition's beginning to its end: key and value.
    fn read(servers: &str, topic: &str, isolation: &str) -> Vec<(Option<Vec<u8>>, Vec<u8>)> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", "an-independent-reader")
            .set("isolation.level", isolation)
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), TEN).unwrap();
        let mut open: Vec<i32> =
            metadata.topics()[0].partitions().iter().map(MetadataPartition::id).collect();
        let mut list = TopicPartitionList::new();
        for partition in &open {
            list.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut found = Vec::new();
        let mut quiet = 0;
        while !open.is_empty() {
            match consumer.poll(Duration::from_millis(500)) {
                // A broker that is down is told, and the others serve.
                None | Some(Err(KafkaError::MessageConsumption(Code::BrokerTransportFailure))) => {
                    quiet += 1;
                    assert!(quiet < 60, "the end does not come");
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|p| *p != partition),
                Some(Err(error)) => panic!("{error}"),
                Some(Ok(m)) => {
                    found.push((m.key().map(<[u8]>::to_vec), m.payload().unwrap().to_vec()));
                }
            }
        }
        found
    }

    fn known(txn: u64) -> TargetExpectation {
        TargetExpectation { txn: Some(CheckpointId(txn)), ..TargetExpectation::default() }
    }

    #[test]
    fn a_checkpoint_is_sent_once_however_often_it_is_finished() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let job = Job::begin(kafka, 3);
        let first = job.stage(1, 0..100);
        assert_eq!(first.rows, 100);
        assert!(job.read("read_uncommitted").is_empty(), "nothing leaves before the manifest");
        assert!(!job.commit(&first).unwrap().replayed);
        // An attempt of the same process that failed behind its commit, then other processes.
        assert!(job.commit(&first).unwrap().replayed);
        assert!(job.copy().commit(&first).unwrap().replayed);
        let second = job.stage(2, 100..120);
        let copy = job.copy();
        assert!(!copy.commit(&second).unwrap().replayed);
        assert!(copy.copy().commit(&second).unwrap().replayed);
        assert_eq!(job.read("read_committed"), all(0..120));
        assert_eq!(job.read("read_uncommitted"), all(0..120));
        assert_eq!(job.copy().open(&known(2)).unwrap().txn, Some(CheckpointId(2)));
        for (key, value) in read(&job.servers, &job.topic, "read_committed") {
            let row: Row = serde_json::from_slice(&value).unwrap();
            assert_eq!(key, row.name.map(String::into_bytes));
        }
    }

    #[test]
    fn rows_of_one_key_keep_their_order() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let job = Job::begin(kafka, 4);
        for n in 0..5 {
            job.commit(&job.stage(n as u64 + 1, n * 50..n * 50 + 50)).unwrap();
        }
        let mut last: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for (key, value) in read(&job.servers, &job.topic, "read_committed") {
            let id = serde_json::from_slice::<Row>(&value).unwrap().id;
            assert!(last.insert(key.unwrap(), id).is_none_or(|before| before < id));
        }
        assert_eq!(last.len(), 5);
    }

    #[test]
    fn a_transaction_that_a_dead_process_left_open_is_aborted_and_sent_anew() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let job = Job::begin(kafka, 1);
        job.commit(&job.stage(1, 0..10)).unwrap();
        let dead = job.left_open("60000");
        assert_eq!(job.read("read_uncommitted").len(), 11);
        // Nor does a restart wait until the broker gives the transaction up, which takes a minute.
        let copy = job.copy();
        let (target, expected) = (copy.target(), known(1));
        let open = copy.cluster.open(&target, &copy.app_id, &expected, false);
        let opened = copy.runtime.block_on(async { tokio::time::timeout(TEN, open).await });
        assert_eq!(opened.unwrap().unwrap().txn, Some(CheckpointId(1)));
        copy.commit(&job.stage(2, 10..20)).unwrap();
        // Nobody waits behind the open transaction any more, and its message is nobody's.
        assert_eq!(job.read("read_committed"), all(0..20));
        assert!(dead.commit_transaction(TEN).is_err());
    }

    #[test]
    fn a_transaction_that_sleeps_longer_than_the_broker_waits_is_nobodys() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let job = Job::begin(kafka, 1);
        job.commit(&job.stage(1, 0..10)).unwrap();
        let zombie = job.left_open("4000");
        // What comes behind an open transaction is seen once the broker has given it up.
        let behind = br#"{"id":100,"name":null}"#;
        kafka.produce(&job.topic, 0, None, Some(behind), None).unwrap();
        let given_up = (0..600).any(|_| {
            std::thread::park_timeout(Duration::from_millis(100));
            job.read("read_committed").contains(&100)
        });
        assert!(given_up, "the broker waits for ever");
        assert!(zombie.commit_transaction(TEN).is_err());
        assert_eq!(job.copy().open(&known(1)).unwrap().txn, Some(CheckpointId(1)));
        job.copy().commit(&job.stage(2, 10..20)).unwrap();
        let rows: Vec<i64> = (0..20).chain([100]).collect();
        assert_eq!(job.read("read_committed"), rows);
    }

    #[test]
    fn an_instance_that_wakes_up_late_is_fenced_and_takes_nothing_from_the_owner() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let zombie = Job::begin(kafka, 1);
        zombie.commit(&zombie.stage(1, 0..10)).unwrap();
        let late = zombie.stage(2, 10..20);
        let owner = zombie.copy();
        owner.commit(&late).unwrap();
        owner.commit(&owner.stage(3, 20..30)).unwrap();
        // Its producer was fenced, and its manifest is no longer the newest.
        zombie.staging.supersede();
        assert_eq!(zombie.commit(&late).unwrap_err().kind(), ErrorKind::Fenced);
        let staged = owner.stage(4, 30..40);
        let newest: Arc<dyn DecidedCheckpoint> = Arc::new(Copied(Arc::clone(&owner.staging)));
        let committed = owner.runtime.block_on(owner.cluster.commit(&staged, &newest)).unwrap();
        assert!(!committed.replayed, "the owner's session was left alone");
        assert_eq!(owner.read("read_committed"), all(0..40));
        // Even one that believes its manifest the newest finds the marker ahead.
        let believer = owner.copy();
        let newest: Arc<dyn DecidedCheckpoint> = Arc::new(Copied(Arc::clone(&owner.staging)));
        let error = believer.runtime.block_on(believer.cluster.commit(&late, &newest)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        assert_eq!(owner.read("read_committed"), all(0..40));
    }

    /// What is staged, in a store where the asker's manifest always is the newest.
    #[derive(Debug)]
    struct Copied(Arc<MemoryStaging>);

    impl DecidedCheckpoint for Copied {
        fn read(&self, s: &thalweg_core::connector::staging::StagedBytes) -> Result<Vec<u8>> {
            DecidedCheckpoint::read(self.0.as_ref(), s)
        }

        fn is_newest(&self) -> Result<bool> {
            Ok(true)
        }
    }

    #[test]
    fn a_marker_that_is_gone_stops_the_job_before_it_sends_anything_twice() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let job = Job::begin(kafka, 1);
        job.commit(&job.stage(1, 0..10)).unwrap();
        assert_eq!(job.copy().open(&known(2)).unwrap_err().kind(), ErrorKind::DataLoss);
        assert!(job.copy().open(&known(1)).is_ok());
        job.forget_marker();
        let error = job.copy().open(&known(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.to_string().contains("--fresh"), "{error}");
    }

    #[test]
    fn the_marker_of_a_quiet_sink_is_written_again_beside_the_commits_of_others() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let mut config = KafkaSinkConfig::new(kafka.bootstrap_servers());
        config.marker_refresh = Duration::ZERO;
        let job = Job::begin(kafka, 1);
        let job = Job { cluster: Arc::new(KafkaCommitter::new(config)), ..job };
        job.commit(&job.stage(1, 0..10)).unwrap();
        job.forget_marker();
        assert!(job.copy().open(&known(1)).is_err());
        let cut = Cut {
            job: "job".to_owned(),
            chain: "chain".to_owned(),
            checkpoint: CheckpointId(7),
            created_at: 0,
            versions: BTreeMap::new(),
        };
        job.runtime.block_on(job.cluster.publish_cut(&cut)).unwrap();
        assert_eq!(job.copy().open(&known(1)).unwrap().txn, Some(CheckpointId(1)));
        assert_eq!(job.read("read_committed"), all(0..10));
        // And the session still commits.
        assert!(!job.commit(&job.stage(8, 10..20)).unwrap().replayed);
        assert_eq!(job.read("read_committed"), all(0..20));
    }

    #[test]
    fn a_topic_created_again_or_in_another_cluster_is_data_loss() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let job = Job::begin(kafka, 1);
        let id = job.open(&TargetExpectation::default()).unwrap().id;
        job.commit(&job.stage(1, 0..10)).unwrap();
        let expected = |id: &str| TargetExpectation { id: Some(id.to_owned()), ..known(1) };
        assert!(job.copy().open(&expected(&id)).is_ok());
        let elsewhere = job.copy().open(&expected("another/topic")).unwrap_err();
        assert_eq!(elsewhere.kind(), ErrorKind::DataLoss);
        kafka.delete_topic(&job.topic).unwrap();
        let gone = job.copy().open(&expected(&id)).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::DataLoss);
        kafka.create_topic(&job.topic, 1, &[]).unwrap();
        let anew = job.copy().open(&expected(&id)).unwrap_err();
        assert_eq!(anew.kind(), ErrorKind::DataLoss, "{anew}");
    }

    #[test]
    fn a_topic_that_nobody_made_is_made_at_the_first_start() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let job = Job::at(kafka.bootstrap_servers(), &unique_topic("new"));
        job.open(&TargetExpectation::default()).unwrap();
        job.commit(&job.stage(1, 0..3)).unwrap();
        assert_eq!(job.read("read_committed"), all(0..3));
    }

    #[test]
    fn a_message_longer_than_the_topic_takes_is_refused_before_the_checkpoint() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let topic = unique_topic("small");
        kafka.create_topic(&topic, 1, &[("max.message.bytes", "400")]).unwrap();
        let job = Job::at(kafka.bootstrap_servers(), &topic);
        job.open(&TargetExpectation::default()).unwrap();
        let write = |text: String| {
            let rows = RecordBatch::try_from_iter([
                ("id", Arc::new(Int64Array::from(vec![1])) as _),
                ("name", Arc::new(StringArray::from(vec![text])) as _),
            ]);
            let mut writer = job.writer(&KafkaSink::exactly_once(&job.cluster, &topic));
            job.runtime.block_on(async {
                writer.write(rows.unwrap()).await?;
                writer.close_epoch(CheckpointId(1)).await
            })
        };
        let error = write("x".repeat(600)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("max.message.bytes"), "{error}");
        // One that just fits is taken by the broker as well.
        let fits = job.pending(1, write("x".repeat(250)).unwrap());
        job.commit(&fits).unwrap();
        assert_eq!(job.read("read_committed"), [1]);
    }

    #[test]
    fn rows_that_are_given_up_move_the_marker_and_send_nothing() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let job = Job::begin(kafka, 1);
        let lost = job.stage(1, 0..10);
        let void = job.runtime.block_on(job.cluster.void(&lost)).unwrap();
        assert!(!void.replayed);
        assert!(job.copy().commit(&lost).unwrap().replayed);
        assert!(job.read("read_uncommitted").is_empty());
    }

    #[test]
    fn a_broker_without_transactions_is_refused() {
        let broker = DemoBroker::start("mirror", 1).unwrap();
        let job = Job::at(broker.bootstrap_servers(), "mirror");
        job.open(&TargetExpectation::default()).unwrap();
        let error = job.commit(&job.stage(1, 0..3)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    }

    #[test]
    fn settings_that_the_promise_depends_on_are_refused() {
        let mut config = KafkaSinkConfig::new("127.0.0.1:1");
        config.properties.insert("transactional.id".into(), "mine".into());
        let refused = |config: KafkaSinkConfig| {
            let job = Job::at("127.0.0.1:1", "t");
            let job = Job { cluster: Arc::new(KafkaCommitter::new(config)), ..job };
            job.open(&TargetExpectation::default()).unwrap_err()
        };
        assert!(refused(config).to_string().contains("transactional.id"));
        let mut config = KafkaSinkConfig::new("127.0.0.1:1");
        config.transaction_timeout = Duration::from_secs(1);
        assert_eq!(refused(config).kind(), ErrorKind::InvalidConfig);
    }

    #[test]
    fn a_transaction_timeout_beyond_the_brokers_is_named() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let job = Job::begin(kafka, 1);
        let mut config = KafkaSinkConfig::new(kafka.bootstrap_servers());
        config.transaction_timeout = Duration::from_hours(24);
        let job = Job { cluster: Arc::new(KafkaCommitter::new(config)), ..job };
        let error = job.commit(&job.stage(1, 0..1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("transaction.max.timeout.ms"), "{error}");
    }

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

    #[test]
    fn at_least_once_messages_are_there_before_the_checkpoint_and_a_checkpoint_waits_for_them() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let job = Job::begin(kafka, 2);
        let sink = KafkaSink::at_least_once(&job.cluster, &job.topic);
        let mut writer = job.writer(&sink);
        job.runtime.block_on(writer.write(batch(0..5_000))).unwrap();
        // Nothing was closed, and readers have it all the same.
        for _ in 0..100 {
            if job.read("read_committed").len() == 5_000 {
                break;
            }
        }
        assert_eq!(job.read("read_committed"), all(0..5_000));
        let closed = job.runtime.block_on(async {
            writer.write(batch(5_000..6_000)).await?;
            let closing = writer.close_epoch(CheckpointId(1));
            // Rows of the next epoch are not counted.
            writer.write(batch(6_000..6_001)).await?;
            closing.await
        });
        assert_eq!(closed.unwrap(), Staged { items: Vec::new(), rows: 6_000 });
        let ids = job.read("read_committed");
        assert!(ids.len() >= 6_000, "{}", ids.len());
    }

    #[test]
    fn an_at_least_once_checkpoint_waits_out_whatever_passes() {
        use RDKafkaRespErr::{
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as REPLICAS,
            RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as MOVED,
            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as TIMEOUT,
        };
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

    #[test]
    fn an_at_least_once_checkpoint_fails_when_the_broker_is_gone() {
        let broker = DemoBroker::start("mirror", 1).unwrap();
        let servers = broker.bootstrap_servers().to_owned();
        let job = Job::at(&servers, "mirror");
        let mut config = KafkaSinkConfig::new(&servers);
        config.properties.insert("message.timeout.ms".into(), "500".into());
        let cluster = Arc::new(KafkaCommitter::new(config));
        let sink = KafkaSink::at_least_once(&cluster, "mirror");
        let mut writer = job.writer(&sink);
        drop(broker);
        let closed = job.runtime.block_on(async {
            writer.write(batch(0..10)).await?;
            writer.close_epoch(CheckpointId(1)).await
        });
        assert_eq!(closed.unwrap_err().kind(), ErrorKind::Transient);
    }
}
