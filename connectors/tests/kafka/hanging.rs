//! Transactions that the coordinator has ended and a partition has not, as brokers of some versions leave them behind where
//! the partition had no leader at that moment (KAFKA-20734), and others of old.

use std::thread;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, Producer};
use thalweg_connectors::testing::kafka_server::{
    KafkaServer, or_skip, unique_topic, wait_for_ends,
};
use thalweg_core::ErrorKind;

use crate::job::{Job, PATIENCE, TEN, all, consumer, wait_until};

/// A topic whose one partition is on one broker only, and a job that has sent its checkpoint 1 there.
fn job(kafka: &KafkaServer) -> Job {
    let job = Job::at(kafka.bootstrap_servers(), &unique_topic("sink"))
        .with(|config| config.transaction_timeout = TEN);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &job.servers).create().unwrap();
    let topic = NewTopic::new(&job.topic, 1, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new());
    job.runtime.block_on(made).unwrap().into_iter().for_each(|r| drop(r.unwrap()));
    wait_until("the new topic", || kafka.watermarks(&job.topic, 0).is_ok());
    job.open_at_last();
    job.commit(&job.stage(1, 0..10)).unwrap();
    // What comes next is behind its end, which may be told before it is there.
    wait_for_ends(&job.servers, &job.topic).unwrap();
    job
}

/// The broker that leads the partition; none while it is down.
fn leader(job: &Job) -> Option<i32> {
    use rdkafka::consumer::Consumer;
    let consumer = consumer(&job.servers, "read_committed");
    let metadata = consumer.fetch_metadata(Some(&job.topic), PATIENCE).unwrap();
    let found = metadata.topics()[0].partitions()[0].leader();
    (found >= 0).then_some(found)
}

#[test]
fn rows_of_an_aborted_transaction_that_hangs_are_not_committed_with_the_next() {
    let Some(kafka) = or_skip(KafkaServer::start_own(3)) else { return };
    let job = job(&kafka);
    let (_, from) = kafka.watermarks(&job.topic, 0).unwrap();
    // A process that died with a message and the marker of checkpoint 2 sent.
    let dead = job.left_open("600000");
    let node = usize::try_from(leader(&job).unwrap()).unwrap();
    kafka.kill9_node(node).unwrap();
    wait_until("the end of the dead broker's lead", || leader(&job).is_none());
    // Another takes over meanwhile. A coordinator without the fault waits for the partition.
    let next: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &job.servers)
        .set("transactional.id", &job.app_id)
        .create()
        .unwrap();
    let over = next.init_transactions(TEN);
    println!("the transaction is over before its partition is there: {}", over.is_ok());
    drop((next, dead));
    kafka.start_node_again(node).unwrap();
    thread::scope(|scope| {
        let (job, pending) = (&job, job.stage(2, 10..20));
        // Each try waits for a while itself, all of them for the operator below.
        let sent = scope.spawn(move || job.commit_at_last(&pending, |_| ()));
        // An operator ends what hangs. Without the fault there is nothing.
        println!("by hand: {:?}", kafka.abort_transaction(&job.topic, 0, from));
        sent.join().unwrap();
    });
    assert_eq!(job.read("read_committed"), all(0..20));
}

#[test]
fn nothing_is_sent_while_an_earlier_transaction_of_anybody_does_not_end() {
    let Some(kafka) = or_skip(KafkaServer::start_own(1)) else { return };
    let job = job(&kafka);
    let other = Job::at(&job.servers, &job.topic);
    let foreign = Job { app_id: format!("{}-of-another", other.app_id), ..other };
    let open = foreign.left_open("600000");
    // A session that is there does not ask: what others have just begun is none of its business.
    job.commit(&job.stage(2, 10..20)).unwrap();
    let (pending, copy) = (job.stage(3, 20..30), job.copy());
    let copy = copy.with(|config| config.transaction_timeout = TEN);
    let error = copy.commit(&pending).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    let told = error.to_string();
    assert!(told.contains("has not ended for 3 s") && told.contains("from offset 11"), "{told}");
    open.abort_transaction(PATIENCE).unwrap();
    copy.commit(&pending).unwrap();
    assert_eq!(job.read("read_committed"), all(0..30));
}
