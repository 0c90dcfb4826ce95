//! The demo: librdkafka's in-process broker and a simulated hospital, so that one command shows the whole path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thalweg_connectors::delta::DeltaReader;
use thalweg_connectors::kafka::{DemoBroker, TopicWriter};
use thalweg_core::checkpoint::manifest::SourceSnapshot;
use thalweg_core::connector::source::Source;
use thalweg_core::time::{Clock, EventTime, micros};
use thalweg_core::{Error, Result, error};
use thalweg_objects::{Access, Place};
use thalweg_runtime::{CheckpointStorage, SystemClock};

use super::{CHECKPOINTS, JobArgs, checkpoints_beside};
use crate::healthcare::config::DEFAULT_TOPIC;
use crate::healthcare::feed::{Feed, FeedSettings};
use crate::healthcare::gold::Kpis;
use crate::healthcare::graph::{EVENTS, KPIS};
use crate::healthcare::hospital::{Hospital, HospitalSettings};
use crate::healthcare::keys;
use crate::healthcare::manifests::Manifests;

/// Partitions of the demo's topic.
const PARTITIONS: i32 = 4;
/// Events per second. The broker keeps 5 MiB per partition: at about 350 bytes an event one holds a minute of this, so
/// two checkpoint intervals and a restart fit many times over (P29).
const RATE: f64 = 1_000.0;
/// Event time runs this much faster than the clock, so that minutes fill within seconds.
const SPEED: f64 = 60.0;
/// How far in the past late events tell about, at most.
const LATE_BY: Duration = Duration::from_mins(5);

/// How long the next acknowledgement may take at the end. The broker is in this process: only a busy machine makes it slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running broker and hospital; both stop when dropped, the hospital first.
#[derive(Debug)]
pub(super) struct Demo {
    hospital: Feed,
    broker: DemoBroker,
}

/// The job would wait for more until somebody stops it, and only then would tell why.
fn say_so(error: &Error) {
    tracing::error!(error = error::chain(error), "the simulated hospital sends no more events");
}

impl Demo {
    /// Starts both. `events` bounds what the hospital sends; `commands` is a topic for what people say about alerts;
    /// `data` is where earlier demos have left their tables.
    ///
    /// # Errors
    /// The broker does not start, has a topic twice, or the tables cannot be read.
    pub(super) fn start(events: Option<u64>, commands: Option<&str>, data: &Place) -> Result<Self> {
        let broker = DemoBroker::start(DEFAULT_TOPIC, PARTITIONS)?;
        if let Some(commands) = commands {
            broker.create_topic(commands, 1)?;
        }
        let servers = broker.bootstrap_servers();
        let writer = TopicWriter::new(servers, DEFAULT_TOPIC, &BTreeMap::new())?;
        let clock = Arc::new(SystemClock::default());
        let settings = HospitalSettings {
            start: begin(clock.now_micros(), newest(data)?),
            bad: 0.01,
            late: 0.01,
            late_by: LATE_BY,
            ..HospitalSettings::default()
        };
        // The broker's time is event time: nothing then looks as if it came from the future.
        let feed = FeedSettings { rate: RATE, events, simulated_timestamps: true };
        let hospital = Hospital::new(settings.pace(RATE, SPEED));
        let hospital = Feed::start(hospital, writer, feed, clock, say_so)?;
        Ok(Self { hospital, broker })
    }

    /// Stops the hospital, then the broker.
    ///
    /// # Errors
    /// What went wrong while sending.
    pub(super) fn stop(mut self) -> Result<()> {
        self.hospital.stop(PATIENCE).map(drop)
    }

    /// Where the broker listens.
    pub(super) fn bootstrap_servers(&self) -> &str {
        self.broker.bootstrap_servers()
    }
}

/// Whether a demo may write here. Where a job reads something else, whoever forgot to say what would close that job's chain
/// and mix made-up events with its own. Only looks.
///
/// # Errors
/// [`thalweg_core::ErrorKind::InvalidConfig`]: the newest checkpoint is of a job that is no demo, or nobody told where the key
/// is; checkpoints cannot be read.
pub(super) fn check(job: &JobArgs) -> Result<()> {
    let place = &job.data.data_dir;
    match place.join(CHECKPOINTS) {
        Place::Folder(folder) if !folder.is_dir() => return Ok(()),
        Place::Folder(_) => {}
        Place::Remote(_) => keys::check(place, job.key_file.as_deref())?,
    }
    let storage = checkpoints_beside(place)?;
    let newest = Manifests(storage.as_ref()).newest()?;
    match newest.and_then(|manifest| reads(&manifest.sources)) {
        None => Ok(()),
        Some(input) => Err(Error::config(format!(
            "{place} holds a job that reads {input}, or another --data-dir for the simulated hospital"
        ))),
    }
}

/// Whether a job that reads `events` may go on here: not where demos ran, whose made-up events are in the tables. Only looks.
///
/// # Errors
/// [`thalweg_core::ErrorKind::InvalidConfig`]: the newest checkpoint is a demo's.
pub(super) fn check_other(
    place: &Place,
    storage: &dyn CheckpointStorage,
    events: &dyn Source,
) -> Result<()> {
    // What cannot be read here the job itself tells of.
    let Ok(Some(newest)) = Manifests(storage).newest() else { return Ok(()) };
    if reads(&newest.sources).is_some() {
        return Ok(());
    }
    // Whoever names such a broker goes on with it.
    match events.identity() {
        Ok(identity) if !DemoBroker::has_served(&identity) => Err(Error::config(format!(
            "{place} holds the demo's data, which are made up: pass another --data-dir"
        ))),
        _ => Ok(()),
    }
}

/// What a chain reads, and how to say so; `None` for a demo's, which is known by its broker.
fn reads(sources: &[SourceSnapshot]) -> Option<String> {
    let events = sources.iter().find(|source| source.uid.as_str() == EVENTS);
    let identity = events.map(|events| &events.identity);
    if identity.is_some_and(DemoBroker::has_served) {
        return None;
    }
    let named = |what: &str| identity.and_then(|identity| identity.get(what));
    Some(match (named("topic"), named("file")) {
        (Some(topic), _) => format!("kafka topic `{topic}`: pass --bootstrap-servers"),
        (None, Some(file)) => format!("file `{file}`: pass --input"),
        (None, None) => "something else: name that".to_owned(),
    })
}

/// When the newest minute of gold ended.
fn newest(data: &Place) -> Result<Option<EventTime>> {
    let reader = DeltaReader::at(data, &Access::from_environment())?;
    Ok(reader.open(KPIS)?.and_then(|table| table.latest(Kpis::WINDOW_END)))
}

/// Each demo has minutes of its own in the tables it shares with earlier ones. Their time went faster than the clock, so
/// it may be ahead, and the first events may be late ones.
fn begin(now: EventTime, newest: Option<EventTime>) -> EventTime {
    newest.map_or(now, |newest| now.max(newest.saturating_add(micros(LATE_BY))))
}

#[cfg(test)]
mod tests {
    use thalweg_core::OperatorUid;

    use super::*;

    fn source(uid: &str, identity: &[(&str, &str)]) -> SourceSnapshot {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        SourceSnapshot {
            uid: OperatorUid::new(uid).unwrap(),
            identity: identity.iter().map(owned).collect(),
            splits: Vec::new(),
            rows: 0,
            watermark: None,
        }
    }

    #[test]
    fn a_demo_is_told_from_other_jobs_by_what_its_events_come_from() {
        let demo = [("cluster", "mockCluster157c2bfc1008"), ("topic", DEFAULT_TOPIC)];
        let commands = source("alert-commands", &[("cluster", "mockCluster1"), ("topic", "c")]);
        assert_eq!(reads(&[commands.clone(), source(EVENTS, &demo)]), None);
        let real = [("cluster", "4L6g3nShT-eMCtK--X86sw"), ("topic", DEFAULT_TOPIC)];
        for (identity, expected) in [
            (&real[..], "kafka topic `healthcare_events`: pass --bootstrap-servers"),
            // The id of a cluster may be unknown.
            (&real[1..], "kafka topic `healthcare_events`: pass --bootstrap-servers"),
            (&[("file", "a.jsonl"), ("length", "7")], "file `a.jsonl`: pass --input"),
            (&[], "something else: name that"),
        ] {
            let found = reads(&[commands.clone(), source(EVENTS, identity)]);
            assert_eq!(found.as_deref(), Some(expected));
        }
        assert!(reads(&[commands]).is_some());
    }
}
