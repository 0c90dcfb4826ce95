//! What a Kafka source needs to know.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use speedate::DateTime;
use thalweg_core::{Error, Result};

/// Settings of a Kafka source.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// The topic to read.
    pub topic: String,
    /// Group under which committed positions are shown to lag tools; none by default. Never read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// Where a new chain begins; a chain that has a checkpoint ignores it.
    #[serde(default)]
    pub start: Start,
    /// Any further librdkafka setting (`security.protocol`, `sasl.username`, ...).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
    /// How often to look for new partitions, 30 s by default: `"30s"`, `"500ms"`, `"5m"`.
    #[serde(default = "discovery_interval", with = "interval")]
    pub discovery_interval: Duration,
    /// What to do about a position that the broker no longer has; fail by default.
    #[serde(default)]
    pub on_data_loss: OnDataLoss,
}

impl KafkaConfig {
    /// The defaults for `topic` at `bootstrap_servers`.
    pub fn new(bootstrap_servers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            topic: topic.into(),
            group_id: None,
            start: Start::default(),
            properties: BTreeMap::new(),
            discovery_interval: discovery_interval(),
            on_data_loss: OnDataLoss::default(),
        }
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: BTreeMap<_, _> = self
            .properties
            .iter()
            .map(|(key, value)| (key, if is_secret(key) { "[redacted]" } else { value.as_str() }))
            .collect();
        f.debug_struct("KafkaConfig")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("topic", &self.topic)
            .field("group_id", &self.group_id)
            .field("start", &self.start)
            .field("properties", &properties)
            .field("discovery_interval", &self.discovery_interval)
            .field("on_data_loss", &self.on_data_loss)
            .finish()
    }
}

/// Whether the value of property `key` must not be shown.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "key", "token", "jaas"].iter().any(|word| key.contains(word))
}

/// What to do about a position that the broker no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDataLoss {
    /// Stop with [`thalweg_core::ErrorKind::DataLoss`].
    #[default]
    Fail,
    /// Go on at the partition's first offset, with a warning, and counted by
    /// [`Source::losses`](thalweg_core::connector::source::Source::losses). In a topic that was created again a position that
    /// it has is gone on from: what stands before it is never read. It is warned of and counted as well, at each start.
    Reset,
}

/// Where a new chain begins to read a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Start {
    /// At the first message that the broker still has.
    #[default]
    Earliest,
    /// At the last stable offset: nothing that is readable now, everything that becomes readable later.
    Latest,
    /// At the first message with this broker timestamp or a later one, in µs since the epoch; behind the last
    /// message if there is none.
    Timestamp(i64),
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Timestamp(micros) => {
                let fraction = micros.rem_euclid(1_000_000) as u32;
                match DateTime::from_timestamp(micros.div_euclid(1_000_000), fraction) {
                    Ok(time) => write!(f, "{time}Z"),
                    Err(_) => write!(f, "{micros} µs"),
                }
            }
        }
    }
}

impl FromStr for Start {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        let time = DateTime::parse_str_rfc3339(text).ok().filter(|t| t.time.tz_offset.is_some());
        let time = time.ok_or_else(|| {
            Error::config(
                "a place to start is `earliest`, `latest`, or a time like `2026-01-31T08:00:00Z`",
            )
        })?;
        Ok(Self::Timestamp(time.timestamp_tz() * 1_000_000 + i64::from(time.time.microsecond)))
    }
}

impl TryFrom<String> for Start {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Start> for String {
    fn from(start: Start) -> Self {
        start.to_string()
    }
}

fn discovery_interval() -> Duration {
    Duration::from_secs(30)
}

mod interval {
    use super::{Deserialize, Duration};
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("{}ms", value.as_millis()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(input)?;
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let scale = match unit.trim() {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" | "min" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let millis = number.parse::<u64>().ok().zip(scale).and_then(|(n, by)| n.checked_mul(by));
        let millis = millis.filter(|&millis| millis > 0);
        millis.map(Duration::from_millis).ok_or_else(|| {
            D::Error::custom("an interval is a whole number with ms, s, m or h, such as `30s`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret_and_every_other_setting() {
        let mut config = KafkaConfig::new("broker:9092", "events");
        for key in [
            "sasl.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
            "X-Token",
            "sasl.JAAS.config",
        ] {
            config.properties.insert(key.into(), "hunter2".into());
        }
        config.properties.insert("security.protocol".into(), "sasl_ssl".into());
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("sasl_ssl") && shown.contains("broker:9092"), "{shown}");
    }

    #[test]
    fn every_start_survives_its_own_text() {
        for text in [
            "earliest",
            "latest",
            "2026-01-31T08:00:00Z",
            "2026-01-31T08:00:00.123456Z",
            "1969-12-31T23:59:59.500000Z",
        ] {
            let start: Start = text.parse().unwrap();
            assert_eq!(start.to_string(), text);
            assert_eq!(start.to_string().parse::<Start>().unwrap(), start);
        }
        assert_eq!("1970-01-01T01:00:00+01:00".parse::<Start>().unwrap(), Start::Timestamp(0));
        for text in ["", "yesterday", "2026-01-31", "2026-01-31T08:00:00"] {
            assert!(text.parse::<Start>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_text_form_has_defaults_and_refuses_unknown_fields() {
        let config: KafkaConfig =
            serde_json::from_str(r#"{"bootstrap_servers":"b:1","topic":"t"}"#).unwrap();
        assert_eq!(config, KafkaConfig::new("b:1", "t"));
        let again: KafkaConfig =
            serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        let slow = r#"{"bootstrap_servers":"b:1","topic":"t","discovery_interval":"5m","on_data_loss":"reset"}"#;
        let slow: KafkaConfig = serde_json::from_str(slow).unwrap();
        assert_eq!(
            (slow.discovery_interval, slow.on_data_loss),
            (Duration::from_mins(5), OnDataLoss::Reset)
        );
        for bad in [
            r#"{"bootstrap_servers":"b:1","topic":"t","offset":3}"#,
            r#"{"bootstrap_servers":"b:1","topic":"t","discovery_interval":"0s"}"#,
        ] {
            assert!(serde_json::from_str::<KafkaConfig>(bad).is_err(), "{bad}");
        }
    }
}
