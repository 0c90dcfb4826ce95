//! Runs the batch oracle over what the broker and the tables hold.
//!
//! It compares each row but for: `ingested_at`; the bytes of encrypted payloads, of which it knows the length and that no
//! two are alike; versions in `meta/checkpoints` whose log entries were cleaned up; and alerts, which have a cause among the
//! events and whose changes follow one another without a gap, but which it does not recompute (`pipelines/tests/healthcare/alerts.rs`
//! does). An alert that is missing as a whole it does not miss.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use thalweg_connectors::testing::kafka_server::KafkaServer;
use thalweg_core::{Error, Result, error};

use crate::foreign::Python;
use crate::told::note;

const SCRIPT: &str = include_str!("oracle.py");

/// What the oracle found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Rows that should be in a table or the topic, and are not.
    pub(crate) lost: u64,
    /// Rows that are there more often than they should be, or should not be there.
    pub(crate) duplicated: u64,
}

/// What the oracle is given.
#[derive(Debug)]
pub(crate) struct Evidence {
    data: PathBuf,
    /// The name of the topic that the job reads.
    topic: String,
    /// Its messages, see [`dump`].
    pub(crate) input: PathBuf,
    /// The committed messages of the mirror, each a line.
    pub(crate) mirror: PathBuf,
}

impl Evidence {
    /// Tables in `data`, and what is still to be written down in `folder`.
    pub(crate) fn below(folder: &Path, data: &Path, topic: &str) -> Self {
        Self {
            data: data.to_owned(),
            topic: topic.to_owned(),
            input: folder.join("input"),
            mirror: folder.join("mirror"),
        }
    }
}

/// Writes a topic's messages as lines of partition, offset, timestamp in milliseconds or `-`, and payload in hexadecimal.
pub(crate) fn dump(kafka: &KafkaServer, topic: &str, to: &Path) -> Result<u64> {
    let failed = |e| error::io(format!("write {}", to.display()), e);
    let messages = kafka
        .committed_messages(topic)
        .map_err(|e| Error::transient(format!("cannot read topic `{topic}`: {e}")))?;
    let mut out = BufWriter::new(File::create(to).map_err(failed)?);
    for message in &messages {
        write!(out, "{} {} ", message.partition, message.offset).map_err(failed)?;
        match message.timestamp_ms {
            Some(millis) => write!(out, "{millis} ").map_err(failed)?,
            None => write!(out, "- ").map_err(failed)?,
        }
        for byte in &message.value {
            write!(out, "{byte:02x}").map_err(failed)?;
        }
        writeln!(out).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    Ok(messages.len() as u64)
}

/// Recomputes everything from the dumped input.
pub(crate) fn judge(python: &Python, evidence: &Evidence) -> Result<Verdict> {
    let Evidence { data, topic, input, mirror } = evidence;
    let [data, input, mirror] = [data, input, mirror].map(|path| path.display().to_string());
    let told = python.run(SCRIPT, &[&data, topic, &input, &mirror])?;
    let mut lines: Vec<&str> = told.lines().collect();
    let last = lines.pop().unwrap_or_default();
    for line in lines {
        note(&format!("oracle: {line}"));
    }
    let mut numbers = last.split(' ').map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(lost)), Some(Ok(duplicated))) => Ok(Verdict { lost, duplicated }),
        _ => Err(Error::internal("the oracle gave no verdict")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use thalweg_connectors::delta::{CUTS, DeltaCommitter, DeltaMaintenance};
    use thalweg_connectors::file::JsonLinesSource;
    use thalweg_core::connector::source::Source;
    use thalweg_core::crypto::MasterKey;
    use thalweg_pipelines::healthcare::hospital::{Hospital, HospitalSettings};
    use thalweg_pipelines::healthcare::{HealthcareConfig, HealthcareFormat, healthcare_graph};
    use thalweg_runtime::{JobBuilder, LocalStorage};

    use super::*;

    const FILE: &str = "events.jsonl";

    /// Five minutes of event time, with every mistake that there is. A file's empty lines are no messages.
    fn messages() -> Vec<Vec<u8>> {
        let settings = HospitalSettings {
            patients: 50,
            bad: 0.1,
            late: 0.05,
            dup: 0.02,
            ..HospitalSettings::default()
        };
        let events = Hospital::new(settings.pace(10.0, 1.0)).take(3_000);
        events.map(|event| event.payload).filter(|payload| !payload.is_empty()).collect()
    }

    /// As [`dump`] would write them: in a file a message's offset is where it begins.
    fn dumped(messages: &[Vec<u8>]) -> Vec<String> {
        let mut offset = 0;
        let line = |message: &Vec<u8>| {
            let hex = message.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            let line = format!("0 {offset} - {hex}\n");
            offset += message.len() + 1;
            line
        };
        messages.iter().map(line).collect()
    }

    /// Runs the pipeline over a file to its end; how many events are valid.
    fn run(file: &Path, data: &Path) -> u64 {
        let config = HealthcareConfig::default();
        let format = Arc::new(HealthcareFormat::new(&config.decoding));
        let source: Arc<dyn Source> = Arc::new(JsonLinesSource::new(file, format));
        let tables = Arc::new(DeltaCommitter::new(data).unwrap());
        let key = Arc::new(MasterKey::generate().unwrap());
        let graph = healthcare_graph(&config, source, &tables, None, &key).unwrap();
        let storage = Arc::new(LocalStorage::open(data.join("checkpoints")).unwrap());
        let summary = JobBuilder::new(graph, storage, key).start().unwrap().join().unwrap();
        assert!(summary.finished);
        summary.written["silver"]
    }

    /// A clean-up when everything has expired: a log checkpoint and its entry are left.
    fn clean_up(data: &Path, table: &str) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let tables = DeltaMaintenance::new(data).unwrap();
        runtime.block_on(tables.checkpoint_log(table)).unwrap();
        let files = fs::read_dir(data.join(table).join("_delta_log")).unwrap();
        let mut entries: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        entries.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        entries.sort_unstable();
        entries.pop().unwrap();
        assert!(!entries.is_empty(), "{table} has nothing to clean up");
        for entry in entries {
            fs::remove_file(entry).unwrap();
        }
    }

    #[test]
    fn the_oracle_finds_what_is_lost_repeated_and_changed() {
        let python = match Python::find() {
            Ok(python) => python,
            Err(why) => {
                let required = std::env::var("THALWEG_REQUIRE_EMULATORS").is_ok_and(|v| v == "1");
                assert!(!required, "THALWEG_REQUIRE_EMULATORS=1, but: {why}");
                eprintln!("SKIPPED: no oracle: {why}");
                return;
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let (file, data) = (folder.path().join(FILE), folder.path().join("data"));
        let messages = messages();
        let mut text = messages.join(&b'\n');
        text.push(b'\n');
        fs::write(&file, text).unwrap();
        let valid = run(&file, &data);
        let evidence = Evidence::below(folder.path(), &data, FILE);
        // Without a mirror each of its rows is missing.
        fs::write(&evidence.mirror, "").unwrap();
        let judged = |lines: &[String]| {
            fs::write(&evidence.input, lines.concat()).unwrap();
            judge(&python, &evidence).unwrap()
        };
        let lines = dumped(&messages);
        assert!(valid > 2_000);
        assert_eq!(judged(&lines), Verdict { lost: valid, duplicated: 0 });
        for table in ["silver/events", CUTS] {
            clean_up(&data, table);
            assert_eq!(judged(&lines), Verdict { lost: valid, duplicated: 0 }, "{table}");
        }

        let more = judged(lines.get(1..).unwrap());
        assert!(more.duplicated > 0, "a message that was not there: {more:?}");
        let less = judged(&[lines.as_slice(), &["0 9999999 - 7b7d\n".to_owned()]].concat());
        assert!(less.lost > valid, "a message that is nowhere: {less:?}");
        let hex = |text: &str| text.bytes().fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
        // As long as before: encrypted they are alike.
        let (off, on) = (hex("\"oxygen\":false"), hex("\"oxygen\":true "));
        let changed: Vec<_> = lines.iter().map(|line| line.replace(&off, &on)).collect();
        let changed = judged(&changed);
        assert!(changed.lost > valid && changed.duplicated > 0, "another value: {changed:?}");
    }
}
