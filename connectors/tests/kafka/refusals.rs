//! What would break the promise is refused: brokers, topics, settings, messages.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use thalweg_connectors::kafka::{DemoBroker, KafkaSink, KafkaSinkConfig};
use thalweg_connectors::testing::kafka_server::{KafkaServer, or_skip, unique_topic};
use thalweg_core::connector::sink::{Committer, Sink, TargetExpectation};
use thalweg_core::{CheckpointId, ErrorKind, Result};

use crate::job::{Job, TEN, all, batch, known};

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
fn a_message_longer_than_the_topic_takes_is_refused_before_the_checkpoint() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = unique_topic("small");
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "400")]).unwrap();
    let job = Job::at(kafka.bootstrap_servers(), &topic);
    job.open_at_last();
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
    let told = error.to_string();
    assert!(told.contains("takes 400: raise the topic's max.message.bytes"), "{told}");
    // One that just fits is taken by the broker as well.
    let fits = job.pending(1, write("x".repeat(250)).unwrap());
    job.commit(&fits).unwrap();
    assert_eq!(job.read("read_committed"), [1]);
}

#[test]
fn many_messages_go_to_a_topic_that_takes_few_at_once_with_and_without_transactions() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = unique_topic("few");
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "400")]).unwrap();
    let job = Job::at(kafka.bootstrap_servers(), &topic);
    job.open_at_last();
    let pending = job.stage(1, 0..2_000);
    // Who has not looked at the topic sends batches as usual, is refused, and is told why.
    let error = job.copy().commit(&pending).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert!(error.to_string().contains("max.message.bytes"), "{error}");
    job.commit(&pending).unwrap();
    let mut writer = job.writer(&KafkaSink::at_least_once(&job.cluster, &topic));
    let closed = job.runtime.block_on(async {
        writer.write(batch(2_000..4_000)).await?;
        writer.close_epoch(CheckpointId(1)).await
    });
    assert_eq!(closed.unwrap().rows, 2_000);
    assert_eq!(job.read("read_committed"), all(0..4_000));
}

#[test]
fn a_message_that_the_topic_never_takes_ends_the_job_with_and_without_transactions() {
    let Some(kafka) = KafkaServer::shared() else { return };
    // The one without a key is refused, and told, though the one before it comes back with it.
    let keyless = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(vec![1, 2])) as _, false),
        ("name", Arc::new(StringArray::from(vec![Some("a"), None])) as _, true),
    ]);
    let old = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1])) as _),
        // Zero is now, for librdkafka.
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1_000_000])) as _),
    ]);
    let cases = [
        (("cleanup.policy", "compact"), keyless.unwrap()),
        (("message.timestamp.before.max.ms", "60000"), old.unwrap()),
    ];
    for (setting, rows) in &cases {
        let topic = unique_topic("picky");
        kafka.create_topic(&topic, 1, &[*setting]).unwrap();
        let job = Job::at(kafka.bootstrap_servers(), &topic);
        job.open_at_last();
        for exactly_once in [true, false] {
            let new = if exactly_once { KafkaSink::exactly_once } else { KafkaSink::at_least_once };
            let sink = new(&job.cluster, topic.as_str());
            let is_keyed = rows.column_by_name("name").is_some();
            let sink = if is_keyed { sink.key_by("name") } else { sink.timestamp("at") };
            let send = || -> Result<()> {
                let mut writer = job.writer_of(&sink, rows.schema());
                let staged = job.runtime.block_on(async {
                    writer.write(rows.clone()).await?;
                    writer.close_epoch(CheckpointId(1)).await
                })?;
                if exactly_once {
                    job.commit(&job.pending(1, staged))?;
                }
                Ok(())
            };
            // A broker that a busy machine holds up may fail in other ways before.
            let refusal = || send().err().filter(|error| !error.kind().is_retryable());
            let error = (0..5).find_map(|_| refusal()).expect("it is tried again for ever");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            assert!(error.to_string().contains(setting.0), "{exactly_once}: {error}");
        }
    }
}

#[test]
fn a_broker_without_transactions_is_refused() {
    let broker = DemoBroker::start("mirror", 1).unwrap();
    let job = Job::at(broker.bootstrap_servers(), "mirror");
    let error = job.open(&TargetExpectation::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
}

#[test]
fn settings_that_the_promise_depends_on_are_refused() {
    let refused = |change: &dyn Fn(&mut KafkaSinkConfig)| {
        let job = Job::at("127.0.0.1:1", "t").with(change);
        let error = job.open(&TargetExpectation::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        error.to_string()
    };
    let set = |key: &'static str, value: &'static str| {
        move |config: &mut KafkaSinkConfig| {
            config.properties.insert(key.to_owned(), value.to_owned());
        }
    };
    assert!(refused(&set("transactional.id", "mine")).contains("transactional.id"));
    assert!(refused(&set("message.timeout.ms", "60001")).contains("message.timeout.ms"));
    let short = refused(&|config| config.transaction_timeout = Duration::from_secs(1));
    assert!(short.contains("transaction timeout"), "{short}");
}

#[test]
fn a_broker_that_ends_transactions_or_forgets_offsets_too_soon_is_refused_at_the_start() {
    let settings = [("transaction.max.timeout.ms", "40000"), ("offsets.retention.minutes", "1")];
    let Some(kafka) = or_skip(KafkaServer::start_with(&settings)) else { return };
    let topic = unique_topic("sink");
    kafka.create_topic(&topic, 1, &[]).unwrap();
    let job = || Job::at(kafka.bootstrap_servers(), &topic);
    let refused = |change: &dyn Fn(&mut KafkaSinkConfig)| {
        // A broker that a busy machine holds up does not tell in time, and is asked by the next.
        let open = || job().with(change).open(&TargetExpectation::default());
        let refusal = || open().err().filter(|error| !error.kind().is_retryable());
        let error = (0..20).find_map(|_| refusal()).expect("it is not refused");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        error.to_string()
    };
    let told = refused(&|_| ());
    assert!(told.contains("transaction.max.timeout.ms") && told.contains("is 40000,"), "{told}");
    let told = refused(&|config| config.transaction_timeout = Duration::from_secs(40));
    assert!(told.contains("offsets.retention.minutes") && told.contains("is 1,"), "{told}");
    let fits = job().with(|config| {
        config.transaction_timeout = TEN;
        config.marker_refresh = Duration::from_secs(30);
    });
    fits.open_at_last();
    fits.commit(&fits.stage(1, 0..10)).unwrap();
    assert_eq!(fits.read("read_committed"), all(0..10));
    // Without transactions neither matters.
    let direct = KafkaSink::at_least_once(&fits.cluster, &topic);
    let target = direct.target(&batch(0..0).schema()).unwrap();
    let cluster = job().cluster;
    let expected = TargetExpectation::default();
    let open = cluster.open(&target, "direct", &expected, false);
    fits.runtime.block_on(open).unwrap();
}

#[test]
fn a_transaction_timeout_beyond_the_brokers_is_named() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let day = Duration::from_hours(24);
    let job = Job::begin(kafka, 1).with(|config| config.transaction_timeout = day);
    let error = job.commit(&job.stage(1, 0..1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("transaction.max.timeout.ms"), "{error}");
}

#[test]
fn a_message_as_long_as_the_topic_takes_is_sent_with_and_without_transactions() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = unique_topic("large");
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "4000000")]).unwrap();
    let job = Job::at(kafka.bootstrap_servers(), &topic);
    job.open_at_last();
    let write = |sink: &KafkaSink, id: i64| {
        let text = "x".repeat(2_000_000);
        let rows = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![id])) as _),
            ("name", Arc::new(StringArray::from(vec![text])) as _),
        ]);
        let mut writer = job.writer(sink);
        let staged = job.runtime.block_on(async {
            writer.write(rows.unwrap()).await?;
            writer.close_epoch(CheckpointId(1)).await
        });
        staged.unwrap()
    };
    let staged = write(&KafkaSink::exactly_once(&job.cluster, &topic), 1);
    job.commit(&job.pending(1, staged)).unwrap();
    write(&KafkaSink::at_least_once(&job.cluster, &topic), 2);
    assert_eq!(job.read("read_committed"), [1, 2]);
}
