//! `produce`: fills a topic with the events of a simulated hospital.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use thalweg_connectors::kafka::{TopicWriter, ensure_topic};
use thalweg_core::time::Clock;
use thalweg_core::{Result, error};
use thalweg_runtime::cli::Signals;

use super::config::KafkaSection;
use super::feed::{Feed, FeedSettings};
use super::hospital::{Hospital, HospitalSettings};

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(1);

/// How often it is looked whether everything has been sent.
const LOOK: Duration = Duration::from_millis(20);

/// How long the next acknowledgement may take at the end: brokers that are away keep nobody waiting.
const QUIET: Duration = Duration::from_secs(1);

/// Send the events of a simulated hospital to Kafka
#[derive(Debug, Clone, Args)]
pub struct ProduceArgs {
    /// Kafka brokers, host:port, several separated by commas [default: `kafka.bootstrap_servers` of --config]
    #[arg(long, value_name = "H:P")]
    pub bootstrap_servers: Option<String>,

    /// Topic, created when it does not exist [default: kafka.topic of --config, `healthcare_events`]
    #[arg(long, value_name = "T")]
    pub topic: Option<String>,

    /// Partitions of a topic that is created
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,

    /// Configuration file; its brokers, topic and kafka.properties (TLS, SASL) are used
    #[arg(long, value_name = "F.toml")]
    pub config: Option<PathBuf>,

    /// Events per second
    #[arg(long, value_name = "R", default_value_t = 1_000.0, value_parser = rate)]
    pub rate: f64,

    /// Patients in the hospital
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub patients: u32,

    /// Stop after this many events [default: never]
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,

    /// Decides everything that is random
    #[arg(long, value_name = "S", default_value_t = 7)]
    pub seed: u64,

    /// Share of events that are broken in some way, 0 to 1
    #[arg(long, value_name = "F", default_value_t = 0.0, value_parser = share)]
    pub bad: f64,

    /// Share of events that tell about the past, 0 to 1
    #[arg(long, value_name = "F", default_value_t = 0.0, value_parser = share)]
    pub late: f64,

    /// How many seconds in the past, between half of it and all
    #[arg(long, value_name = "S", default_value_t = 120.0, value_parser = seconds)]
    pub late_by: f64,

    /// Share of events that are an earlier one again, 0 to 1
    #[arg(long, value_name = "F", default_value_t = 0.0, value_parser = share)]
    pub dup: f64,

    /// Print errors and the summary only
    #[arg(long, short)]
    pub quiet: bool,
}

impl ProduceArgs {
    /// `section` with what was given here.
    pub fn apply(&self, section: &mut KafkaSection) {
        if let Some(servers) = &self.bootstrap_servers {
            section.bootstrap_servers = Some(servers.clone());
        }
        if let Some(topic) = &self.topic {
            topic.clone_into(&mut section.topic);
        }
    }

    /// The hospital asked for, whose first event happens at `start` (µs) and whose time passes like ours.
    pub fn hospital(&self, start: i64) -> Hospital {
        let settings = HospitalSettings {
            patients: self.patients,
            seed: self.seed,
            start,
            bad: self.bad,
            late: self.late,
            late_by: Duration::try_from_secs_f64(self.late_by).unwrap_or_default(),
            dup: self.dup,
            ..HospitalSettings::default()
        };
        Hospital::new(settings.pace(self.rate, 1.0))
    }
}

/// Sends events to the topic of `kafka`, to which `args` were applied, until there are enough of them or Ctrl-C or
/// SIGTERM asks for an end; tells `log` how it goes. Blocking.
///
/// # Errors
/// When no broker is named, the topic cannot be created or written to, or what was sent is not acknowledged.
pub fn produce(
    args: &ProduceArgs,
    kafka: &KafkaSection,
    clock: &Arc<dyn Clock>,
    log: &mut dyn Write,
) -> Result<u64> {
    let (servers, topic, properties) = (kafka.servers()?, &kafka.topic, &kafka.properties);
    let partitions = ensure_topic(servers, topic, args.partitions, properties)?;
    let writer = TopicWriter::new(servers, topic, properties)?;
    let settings =
        FeedSettings { rate: args.rate, events: args.events, simulated_timestamps: false };
    let started = clock.monotonic();
    let hospital = args.hospital(clock.now_micros());
    // It is watched, and how it went is the result.
    let mut feed = Feed::start(hospital, writer, settings, Arc::clone(clock), |_| ())?;
    if !args.quiet {
        say(log, &format!("sending to topic {topic} ({partitions} partitions) at {servers}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| error::io("listen for signals", e))?;
    runtime.block_on(watch(&feed, args.quiet, log));
    let stopped = feed.stop(QUIET);
    let seconds = clock.monotonic().saturating_sub(started).as_secs_f64();
    let sent = feed.sent();
    let missing = match sent.saturating_sub(feed.acknowledged()) {
        0 => String::new(),
        missing => format!(", {missing} of them not acknowledged"),
    };
    say(log, &format!("{sent} events sent to topic {topic} in {seconds:.1} s{missing}"));
    stopped
}

/// Until the feed has finished, or somebody asks for an end.
async fn watch(feed: &Feed, quiet: bool, log: &mut dyn Write) {
    let mut look = tokio::time::interval(LOOK);
    let mut progress = tokio::time::interval(PROGRESS);
    let mut before = 0;
    let mut signals = Signals::new();
    while !feed.is_finished() {
        tokio::select! {
            () = signals.next() => break,
            _ = look.tick() => {}
            _ = progress.tick() => {
                let sent = feed.sent();
                if !quiet && sent > 0 {
                    say(log, &format!("{sent} events sent, {} in the last second", sent - before));
                }
                before = sent;
            }
        }
    }
}

/// Nobody reads along when this fails, and so nobody misses it.
fn say(log: &mut dyn Write, line: &str) {
    drop(writeln!(log, "{line}"));
}

fn number(text: &str, least: f64, most: f64) -> Option<f64> {
    text.parse().ok().filter(|number| (least..=most).contains(number))
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0).ok_or_else(|| "a share is a number from 0 to 1".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1e9).ok_or_else(|| "a number of seconds, 0 or more".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = number(text, 0.0, 1e9).filter(|rate| *rate > 0.0);
    rate.ok_or_else(|| "a number of events per second, more than 0".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use thalweg_connectors::kafka::DemoBroker;
    use thalweg_runtime::SystemClock;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        produce: ProduceArgs,
    }

    fn line(more: &[&str]) -> Result<ProduceArgs, clap::Error> {
        let start = ["produce", "--bootstrap-servers", "b:1"];
        Line::try_parse_from(start.iter().chain(more)).map(|line| line.produce)
    }

    #[test]
    fn the_defaults_are_a_quiet_hospital() {
        let args = line(&[]).unwrap();
        assert_eq!((args.rate, args.events), (1_000.0, None));
        assert_eq!((args.bad, args.late, args.dup), (0.0, 0.0, 0.0));
    }

    #[test]
    fn brokers_and_topic_are_those_of_the_file_unless_others_are_given() {
        let file = KafkaSection {
            bootstrap_servers: Some("file:1".to_owned()),
            topic: "vitals".to_owned(),
            ..KafkaSection::default()
        };
        for (words, servers, topic) in [
            (&["produce"][..], "file:1", "vitals"),
            (&["produce", "--bootstrap-servers", "b:1"], "b:1", "vitals"),
            (&["produce", "--topic", "events"], "file:1", "events"),
        ] {
            let mut kafka = file.clone();
            Line::try_parse_from(words).unwrap().produce.apply(&mut kafka);
            assert_eq!((kafka.servers().unwrap(), kafka.topic.as_str()), (servers, topic));
        }
        let mut nowhere = KafkaSection::default();
        Line::try_parse_from(["produce"]).unwrap().produce.apply(&mut nowhere);
        assert_eq!(nowhere.topic, "healthcare_events");
        assert!(nowhere.servers().is_err());
    }

    #[test]
    fn what_is_no_share_and_no_rate_is_refused() {
        for wrong in
            [["--bad", "2"], ["--late", "-1"], ["--dup", "nan"], ["--rate", "0"], ["--rate", "x"]]
        {
            assert!(line(&wrong).is_err(), "{wrong:?}");
        }
        assert!(line(&["--bad", "0.5", "--late-by", "45"]).is_ok());
    }

    #[test]
    fn events_asked_for_are_sent_and_counted() {
        let broker = DemoBroker::start("events", 2).unwrap();
        let args = line(&["--topic", "events", "--events", "500", "--rate", "100000"]).unwrap();
        let mut kafka = KafkaSection::default();
        args.apply(&mut kafka);
        kafka.bootstrap_servers = Some(broker.bootstrap_servers().to_owned());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let mut log = Vec::new();
        assert_eq!(produce(&args, &kafka, &clock, &mut log).unwrap(), 500);
        let log = String::from_utf8(log).unwrap();
        assert!(log.contains("sending to topic events (2 partitions)"), "{log}");
        assert!(log.contains("500 events sent to topic events in "), "{log}");
    }
}
