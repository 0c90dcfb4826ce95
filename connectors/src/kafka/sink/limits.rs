//! What brokers allow that the settings of an exactly-once sink must fit into. They are asked once; what is decided about
//! their answer is pure.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use thalweg_core::{Error, Result};

use super::cluster::BrokerLimits;
use super::config::KafkaSinkConfig;
use super::sessions::locked;

/// A producer whose transactions may be open for longer is refused.
const TRANSACTION: &str = "transaction.max.timeout.ms";
/// After how long without being written an offset is forgotten, and a marker is one.
const RETENTION: &str = "offsets.retention.minutes";

/// How often a marker comes due while brokers remember it: it is written behind a checkpoint of the job, which may be late,
/// and a write that failed is made up for.
const WRITES: u32 = 2;
/// What brokers remember at least for, unless a sink asks for less by its `marker_refresh`: a job may be down for a while.
const NIGHT: Duration = Duration::from_hours(24);

impl BrokerLimits {
    /// Those among a broker's settings.
    pub(super) fn of(settings: &BTreeMap<String, String>) -> Self {
        let number = |name: &str| settings.get(name)?.trim().parse::<u64>().ok();
        let minutes = |minutes: u64| Duration::from_secs(minutes.saturating_mul(60));
        Self {
            transaction: number(TRANSACTION).map(Duration::from_millis),
            retention: number(RETENTION).map(minutes),
        }
    }

    /// The settings that nobody told.
    fn untold(self) -> Vec<&'static str> {
        let all = [(self.transaction, TRANSACTION), (self.retention, RETENTION)];
        all.into_iter().filter(|(limit, _)| limit.is_none()).map(|(_, name)| name).collect()
    }

    /// Whether a sink of these settings can keep its promise.
    fn check(self, config: &KafkaSinkConfig) -> Result<()> {
        let servers = &config.bootstrap_servers;
        // As producers tell it.
        let open = config.transaction_timeout.as_millis();
        if let Some(most) = self.transaction
            && open > most.as_millis()
        {
            return Err(Error::config(format!(
                "{TRANSACTION} of kafka at {servers} is {}, less than the transaction_timeout of a kafka sink: raise it to \
                 at least {open}, or lower transaction_timeout",
                most.as_millis()
            )));
        }
        // A marker that is due waits for a checkpoint of the job, which may take as long as a transaction.
        let least = config.marker_refresh.saturating_mul(WRITES).min(NIGHT);
        let least = least.max(config.transaction_timeout.saturating_mul(WRITES));
        if let Some(kept) = self.retention
            && kept < least
        {
            return Err(Error::config(format!(
                "{RETENTION} of kafka at {servers} is {}, too short for a kafka sink, whose marker is an offset that is \
                 written again behind checkpoints of the job: raise it to at least {}, or lower marker_refresh and \
                 transaction_timeout",
                kept.as_secs() / 60,
                least.as_millis().div_ceil(60_000)
            )));
        }
        Ok(())
    }

    /// After how long a marker is written again: as a sink asks for, or sooner where brokers would forget it.
    fn refresh(self, config: &KafkaSinkConfig) -> Duration {
        let forgotten = self.retention.unwrap_or(Duration::MAX);
        config.marker_refresh.min(forgotten / WRITES)
    }
}

/// What the brokers said when they were first asked. One committer serves all sinks of a job.
#[derive(Debug, Default)]
pub(super) struct AskedLimits(Mutex<Option<BrokerLimits>>);

impl AskedLimits {
    /// Refuses brokers that would break the promise of a sink. What they do not tell is warned of once, and taken for
    /// enough: many clusters let nobody read settings, and one whose brokers are restarting is no reason not to start.
    pub(super) fn check(
        &self,
        config: &KafkaSinkConfig,
        ask: impl FnOnce() -> Result<BrokerLimits>,
    ) -> Result<()> {
        let mut asked = locked(&self.0);
        let limits = match *asked {
            Some(limits) => limits,
            None => *asked.insert(told(config, ask())?),
        };
        drop(asked);
        limits.check(config)
    }

    /// After how long a marker is written again, by what is known of the brokers.
    pub(super) fn refresh(&self, config: &KafkaSinkConfig) -> Duration {
        locked(&self.0).unwrap_or_default().refresh(config)
    }
}

fn told(config: &KafkaSinkConfig, answer: Result<BrokerLimits>) -> Result<BrokerLimits> {
    let servers = config.bootstrap_servers.as_str();
    match answer {
        Ok(limits) => {
            let untold = limits.untold().join(" and ");
            if !untold.is_empty() {
                tracing::warn!(
                    servers,
                    "kafka does not tell {untold}, so a sink's transaction_timeout and marker_refresh are not compared with \
                     them: grant DESCRIBE_CONFIGS on the cluster, or compare them yourself"
                );
            }
            let refresh = limits.refresh(config);
            if refresh < config.marker_refresh {
                tracing::warn!(
                    servers,
                    "kafka forgets after {} s what a sink has sent: the marker of that is written again every {} s, and a job \
                     that is down for longer does not find it; raise {RETENTION}",
                    limits.retention.unwrap_or_default().as_secs(),
                    refresh.as_secs_f64()
                );
            }
            Ok(limits)
        }
        Err(error) if error.kind().is_retryable() => {
            tracing::warn!(
                servers, %error,
                "{TRANSACTION} and {RETENTION} are not compared with a sink's settings until the next start"
            );
            Ok(BrokerLimits::default())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::ErrorKind;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const DAY: Duration = Duration::from_hours(24);

    fn limits(transaction: &str, retention: &str) -> BrokerLimits {
        let told = [(TRANSACTION, transaction), (RETENTION, retention), ("broker.id", "1")];
        let told = told.map(|(name, value)| (name.to_owned(), value.to_owned()));
        BrokerLimits::of(&BTreeMap::from(told))
    }

    fn refused(limits: BrokerLimits) -> String {
        let error = limits.check(&KafkaSinkConfig::new("b:1")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        let told = error.to_string();
        assert!(told.contains("kafka at b:1") && !told.contains('\n'), "{told}");
        told
    }

    #[test]
    fn limits_are_read_from_a_brokers_settings() {
        let usual = limits("900000", "10080");
        assert_eq!(usual.transaction, Some(15 * MINUTE));
        assert_eq!(usual.retention, Some(7 * DAY));
        assert_eq!(usual.untold(), [""; 0]);
        let none = BrokerLimits::of(&BTreeMap::new());
        assert_eq!(none, BrokerLimits::default());
        assert_eq!(none.untold(), [TRANSACTION, RETENTION]);
        let half = limits("unlimited", "10080");
        assert_eq!(half.untold(), [TRANSACTION]);
        assert!(limits("1", &u64::MAX.to_string()).retention > Some(7 * DAY));
    }

    #[test]
    fn a_broker_that_ends_transactions_sooner_than_a_sink_is_refused_and_both_settings_are_named() {
        let config = KafkaSinkConfig::new("b:1");
        limits("60000", "10080").check(&config).unwrap();
        let told = refused(limits("59999", "10080"));
        assert!(told.contains("transaction.max.timeout.ms") && told.contains("59999"), "{told}");
        assert!(told.contains("at least 60000, or lower transaction_timeout"), "{told}");
    }

    #[test]
    fn a_broker_that_forgets_a_marker_within_a_day_or_before_it_is_written_twice_is_refused_and_the_settings_are_named()
     {
        let mut config = KafkaSinkConfig::new("b:1");
        limits("900000", "1440").check(&config).unwrap();
        let told = refused(limits("900000", "1439"));
        assert!(told.contains("offsets.retention.minutes") && told.contains("is 1439,"), "{told}");
        assert!(told.contains("raise it to at least 1440, or lower marker_refresh"), "{told}");
        // Who asks for less knows that there are rows all the time.
        config.marker_refresh = Duration::from_secs(30);
        let told = limits("900000", "1").check(&config).unwrap_err().to_string();
        assert!(told.contains("at least 2,") && told.contains("transaction_timeout"), "{told}");
        config.transaction_timeout = Duration::from_secs(30);
        limits("900000", "1").check(&config).unwrap();
        config.transaction_timeout = Duration::from_millis(30_001);
        let told = limits("900000", "1").check(&config).unwrap_err().to_string();
        assert!(told.contains("at least 2,"), "{told}");
    }

    #[test]
    fn a_marker_is_written_twice_before_brokers_forget_it_or_as_often_as_is_asked_for() {
        let mut config = KafkaSinkConfig::new("b:1");
        for (retention, hours) in [("10080", 24), ("2880", 24), ("1440", 12), ("60", 0)] {
            let expected = if hours > 0 { Duration::from_hours(hours) } else { 30 * MINUTE };
            assert_eq!(limits("900000", retention).refresh(&config), expected, "{retention}");
        }
        assert_eq!(BrokerLimits::default().refresh(&config), DAY);
        // Never, as it may be said.
        config.marker_refresh = Duration::MAX;
        assert!(limits("900000", "10080").refresh(&config) < 4 * DAY);
        config.marker_refresh = Duration::ZERO;
        assert_eq!(limits("900000", "1440").refresh(&config), Duration::ZERO);
        config.marker_refresh = DAY;
        let asked = AskedLimits::default();
        assert_eq!(asked.refresh(&config), DAY);
        asked.check(&config, || Ok(limits("900000", "1440"))).unwrap();
        assert_eq!(asked.refresh(&config), DAY / 2);
    }

    #[test]
    fn what_is_not_told_is_taken_for_enough() {
        let config = KafkaSinkConfig::new("b:1");
        let asked = AskedLimits::default();
        asked.check(&config, || Ok(BrokerLimits::default())).unwrap();
        let away = AskedLimits::default();
        away.check(&config, || Err(Error::transient("no answer"))).unwrap();
        // Nobody waits for them again.
        away.check(&config, || Err(Error::internal("asked again"))).unwrap();
        let broken = AskedLimits::default();
        broken.check(&config, || Err(Error::config("no such property"))).unwrap_err();
    }

    #[test]
    fn brokers_are_asked_once_and_what_they_said_holds_for_each_sink() {
        let config = KafkaSinkConfig::new("b:1");
        let asked = AskedLimits::default();
        asked.check(&config, || Ok(limits("1", "10080"))).unwrap_err();
        let again = asked.check(&config, || Ok(limits("900000", "10080")));
        assert_eq!(again.unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
}
