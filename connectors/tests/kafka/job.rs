//! A job with one Kafka sink, and an independent reader of its topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;
use thalweg_connectors::kafka::{KafkaCommitter, KafkaSink, KafkaSinkConfig};
use thalweg_connectors::testing::kafka_server::{KafkaServer, unique_topic, wait_for_ends};
use thalweg_core::connector::sink::{
    Committed, Committer, IoHandle, PendingCommit, Sink, SinkWriter, Staged, Target,
    TargetExpectation, TargetStatus, WriterContext,
};
use thalweg_core::connector::staging::{DecidedCheckpoint, StagedBytes};
use thalweg_core::testing::MemoryStaging;
use thalweg_core::{Attempt, CheckpointId, Error, Result, SubtaskIndex};
use tokio::runtime::Runtime;

/// The shortest limit of a transaction that the sink accepts.
pub(crate) const TEN: Duration = Duration::from_secs(10);
/// How long a test waits for an answer of a broker that a busy machine may hold up.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// Polls of half a second in which a reader gets nothing: two minutes.
const MOST_QUIET: u32 = 240;
/// A commit that is tried again and again has come through within this.
const AT_LAST: Duration = Duration::from_mins(5);

/// Waits until it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "{what} did not come");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[expect(clippy::disallowed_methods, reason = "a test that waits has a limit")]
fn now() -> Instant {
    Instant::now()
}

/// A job with one sink, as far as its committer can tell.
pub(crate) struct Job {
    pub(crate) runtime: Runtime,
    pub(crate) servers: String,
    pub(crate) topic: String,
    pub(crate) app_id: String,
    pub(crate) cluster: Arc<KafkaCommitter>,
    pub(crate) staging: Arc<MemoryStaging>,
}

impl Job {
    pub(crate) fn begin(kafka: &KafkaServer, partitions: i32) -> Self {
        let topic = unique_topic("sink");
        kafka.create_topic(&topic, partitions, &[]).unwrap();
        let job = Self::at(kafka.bootstrap_servers(), &topic);
        job.open_at_last();
        job
    }

    pub(crate) fn at(servers: &str, topic: &str) -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap(),
            servers: servers.to_owned(),
            topic: topic.to_owned(),
            app_id: format!("job/{topic}/0-of-1/mirror"),
            cluster: Arc::new(KafkaCommitter::new(KafkaSinkConfig::new(servers))),
            staging: Arc::new(MemoryStaging::default()),
        }
    }

    /// The same job with other settings.
    pub(crate) fn with(self, change: impl FnOnce(&mut KafkaSinkConfig)) -> Self {
        let mut config = KafkaSinkConfig::new(&self.servers);
        change(&mut config);
        Self { cluster: Arc::new(KafkaCommitter::new(config)), ..self }
    }

    /// The same job in another process: what was staged is shared, as a checkpoint store is.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::at(&self.servers, &self.topic);
        Self { staging: Arc::clone(&self.staging), ..copy }
    }

    fn sink(&self) -> KafkaSink {
        KafkaSink::exactly_once(&self.cluster, &self.topic).key_by("name")
    }

    pub(crate) fn target(&self) -> Target {
        self.sink().target(&schema()).unwrap()
    }

    pub(crate) fn open(&self, expected: &TargetExpectation) -> Result<TargetStatus> {
        let target = self.target();
        let open = self.cluster.open(&target, &self.app_id, expected, false);
        self.runtime.block_on(open)
    }

    /// Opens for the first time as the restart strategy would: brokers that make the topic of groups just now may refuse for
    /// longer than one start asks them.
    pub(crate) fn open_at_last(&self) {
        let since = now();
        while let Err(error) = self.open(&TargetExpectation::default()) {
            assert!(error.kind().is_retryable() && since.elapsed() < AT_LAST, "{error}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    pub(crate) fn writer(&self, sink: &KafkaSink) -> Box<dyn SinkWriter> {
        self.writer_of(sink, schema())
    }

    pub(crate) fn writer_of(&self, sink: &KafkaSink, schema: SchemaRef) -> Box<dyn SinkWriter> {
        let handle = self.runtime.handle().clone();
        let context = WriterContext {
            subtask: SubtaskIndex(0),
            attempt: Attempt(1),
            schema,
            io: IoHandle::new(move |future| drop(handle.spawn(future))),
            staging: Arc::clone(&self.staging) as _,
        };
        sink.writer(context).unwrap()
    }

    pub(crate) fn stage(&self, n: u64, ids: std::ops::Range<i64>) -> PendingCommit {
        let mut writer = self.writer(&self.sink());
        let staged = self.runtime.block_on(async {
            // The writer counts from the first checkpoint of its attempt.
            writer.write(batch(ids)).await?;
            writer.close_epoch(CheckpointId(1)).await
        });
        self.pending(n, staged.unwrap())
    }

    pub(crate) fn pending(&self, n: u64, staged: Staged) -> PendingCommit {
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

    pub(crate) fn commit(&self, pending: &PendingCommit) -> Result<Committed> {
        self.runtime.block_on(self.cluster.commit(pending, &self.decided()))
    }

    /// Commits as the restart strategy would: what fails and may pass is tried again, behind `between`. How often it
    /// failed.
    pub(crate) fn commit_at_last(
        &self,
        pending: &PendingCommit,
        mut between: impl FnMut(&Error),
    ) -> u32 {
        let (since, mut failed) = (now(), 0);
        while let Err(error) = self.commit(pending) {
            assert!(error.kind().is_retryable(), "{error}");
            failed += 1;
            assert!(since.elapsed() < AT_LAST, "it has failed {failed} times: {error}");
            between(&error);
        }
        failed
    }

    /// Tells its committer that `checkpoint` is finished, of whose rows none need be this sink's.
    pub(crate) fn refresh(&self, checkpoint: &Arc<dyn DecidedCheckpoint>) {
        self.runtime.block_on(self.cluster.refresh(checkpoint));
    }

    /// What it staged, as a committer asks for it.
    pub(crate) fn decided(&self) -> Arc<dyn DecidedCheckpoint> {
        Arc::clone(&self.staging) as Arc<dyn DecidedCheckpoint>
    }

    pub(crate) fn read(&self, isolation: &str) -> Vec<i64> {
        let mut ids: Vec<i64> = read(&self.servers, &self.topic, isolation)
            .into_iter()
            .map(|(_, value)| serde_json::from_slice::<Row>(&value).unwrap().id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// As a broker does after its retention.
    pub(crate) fn forget_marker(&self) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.servers).create().unwrap();
        let deleted = admin.delete_groups(&[&self.app_id], &AdminOptions::new());
        self.runtime.block_on(deleted).unwrap().into_iter().for_each(|r| drop(r.unwrap()));
    }

    /// An open transaction of this job's: a message and the marker of checkpoint 2. The broker waits for its end
    /// this long.
    pub(crate) fn left_open(&self, milliseconds: &str) -> BaseProducer {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.servers)
            .set("transactional.id", &self.app_id)
            .set("transaction.timeout.ms", milliseconds)
            .create()
            .unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        let half = br#"{"id":-1,"name":null}"#;
        let record = BaseRecord::<(), [u8]>::to(&self.topic).payload(half);
        producer.send(record).map_err(|(e, _)| e).unwrap();
        producer.flush(PATIENCE).unwrap();
        let group: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.servers)
            .set("group.id", &self.app_id)
            .create()
            .unwrap();
        let mut marker = TopicPartitionList::new();
        marker.add_partition_offset(&self.topic, 0, Offset::Offset(2)).unwrap();
        let group = group.group_metadata().unwrap();
        producer.send_offsets_to_transaction(&marker, &group, PATIENCE).unwrap();
        producer
    }
}

/// What is staged, in a store where the asker's manifest always is the newest.
#[derive(Debug)]
pub(crate) struct Believed(pub(crate) Arc<MemoryStaging>);

impl DecidedCheckpoint for Believed {
    fn read(&self, staged: &StagedBytes) -> Result<Vec<u8>> {
        DecidedCheckpoint::read(self.0.as_ref(), staged)
    }

    fn is_newest(&self) -> Result<bool> {
        Ok(true)
    }
}

#[derive(serde::Deserialize)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) name: Option<String>,
}

pub(crate) fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
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

pub(crate) fn all(ids: std::ops::Range<i64>) -> Vec<i64> {
    ids.collect()
}

pub(crate) fn consumer(servers: &str, isolation: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "an-independent-reader")
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap()
}

/// Everything in the topic, from each partition's beginning to its end: key and value. Of committed messages once the
/// transactions that are in it by now have ended. By offset: behind a change of the leader's epoch, as a thaw brings one,
/// librdkafka may give a consumer the same message again.
pub(crate) fn read(servers: &str, topic: &str, isolation: &str) -> Vec<(Option<Vec<u8>>, Vec<u8>)> {
    if isolation == "read_committed" {
        wait_for_ends(servers, topic).unwrap();
    }
    let consumer = consumer(servers, isolation);
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut open: Vec<i32> =
        metadata.topics()[0].partitions().iter().map(MetadataPartition::id).collect();
    let mut list = TopicPartitionList::new();
    for partition in &open {
        list.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut found = BTreeMap::new();
    let mut again = 0;
    let mut quiet = 0;
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(500)) {
            // A broker that is down is told, and the others serve.
            None
            | Some(Err(KafkaError::MessageConsumption(
                Code::BrokerTransportFailure | Code::AllBrokersDown,
            ))) => {
                quiet += 1;
                assert!(quiet < MOST_QUIET, "the end does not come");
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|p| *p != partition),
            Some(Err(error)) => panic!("{error}"),
            Some(Ok(m)) => {
                let message = (m.key().map(<[u8]>::to_vec), m.payload().unwrap().to_vec());
                again += usize::from(found.insert((m.partition(), m.offset()), message).is_some());
            }
        }
    }
    println!("{} messages, {again} of them given to the reader again", found.len());
    found.into_values().collect()
}

pub(crate) fn known(txn: u64) -> TargetExpectation {
    TargetExpectation { txn: Some(CheckpointId(txn)), ..TargetExpectation::default() }
}
