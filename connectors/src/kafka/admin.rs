//! Creates topics, for tools.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResourceResult, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use thalweg_core::{Error, Result};

use super::client;
use super::config::KafkaConfig;
use super::topic::TopicClient;
use crate::clock::instant;

const PATIENCE: Duration = Duration::from_secs(30);

/// How long each step to a broker's settings may take: who it is, and what it says.
const TURN: Duration = Duration::from_secs(3);
/// Tries to read a broker's settings, each of another broker if there are several.
const TURNS: usize = 2;

/// Creates `topic` with `partitions` partitions and the broker's default replication, unless it exists. Returns how
/// many partitions it has. Blocking, and callable from anywhere.
///
/// # Errors
/// [`thalweg_core::ErrorKind::Transient`] when no broker answers, [`thalweg_core::ErrorKind::InvalidConfig`] when it
/// refuses.
pub fn ensure_topic(
    bootstrap_servers: &str,
    topic: &str,
    partitions: i32,
    properties: &BTreeMap<String, String>,
) -> Result<usize> {
    let existing = topic_client(bootstrap_servers, topic, properties)?;
    if let Some(partitions) = existing.partitions()? {
        return Ok(partitions.len());
    }
    let admin = client(bootstrap_servers, properties)?;
    let refused = |why: &str| {
        Error::config(format!(
            "kafka at {bootstrap_servers} does not create topic `{topic}`: {}",
            client::one_line(why)
        ))
    };
    let answers = wait(async {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        let options =
            AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        admin.create_topics([&new], &options).await
    })?
    .map_err(|error| refused(&error.to_string()))?;
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((
                _,
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed,
            )) => {
                return Err(Error::config(format!(
                    "no permission to create topic `{topic}` at {bootstrap_servers}, which does not exist: grant CREATE on \
                     it, or create it"
                )));
            }
            Err((_, code)) => return Err(refused(&code.to_string())),
        }
    }
    // Brokers learn of it one after the other.
    let created = instant();
    loop {
        match existing.partitions()? {
            Some(partitions) => return Ok(partitions.len()),
            None if created.elapsed() < PATIENCE => {}
            None => return Err(existing.missing()),
        }
    }
}

/// How many partitions `topic` has; `None` if it does not exist. It is not created. Blocking, and callable from anywhere.
///
/// # Errors
/// [`thalweg_core::ErrorKind::Transient`] when no broker answers, [`thalweg_core::ErrorKind::InvalidConfig`] when it
/// refuses.
pub fn count_partitions(
    bootstrap_servers: &str,
    topic: &str,
    properties: &BTreeMap<String, String>,
) -> Result<Option<usize>> {
    let partitions = topic_client(bootstrap_servers, topic, properties)?.partitions()?;
    Ok(partitions.map(|partitions| partitions.len()))
}

fn topic_client(
    bootstrap_servers: &str,
    topic: &str,
    properties: &BTreeMap<String, String>,
) -> Result<TopicClient> {
    let mut config = KafkaConfig::new(bootstrap_servers, topic);
    config.properties.clone_from(properties);
    TopicClient::new(&config)
}

/// A topic's setting as text; `None` when the broker does not tell. Blocking, and callable from anywhere.
///
/// # Errors
/// [`thalweg_core::ErrorKind::Transient`] when no broker answers: a limit that nobody told is not the default's.
pub(super) fn topic_setting(config: &KafkaConfig, name: &str) -> Result<Option<String>> {
    let admin = client(&config.bootstrap_servers, &config.properties)?;
    let answers = wait(async {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        admin.describe_configs([&ResourceSpecifier::Topic(&config.topic)], &options).await
    })?;
    let resources = match answers {
        Ok(resources) => resources,
        Err(error) if does_not_tell(&error) => return Ok(None),
        Err(error) => {
            return Err(Error::transient(format!(
                "cannot read the settings of topic `{}` at {}: {}",
                config.topic,
                config.bootstrap_servers,
                client::one_line(&error.to_string())
            )));
        }
    };
    // A topic whose settings we may not read comes without any.
    let mut entries = resources.into_iter().flatten().flat_map(|resource| resource.entries);
    let setting = entries.find(|entry| entry.name == name);
    Ok(setting.and_then(|entry| entry.value))
}

/// The settings of a broker as text, by name; empty when it does not tell. One of them is asked, as if they were set alike.
/// `config` names a topic that is there. Blocking, for milliseconds where brokers answer, and callable from anywhere.
///
/// # Errors
/// [`thalweg_core::ErrorKind::Transient`] when no broker answers in the few seconds that are waited.
pub(super) fn broker_settings(config: &KafkaConfig) -> Result<BTreeMap<String, String>> {
    let admin = client(&config.bootstrap_servers, &config.properties)?;
    let mut turn = 0;
    loop {
        let answer = ask_broker(&admin, &config.topic, turn)?.and_then(|resources| {
            let found = resources.into_iter().collect::<std::result::Result<Vec<_>, _>>();
            found.map_err(KafkaError::AdminOp)
        });
        let error = match answer {
            Ok(resources) => {
                let entries = resources.into_iter().flat_map(|found| found.entries);
                return Ok(entries.filter_map(|e| e.value.map(|value| (e.name, value))).collect());
            }
            Err(error) if does_not_tell(&error) => return Ok(BTreeMap::new()),
            Err(error) => error,
        };
        turn += 1;
        if turn >= TURNS {
            return Err(Error::transient(format!(
                "cannot read the settings of a broker at {}: {}",
                config.bootstrap_servers,
                client::one_line(&error.to_string())
            )));
        }
    }
}

/// Asks one of the brokers: settings are each broker's own, so the others do not know them.
fn ask_broker(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    turn: usize,
) -> Result<KafkaResult<Vec<ConfigResourceResult>>> {
    match broker_id(admin, topic, turn) {
        Ok(id) => wait(async {
            let options = AdminOptions::new().request_timeout(Some(TURN));
            admin.describe_configs([&ResourceSpecifier::Broker(id)], &options).await
        }),
        Err(error) => Ok(Err(error)),
    }
}

fn broker_id(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    turn: usize,
) -> KafkaResult<i32> {
    let metadata = admin.inner().fetch_metadata(Some(topic), TURN)?;
    let brokers = metadata.brokers();
    let broker = turn.checked_rem(brokers.len()).and_then(|at| brokers.get(at));
    let broker = broker.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::AllBrokersDown))?;
    Ok(broker.id())
}

/// Whether a broker that answers so never tells: reading settings needs a permission of its own, and a broker that knows it.
fn does_not_tell(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::AdminOp(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::UnsupportedFeature
                | RDKafkaErrorCode::UnsupportedVersion
        )
    )
}

fn client(
    bootstrap_servers: &str,
    properties: &BTreeMap<String, String>,
) -> Result<AdminClient<DefaultClientContext>> {
    client::base(bootstrap_servers, &[("client.id", "thalweg-admin")], properties)?
        .create()
        .map_err(client::creation_error)
}

/// Waits for `future` on a thread of its own, so that a caller inside a runtime may call too.
fn wait<F: Future<Output: Send> + Send>(future: F) -> Result<F::Output> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.map(|runtime| runtime.block_on(future))
        });
        worker.join().ok()
    })
    .ok_or_else(|| Error::internal("waiting for kafka panicked"))?
    .map_err(|error| Error::internal("cannot start a runtime").with_source(error))
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode as Code;

    use super::*;

    #[test]
    fn only_who_may_not_know_a_setting_goes_on_without_it() {
        for code in [
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::UnsupportedFeature,
        ] {
            assert!(does_not_tell(&KafkaError::AdminOp(code)), "{code}");
        }
        for code in [
            Code::OperationTimedOut,
            Code::RequestTimedOut,
            Code::BrokerTransportFailure,
            Code::Fail,
        ] {
            assert!(!does_not_tell(&KafkaError::AdminOp(code)), "{code}");
        }
        assert!(!does_not_tell(&KafkaError::Canceled));
    }
}
