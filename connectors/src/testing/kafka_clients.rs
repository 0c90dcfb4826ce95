//! The clients by which tests change topics and write records, all of them blocking.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::admin::TopicResult;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::ThreadedProducer;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use super::kafka_passing::ask;
use super::{KafkaServerError, Record};

const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);
/// Behind it a client is made anew, which has to connect again: not so short that a busy machine never gets there.
const LOOK_TIMEOUT: Duration = Duration::from_secs(4);
const RETRY_PAUSE: Duration = Duration::from_millis(50);

type Admin = AdminClient<DefaultClientContext>;

/// One admin client and one producer for a server, whichever of its nodes run.
pub(super) struct Clients {
    config: ClientConfig,
    /// Made anew when it knows no broker: librdkafka never looks for one again (its issue 5301).
    admin: Mutex<Arc<Admin>>,
    /// Made early, as it takes a while to get its producer id from the brokers. Made anew after a
    /// failure, by which it may be fenced, and after the end of a topic that it has numbered.
    producer: Mutex<Option<ThreadedProducer<Deliveries>>>,
}

impl Clients {
    pub(super) fn new(bootstrap_servers: &str) -> Result<Self, KafkaServerError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap_servers);
        // Brokers come and go in these tests, and come back on the same address.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "250");
        let admin = Mutex::new(make_admin(&config)?);
        let clients = Self { config, admin, producer: Mutex::new(None) };
        *clients.kept_producer() = Some(clients.make_producer()?);
        Ok(clients)
    }

    pub(super) fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        config: &[(&str, &str)],
    ) -> Result<(), KafkaServerError> {
        // -1: the broker's default.replication.factor.
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        ask(&format!("create topic {name}"), || {
            each(block_on(self.admin().create_topics([&topic], &options())))
        })?;
        self.wait_for_partitions(name, partitions as usize)
    }

    pub(super) fn add_partitions(&self, name: &str, total: usize) -> Result<(), KafkaServerError> {
        let partitions = NewPartitions::new(name, total);
        let added = block_on(self.admin().create_partitions([&partitions], &options()));
        each(added).map_err(|cause| failed(&format!("add partitions to {name}"), cause))?;
        self.wait_for_partitions(name, total)
    }

    pub(super) fn delete_topic(&self, name: &str) -> Result<(), KafkaServerError> {
        let deleted = block_on(self.admin().delete_topics(&[name], &options()));
        each(deleted).map_err(|cause| failed(&format!("delete topic {name}"), cause))?;
        drop(self.kept_producer().take());
        wait_until(&format!("the end of topic {name}"), REQUEST_TIMEOUT, || {
            // All topics are asked for: asking for one by name is how clients create it.
            Ok(self.metadata().is_some_and(|seen| seen.topics().iter().all(|t| t.name() != name)))
        })
    }

    pub(super) fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        before_offset: i64,
    ) -> Result<(), KafkaServerError> {
        let what = format!("delete records of {topic}/{partition}");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::from_raw(before_offset))
            .map_err(|cause| failed(&what, cause))?;
        block_on(self.admin().delete_records(&list, &options()))
            .and_then(|done| done.elements().iter().try_for_each(TopicPartitionListElem::error))
            .map_err(|cause| failed(&what, cause))
    }

    pub(super) fn delete_group(&self, group: &str) -> Result<(), KafkaServerError> {
        ask(&format!("delete group {group}"), || {
            each(block_on(self.admin().delete_groups(&[group], &options())))
        })
    }

    /// The offset of the first record that is left and the offset that the next record will get.
    pub(super) fn watermarks(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<(i64, i64), KafkaServerError> {
        ask(&format!("read the offsets of {topic}/{partition}"), || {
            self.admin().inner().fetch_watermarks(topic, partition, REQUEST_TIMEOUT)
        })
    }

    /// Whether `brokers` brokers can be reached and, where asked for, every partition serves.
    pub(super) fn is_ready(&self, brokers: usize, all_partitions: bool) -> bool {
        self.metadata().is_some_and(|seen| {
            seen.brokers().len() >= brokers
                && (!all_partitions || seen.topics().iter().all(|topic| self.serves(topic)))
        })
    }

    /// Whether the leaders answer for the topic's partitions: metadata tells of them too early.
    fn serves(&self, topic: &MetadataTopic) -> bool {
        topic.partitions().iter().all(|partition| {
            let admin = self.admin();
            partition.leader() >= 0
                && admin
                    .inner()
                    .fetch_watermarks(topic.name(), partition.id(), LOOK_TIMEOUT)
                    .is_ok()
        })
    }

    /// Writes all records and waits until the brokers have them; offsets in the records' order.
    pub(super) fn produce<'a>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = Record<'a>>,
    ) -> Result<Vec<i64>, KafkaServerError> {
        let mut kept = self.kept_producer();
        let producer = kept.take().map_or_else(|| self.make_producer(), Ok)?;
        let offsets = send_all(&producer, topic, records)
            .map_err(|cause| failed(&format!("write records to {topic}"), cause))?;
        *kept = Some(producer);
        Ok(offsets)
    }

    fn kept_producer(&self) -> MutexGuard<'_, Option<ThreadedProducer<Deliveries>>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_producer(&self) -> Result<ThreadedProducer<Deliveries>, KafkaServerError> {
        let mut config = self.config.clone();
        // A fixture must hold each record once and in order, even if a broker is killed meanwhile.
        config.set("enable.idempotence", "true").set("linger.ms", "2");
        config.set("message.timeout.ms", REQUEST_TIMEOUT.as_millis().to_string());
        config.create_with_context(Deliveries).map_err(|cause| failed("make a producer", cause))
    }

    fn metadata(&self) -> Option<Metadata> {
        let seen = self.admin().inner().fetch_metadata(None, LOOK_TIMEOUT).ok();
        let seen = seen.filter(|seen| !seen.brokers().is_empty());
        if seen.is_none()
            && let Ok(another) = make_admin(&self.config)
        {
            *self.admin.lock().unwrap_or_else(PoisonError::into_inner) = another;
        }
        seen
    }

    fn admin(&self) -> Arc<Admin> {
        Arc::clone(&self.admin.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wait_for_partitions(&self, topic: &str, total: usize) -> Result<(), KafkaServerError> {
        wait_until(&format!("all {total} partitions of {topic}"), REQUEST_TIMEOUT, || {
            Ok(self.metadata().is_some_and(|seen| {
                let found = seen.topics().iter().find(|found| found.name() == topic);
                found.is_some_and(|found| found.partitions().len() == total && self.serves(found))
            }))
        })
    }
}

/// Asks again and again until the answer is yes, an error, or the time is up.
pub(super) fn wait_until(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> Result<bool, KafkaServerError>,
) -> Result<(), KafkaServerError> {
    let deadline = Instant::now() + timeout;
    while !condition()? {
        if Instant::now() >= deadline {
            return Err(KafkaServerError::TimedOut { what: what.to_owned(), after: timeout });
        }
        thread::sleep(RETRY_PAUSE);
    }
    Ok(())
}

fn send_all<'a>(
    producer: &ThreadedProducer<Deliveries>,
    topic: &str,
    records: impl IntoIterator<Item = Record<'a>>,
) -> KafkaResult<Vec<i64>> {
    // The producer learns of new partitions by this; unasked, it would take minutes.
    let seen = producer.client().fetch_metadata(Some(topic), REQUEST_TIMEOUT)?;
    let fault = seen.topics().iter().find_map(MetadataTopic::error).map(RDKafkaErrorCode::from);
    if fault == Some(RDKafkaErrorCode::UnknownTopicOrPartition) {
        return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
    }
    let (outcomes, delivered) = mpsc::channel();
    let mut sent = 0;
    for record in records {
        let delivery = Box::new(Delivery { index: sent, outcome: outcomes.clone() });
        let mut message = BaseRecord::<[u8], [u8], _>::with_opaque_to(topic, delivery);
        message = message.partition(record.partition);
        if let Some(key) = record.key {
            message = message.key(key);
        }
        if let Some(payload) = record.payload {
            message = message.payload(payload);
        }
        if let Some(timestamp_ms) = record.timestamp_ms {
            message = message.timestamp(timestamp_ms);
        }
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        while let Err((cause, refused)) = producer.send(message) {
            let full = cause.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !full || Instant::now() >= deadline {
                return Err(cause);
            }
            message = refused;
            thread::sleep(RETRY_PAUSE);
        }
        sent += 1;
    }
    let mut offsets = vec![0; sent];
    for _ in 0..sent {
        let (index, offset) = delivered
            .recv_timeout(REQUEST_TIMEOUT * 2)
            .map_err(|_| KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut))?;
        offsets[index] = offset?;
    }
    Ok(offsets)
}

/// Sends each delivered record's offset to the call that wrote the record.
struct Deliveries;

struct Delivery {
    index: usize,
    outcome: mpsc::Sender<(usize, KafkaResult<i64>)>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Box<Delivery>) {
        let offset = match result {
            Ok(message) => Ok(message.offset()),
            Err((cause, _)) => Err(cause.clone()),
        };
        // Nobody listens any more: the call has failed already.
        drop(delivery.outcome.send((delivery.index, offset)));
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .operation_timeout(Some(REQUEST_TIMEOUT))
}

fn each(results: KafkaResult<Vec<TopicResult>>) -> KafkaResult<()> {
    results?
        .into_iter()
        .try_for_each(|result| result.map(drop).map_err(|(_, code)| KafkaError::AdminOp(code)))
}

fn failed(what: &str, cause: KafkaError) -> KafkaServerError {
    KafkaServerError::Kafka { what: what.to_owned(), cause }
}

fn make_admin(config: &ClientConfig) -> Result<Arc<Admin>, KafkaServerError> {
    config.create().map(Arc::new).map_err(|cause| failed("make an admin client", cause))
}

/// Runs an admin request, which a thread of its own drives, and so works inside any runtime or none.
fn block_on<T>(request: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut request = pin!(request);
    loop {
        match request.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}
