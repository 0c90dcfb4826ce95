//! One name for each of librdkafka's settings. A map of settings has no order, so of two spellings of one setting either
//! might be set last and win.

use std::collections::BTreeMap;

use thalweg_core::{Error, Result};

/// librdkafka's other spellings (`Alias for` in its CONFIGURATION.md), and the ones that we use.
const ALIASES: [(&str, &str); 12] = [
    ("auto.commit.enable", "enable.auto.commit"),
    ("compression.codec", "compression.type"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("message.send.max.retries", "retries"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("request.required.acks", "acks"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"),
    ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
];

/// Settings of topics, which librdkafka takes with `topic.` before them as well; none of the client's.
const OF_TOPICS: [&str; 16] = [
    "acks",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "compression.codec",
    "compression.level",
    "compression.type",
    "consume.callback.max.messages",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "message.timeout.ms",
    "partitioner",
    "produce.offset.report",
    "queuing.strategy",
    "request.required.acks",
    "request.timeout.ms",
];

/// The one name of the setting that `key` spells.
pub(super) fn canonical(key: &str) -> &str {
    let of_topic = key.strip_prefix("topic.").filter(|rest| OF_TOPICS.contains(rest));
    let key = of_topic.unwrap_or(key);
    ALIASES.iter().find(|(other, _)| *other == key).map_or(key, |(_, ours)| *ours)
}

/// A user's settings, each under its one name.
///
/// # Errors
/// [`thalweg_core::ErrorKind::InvalidConfig`] where two spellings have different values.
pub(super) fn by_one_name(
    properties: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    let mut named: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for (key, value) in properties {
        let (key, value) = (key.as_str(), value.as_str());
        if let Some((other, before)) = named.insert(canonical(key), (key, value))
            && before != value
        {
            return Err(Error::config(format!(
                "kafka properties `{other}` and `{key}` are two names of one setting, with different values: remove one"
            )));
        }
    }
    Ok(named.into_iter().map(|(name, (_, value))| (name.to_owned(), value.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_spelling_of_a_setting_has_one_name() {
        for (other, ours) in ALIASES {
            assert_eq!(canonical(other), ours);
            assert_eq!(canonical(ours), ours);
        }
        assert_eq!(canonical("topic.request.required.acks"), "acks");
        for own in ["topic.metadata.refresh.interval.ms", "topic.blacklist", "topic.batch.size"] {
            assert_eq!(canonical(own), own);
        }
    }

    #[test]
    fn two_spellings_must_agree_and_no_value_is_shown() {
        let agreed = properties(&[("acks", "all"), ("request.required.acks", "all"), ("x", "1")]);
        assert_eq!(by_one_name(&agreed).unwrap(), properties(&[("acks", "all"), ("x", "1")]));
        let secret = "sasl.oauthbearer.client.credentials.client.secret";
        let two = properties(&[(secret, "hunter2"), ("sasl.oauthbearer.client.secret", "hunter3")]);
        let error = by_one_name(&two).unwrap_err().to_string();
        assert!(error.contains(secret) && error.contains("remove one"), "{error}");
        assert!(!error.contains("hunter"), "{error}");
    }
}
