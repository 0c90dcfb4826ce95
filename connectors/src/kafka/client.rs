//! Making librdkafka clients: settings, what they log, and their errors in our words.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use thalweg_core::{Error, Result};
use tracing::{debug, warn};

use super::config::is_secret;
use super::properties::{by_one_name, canonical};

/// Settings that exactness depends on; nobody else may set them.
const OURS: [&str; 8] = [
    "bootstrap.servers",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "isolation.level",
    "allow.auto.create.topics",
];

/// Settings that suit a reader which is drained by a bounded queue; `properties` may override them.
pub(super) const TUNING: [(&str, &str); 8] = [
    ("client.id", "thalweg"),
    ("check.crcs", "true"),
    // Prefetched bytes are memory that no checkpoint accounts for.
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.max.bytes", "16777216"),
    // A small queue is refilled at once and not after the default second.
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.wait.max.ms", "20"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
];

/// The settings shared by all clients: `tuning`, over it the user's `properties`, each under its one name (`properties`).
pub(super) fn base(
    bootstrap_servers: &str,
    tuning: &[(&str, &str)],
    properties: &BTreeMap<String, String>,
) -> Result<ClientConfig> {
    if bootstrap_servers.trim().is_empty() {
        return Err(Error::config("no kafka broker is named: pass --bootstrap-servers host:port"));
    }
    if let Some(key) = properties.keys().find(|key| OURS.contains(&canonical(key))) {
        return Err(Error::config(format!(
            "kafka property `{key}` is set by thalweg itself: remove it"
        )));
    }
    let mut client = ClientConfig::new();
    client.set_log_level(RDKafkaLogLevel::Warning);
    // A small request does not wait for the answer to the one before it.
    client.set("socket.nagle.disable", "true");
    for (key, value) in tuning {
        client.set(*key, *value);
    }
    for (key, value) in by_one_name(properties)? {
        client.set(key, value);
    }
    client.set("bootstrap.servers", bootstrap_servers);
    Ok(client)
}

/// Of a sink's `properties`, those that a reader may have too: the others would only make it complain.
pub(super) fn connection_properties(
    properties: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let shared = [
        "security.",
        "ssl.",
        "enable.ssl.",
        "sasl.",
        "enable.sasl.",
        "socket.",
        "broker.",
        "client.",
        "reconnect.",
    ];
    let is_shared = |key: &str| shared.iter().any(|prefix| key.starts_with(prefix));
    let kept = properties.iter().filter(|(key, _)| is_shared(key));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Why a client could not be made, without showing a secret.
pub(super) fn creation_error(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, _, key, _) if is_secret(&key) => {
            Error::config(format!("kafka property `{key}` has an invalid value"))
        }
        KafkaError::ClientConfig(_, why, key, _) => {
            let hint = if why.contains("not available") || why.contains("OpenSSL") {
                " (TLS, and SASL by anything but PLAIN, need a build with feature `kafka-tls`)"
            } else {
                ""
            };
            Error::config(format!("kafka property `{key}`: {}{hint}", one_line(&why)))
        }
        other => {
            Error::config(format!("cannot make a kafka client: {}", one_line(&other.to_string())))
        }
    }
}

/// `text` without line breaks.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// librdkafka's code behind `error`, if it has one.
pub(super) fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    error.rdkafka_error_code()
}

/// What went wrong, in librdkafka's words.
pub(super) fn reason(error: &KafkaError) -> String {
    one_line(&code(error).map_or_else(|| error.to_string(), |code| code.to_string()))
}

/// Why a producer has ended itself, if it has: what it says of its messages then is the consequence.
pub(super) fn ended<C: ClientContext>(producer: &Client<C>) -> Option<RDKafkaErrorCode> {
    producer.fatal_error().map(|(code, _)| code)
}

/// The error for a topic that a sink may not use. READ because its marker is an offset of the topic.
pub(super) fn may_not_write(topic: &str) -> Error {
    Error::config(format!(
        "no permission to write to topic `{topic}`: grant WRITE and DESCRIBE on it, and READ as well to an exactly-once sink"
    ))
}

/// The same from brokers that refuse to number a producer's messages, because it may write to no topic at all.
pub(super) fn may_write_nowhere(topic: &str) -> Error {
    Error::config(format!(
        "no permission to write to topic `{topic}`: grant WRITE and DESCRIBE on it, and before Apache Kafka 2.8 \
         IDEMPOTENT_WRITE on the cluster"
    ))
}

/// The error for a batch of messages that is longer than its topic takes.
pub(super) fn too_long(topic: &str) -> Error {
    Error::config(format!(
        "a batch of messages was longer than topic `{topic}` takes, whose max.message.bytes was lowered or may not be read: \
         raise it, grant DESCRIBE_CONFIGS on the topic, or set kafka property `batch.size` to it, then run the same command \
         again"
    ))
}

/// Receives what librdkafka has to say beside messages.
#[derive(Debug)]
pub(super) struct Events {
    eof: AtomicI64,
    last_error: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// Apart, since it is told once and others may ask for the last error in between.
    refuses_group: AtomicBool,
    /// What became of the last commit; `None`: it went well.
    last_commit: Mutex<Option<RDKafkaErrorCode>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            eof: AtomicI64::new(-1),
            last_error: Mutex::new(None),
            refuses_group: AtomicBool::new(false),
            last_commit: Mutex::new(None),
        }
    }
}

impl Events {
    /// The offset of the partition end just reported; it arrives beside the event, on the polling thread.
    pub(super) fn take_eof_offset(&self) -> Option<i64> {
        Some(self.eof.swap(-1, Ordering::Relaxed)).filter(|&offset| offset >= 0)
    }

    /// The last error that was not about the end of a partition, once.
    pub(super) fn take_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.last_error.lock().ok().and_then(|mut last| last.take())
    }

    /// Whether the brokers have refused the group since this was asked last.
    pub(super) fn take_group_refusal(&self) -> bool {
        self.refuses_group.swap(false, Ordering::Relaxed)
    }

    /// Whether a commit came to something else than the one before it.
    fn is_news(&self, commit: Option<RDKafkaErrorCode>) -> bool {
        self.last_commit
            .lock()
            .is_ok_and(|mut last| std::mem::replace(&mut *last, commit) != commit)
    }
}

impl ClientContext for Events {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(target: "librdkafka", facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match code(&error) {
            Some(RDKafkaErrorCode::PartitionEOF) => {
                self.eof.store(eof_offset(reason).unwrap_or(-1), Ordering::Relaxed);
            }
            Some(code) => {
                debug!(target: "librdkafka", %code, "{reason}");
                if code == RDKafkaErrorCode::GroupAuthorizationFailed {
                    self.refuses_group.store(true, Ordering::Relaxed);
                }
                if let Ok(mut last) = self.last_error.lock() {
                    *last = Some((code, one_line(reason)));
                }
            }
            None => debug!(target: "librdkafka", "{reason}"),
        }
    }
}

impl ConsumerContext for Events {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        let error = result.err();
        // There is a commit with every checkpoint: the same failure is told once.
        let is_news = self.is_news(error.as_ref().and_then(code));
        match error {
            Some(error) if is_news => warn!(%error, "cannot show positions to lag tools"),
            Some(error) => debug!(%error, "cannot show positions to lag tools"),
            None => {}
        }
    }
}

/// The offset in librdkafka's `... reached end of partition at offset 42 (HighwaterMark 42)`: the safe API hands out
/// the partition alone. A test holds the two libraries together.
fn eof_offset(reason: &str) -> Option<i64> {
    let (_, rest) = reason.split_once("end of partition at offset ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether librdkafka says that the log ends, for the leader's epoch of what was read last, before its position, or that it
/// has no such epoch. It has no code for that here. Tests hold the two libraries together.
pub(super) fn is_truncation(reason: &str) -> bool {
    reason.contains("log truncation detected")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rdkafka::consumer::Consumer;
    use rdkafka::topic_partition_list::Offset;

    use super::super::consumer::GroupConsumer;
    use super::super::{DemoBroker, KafkaConfig, TopicWriter, producer, requests};
    use super::*;

    #[test]
    fn a_users_setting_wins_over_ours_whichever_way_it_is_spelled() {
        let set = |key: &str, value: &str| {
            let own = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            base("b:1", &producer::TUNING, &own)
        };
        for (other, ours, value) in [
            ("delivery.timeout.ms", "message.timeout.ms", "700"),
            ("topic.message.timeout.ms", "message.timeout.ms", "700"),
            ("compression.codec", "compression.type", "gzip"),
            ("queue.buffering.max.ms", "linger.ms", "70"),
        ] {
            let client = set(other, value).unwrap();
            assert_eq!((client.get(ours), client.get(other)), (Some(value), None), "{other}");
        }
        for key in ["metadata.broker.list", "auto.commit.enable", "topic.auto.offset.reset"] {
            let refused = set(key, "x").map(drop).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{key}` is set by thalweg itself")), "{refused}");
        }
        // Ours have the names that users' get.
        for (key, _) in TUNING.iter().chain(&producer::TUNING).chain([&requests::REPORTS]) {
            assert_eq!(canonical(key), *key);
        }
    }

    #[test]
    fn a_sinks_reader_connects_as_the_sink_does() {
        let keys = |keys: &[&str]| -> BTreeMap<String, String> {
            keys.iter().map(|key| ((*key).to_owned(), "false".to_owned())).collect()
        };
        let connection = [
            "enable.ssl.certificate.verification",
            "enable.sasl.oauthbearer.unsecure.jwt",
            "sasl.username",
            "security.protocol",
            "ssl.ca.location",
        ];
        let mut all = keys(&connection);
        all.extend(keys(&["enable.idempotence", "linger.ms"]));
        assert_eq!(connection_properties(&all), keys(&connection));
    }

    #[test]
    fn the_offset_of_a_partition_end_is_found_in_what_librdkafka_says() {
        let broker = DemoBroker::start("events", 1).unwrap();
        let writer =
            TopicWriter::new(broker.bootstrap_servers(), "events", &BTreeMap::new()).unwrap();
        for _ in 0..7 {
            writer.send(None, Some(b"x"), None).unwrap();
        }
        writer.flush(Duration::from_mins(2)).unwrap();
        let config = KafkaConfig::new(broker.bootstrap_servers(), "events");
        let consumer = GroupConsumer::new(&config).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("events", 0, Offset::Offset(0)).unwrap();
        consumer.incremental_assign(&list).unwrap();
        for _ in 0..1_200 {
            if let Some(Err(KafkaError::PartitionEOF(0))) =
                consumer.poll(Duration::from_millis(100))
            {
                assert_eq!(consumer.context().take_eof_offset(), Some(7));
                assert_eq!(consumer.context().take_eof_offset(), None);
                return;
            }
        }
        panic!("no end was reported");
    }

    #[test]
    fn a_commit_that_fails_as_the_one_before_is_no_news() {
        let events = Events::default();
        let (refused, away) =
            (RDKafkaErrorCode::GroupAuthorizationFailed, RDKafkaErrorCode::RequestTimedOut);
        let commits = [None, Some(refused), Some(refused), Some(away), None, Some(away)];
        let news = commits.map(|commit| events.is_news(commit));
        assert_eq!(news, [false, true, false, true, true, true]);
    }

    #[test]
    fn a_wrong_secret_is_not_shown() {
        let mut config = KafkaConfig::new("127.0.0.1:1", "events");
        config.properties.insert("ssl.key.password".into(), "hunter2".into());
        let error = GroupConsumer::new(&config).map(drop).unwrap_err();
        assert!(error.to_string().contains("ssl.key.password"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
