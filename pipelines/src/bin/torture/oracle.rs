//! Runs the batch oracle over what the broker and the tables hold.
//!
//! It compares each row but for: `ingested_at`; the bytes of encrypted payloads, of which it knows the length, that no
//! two are alike, and that a dead letter has those of its row in quarantine; and versions in `meta/checkpoints` whose log
//! entries were cleaned up. Alerts it recomputes event by event: they are a function of the topic, whatever was killed, since
//! the events of a patient come by one partition, no partition falls idle and nobody gives commands. Of a patient whose events
//! came by several, which the feeder never sends, it would only see that alerts have a cause and hang together, as it does of
//! all. The topic of alerts has the table's rows, each at least once.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use thalweg_connectors::testing::kafka_server::KafkaServer;
use thalweg_core::{Error, Result, error};

use crate::foreign::Python;
use crate::told::note;

/// One program: which alerts there must be, and the comparison of everything.
const SCRIPT: &str = concat!(include_str!("alerts.py"), "\n", include_str!("oracle.py"));

/// What the oracle found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Rows that should be in a table or a topic, and are not.
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
    /// Those of the topic of dead letters.
    pub(crate) dead_letters: PathBuf,
    /// Those of the topic of alerts.
    pub(crate) alerts: PathBuf,
}

impl Evidence {
    /// Tables in `data`, and what is still to be written down in `folder`.
    pub(crate) fn below(folder: &Path, data: &Path, topic: &str) -> Self {
        Self {
            data: data.to_owned(),
            topic: topic.to_owned(),
            input: folder.join("input"),
            mirror: folder.join("mirror"),
            dead_letters: folder.join("dead-letters"),
            alerts: folder.join("alerts"),
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
    let (lines, verdict) = findings(python, evidence)?;
    for line in lines {
        note(&format!("oracle: {line}"));
    }
    Ok(verdict)
}

/// A line for each table and topic, and what they come to.
fn findings(python: &Python, evidence: &Evidence) -> Result<(Vec<String>, Verdict)> {
    let Evidence { data, topic, input, mirror, dead_letters, alerts } = evidence;
    let paths = [data, input, mirror, dead_letters, alerts];
    let [data, input, mirror, dead_letters, alerts] = paths.map(|path| path.display().to_string());
    let told = python.run(SCRIPT, &[&data, topic, &input, &mirror, &dead_letters, &alerts])?;
    let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap_or_default();
    let mut numbers = last.split(' ').map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(lost)), Some(Ok(duplicated))) => Ok((lines, Verdict { lost, duplicated })),
        _ => Err(Error::internal("the oracle gave no verdict")),
    }
}

#[cfg(test)]
#[path = "../../../tests/support/table_log.rs"]
#[allow(dead_code, reason = "tests of the pipeline use the rest")]
mod table_log;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::sync::Arc;

    use thalweg_connectors::delta::{CUTS, DeltaCommitter, DeltaMaintenance};
    use thalweg_connectors::file::JsonLinesSource;
    use thalweg_core::connector::source::Source;
    use thalweg_core::crypto::MasterKey;
    use thalweg_pipelines::healthcare::hospital::{Hospital, HospitalSettings};
    use thalweg_pipelines::healthcare::{HealthcareConfig, HealthcareFormat, healthcare_graph};
    use thalweg_runtime::{JobBuilder, LocalStorage};

    use super::table_log::{double_a_file, lose_a_file};
    use super::*;

    const FILE: &str = "events.jsonl";
    /// The tables that have a line of lost and duplicated rows.
    const TABLES: [&str; 10] = [
        "bronze/events",
        "silver/events",
        "quarantine/events",
        "late/events",
        "gold/vitals_by_minute",
        "gold/vitals_by_bp_category",
        "gold/patient_vitals",
        "gold/medications",
        "gold/kpis",
        ALERTS,
    ];
    const ALERTS: &str = "alerts/events";
    /// What the line begins with that says how alerts hang together.
    const CHANGES: &str = "changes of alerts";
    /// What the line of each topic begins with, and the table whose rows it has.
    const TOPICS: [(&str, &str); 3] = [
        ("mirror topic", "silver/events"),
        ("dead-letter topic", "quarantine/events"),
        ("alerts topic", ALERTS),
    ];
    /// Writes the rows of a table as a topic has them: of the topic of dead letters if `letters` is said.
    const SENT: &str = r#"
import datetime, json, os, sys
import deltalake
import pyarrow as pa

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
RULES = {"patient_id.missing", "event_type.missing", "event_type.unknown", "timestamp.missing", "blood_pressure.order"}
rows = deltalake.DeltaTable(sys.argv[1]).to_pyarrow_dataset().to_table()
columns = {}
for field, column in zip(rows.schema, rows.columns):
    if pa.types.is_timestamp(field.type):
        times = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
        times = [EPOCH + datetime.timedelta(microseconds=time) if time is not None else None for time in times]
        columns[field.name] = [time and time.isoformat() for time in times]
    else:
        columns[field.name] = column.to_pylist()
with open(sys.argv[2], "w", encoding="utf-8") as topic:
    for cells in zip(*columns.values()):
        row = dict(zip(columns, cells))
        if sys.argv[3:] == ["letters"]:
            judged = all(code in RULES or code.endswith(".range") for code in row["reason_codes"])
            row["stage"] = "validate" if judged else "decode"
        print(json.dumps(row, default=bytes.hex), file=topic)
sys.stdout.flush()
os._exit(0)
"#;

    /// Does something to the alert of the one whose heart was too fast: removes it, doubles it, or changes a column of it into
    /// what is possible as well.
    const ANOTHER_ALERT: &str = r#"
import datetime, os, sys
import deltalake
import pyarrow as pa
import pyarrow.compute as pc

path, what = sys.argv[1:]
table = deltalake.DeltaTable(path)
rows = table.to_pyarrow_table()
rows = rows.filter(pc.equal(rows["patient_id"], 990001))
if rows.num_rows != 2:
    sys.exit("it has other rows")
if what != "doubled":
    table.delete("patient_id = 990001")
if what not in ("removed", "doubled"):
    field = rows.schema.field(what)
    other = {"sequence": [5, 6], "severity": ["warning"] * 2, "value": [190.0] * 2, "score": [7] * 2}.get(what)
    later = lambda: pc.add(rows[what], datetime.timedelta(seconds=1)).cast(field.type)
    column = pa.array(other, field.type) if other else later()
    rows = rows.set_column(rows.schema.get_field_index(what), field, column)
if what != "removed":
    deltalake.write_deltalake(table, rows, mode="append")
sys.stdout.flush()
os._exit(0)
"#;

    /// Five minutes of event time, with every mistake that there is. A file's empty lines are no messages. Behind them
    /// somebody's heart is too fast for long enough, and well again.
    fn messages() -> Vec<Vec<u8>> {
        let settings = HospitalSettings {
            patients: 50,
            bad: 0.1,
            late: 0.05,
            dup: 0.02,
            ..HospitalSettings::default()
        };
        let events = Hospital::new(settings.pace(10.0, 1.0)).take(3_000);
        let messages = events.map(|event| event.payload).filter(|payload| !payload.is_empty());
        let ill = [(10, 200), (15, 190), (20, 200), (25, 80)].map(|(second, heart_rate)| {
            format!(
                "{{\"patient_id\":990001,\"event_type\":\"vitals\",\"heart_rate\":{heart_rate},\
                 \"timestamp\":\"2025-11-24T21:05:{second}\"}}"
            )
        });
        messages.chain(ill.map(String::into_bytes)).collect()
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

    /// The number before `what` in the line of a table or a topic.
    fn told(lines: &[String], table: &str, what: &str) -> u64 {
        let line = lines.iter().find(|line| line.starts_with(&format!("{table}: "))).unwrap();
        let (before, _) = line.split_once(&format!(" {what}")).unwrap();
        before.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// A copy of the tables, so that what is done to it is done to nothing else.
    fn copied(data: &Path, name: &str) -> PathBuf {
        let copy = data.with_file_name(name);
        assert!(Command::new("cp").arg("-r").args([data, &copy]).status().unwrap().success());
        copy
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
        assert!(valid > 2_000);
        let topics = Evidence::below(folder.path(), &data, FILE);
        let topics = [topics.mirror, topics.dead_letters, topics.alerts];
        for ((topic, table), file) in TOPICS.iter().zip(&topics) {
            let (table, file) =
                (data.join(table).display().to_string(), file.display().to_string());
            let letters = (*topic == "dead-letter topic").then_some("letters");
            let arguments: Vec<&str> = [&*table, &*file].into_iter().chain(letters).collect();
            python.run(SENT, &arguments).unwrap();
        }
        let judged = |data: &Path, lines: &[String]| {
            let evidence = Evidence::below(folder.path(), data, FILE);
            fs::write(&evidence.input, lines.concat()).unwrap();
            findings(&python, &evidence).unwrap()
        };
        let lines = dumped(&messages);
        let (found, verdict) = judged(&data, &lines);
        assert_eq!(verdict, Verdict { lost: 0, duplicated: 0 }, "{found:#?}");

        let doubled = copied(&data, "doubled");
        for table in TABLES {
            double_a_file(&doubled.join(table));
        }
        let (found, _) = judged(&doubled, &lines);
        for table in TABLES {
            assert!(told(&found, table, "duplicated or wrong") > 0, "{table}: {found:#?}");
            assert_eq!(told(&found, table, "lost"), 0, "{table}: {found:#?}");
        }
        assert!(told(&found, CHANGES, "repeated") > 0, "{found:#?}");

        let lost = copied(&data, "lost");
        for table in TABLES {
            lose_a_file(&lost.join(table));
        }
        let (found, _) = judged(&lost, &lines);
        for table in TABLES {
            assert!(told(&found, table, "lost") > 0, "{table}: {found:#?}");
            assert_eq!(told(&found, table, "duplicated or wrong"), 0, "{table}: {found:#?}");
        }

        // An alert that is missing as a whole, one that is there twice, and one that says something else.
        for (what, missing, extra) in [
            ("removed", 2, 0),
            ("doubled", 0, 2),
            ("sequence", 2, 2),
            ("severity", 2, 2),
            ("value", 2, 2),
            ("score", 2, 2),
            ("event_time", 2, 2),
            ("fired_at", 2, 2),
        ] {
            let other = copied(&data, &format!("other-{what}"));
            let table = other.join(ALERTS).display().to_string();
            python.run(ANOTHER_ALERT, &[&table, what]).unwrap();
            let (found, _) = judged(&other, &lines);
            assert_eq!(told(&found, ALERTS, "lost"), missing, "{what}: {found:#?}");
            assert_eq!(told(&found, ALERTS, "duplicated or wrong"), extra, "{what}: {found:#?}");
            let line = found.iter().find(|line| line.starts_with("alerts/events: ")).unwrap();
            let names = line.ends_with("(patients: 1; rules: heart-rate-high)");
            assert_eq!(names, what != "doubled", "{line}");
            assert!(!line.contains("990001") && !line.contains("190.0"), "{line}");
        }

        // Cuts are compared with the logs of all other tables, which are whole here.
        let cuts = copied(&data, "doubled-cuts");
        double_a_file(&cuts.join(CUTS));
        let (found, _) = judged(&cuts, &lines);
        assert!(told(&found, CUTS, "repeated") > 0, "{found:#?}");
        let cuts = copied(&data, "lost-cuts");
        lose_a_file(&cuts.join(CUTS));
        let (found, _) = judged(&cuts, &lines);
        assert!(told(&found, CUTS, "otherwise wrong") > 0, "{found:#?}");

        for ((topic, _), file) in TOPICS.iter().zip(&topics) {
            let whole = fs::read_to_string(file).unwrap();
            let (first, rest) = whole.split_once('\n').unwrap();
            fs::write(file, rest).unwrap();
            let (found, verdict) = judged(&data, &lines);
            assert_eq!(verdict, Verdict { lost: 1, duplicated: 0 }, "{found:#?}");
            assert_eq!(told(&found, topic, "lost"), 1, "{found:#?}");
            fs::write(file, format!("{whole}{first}\n")).unwrap();
            let (found, verdict) = judged(&data, &lines);
            // Whoever is paged is paged at least once.
            let twice = u64::from(*topic != "alerts topic");
            assert_eq!(verdict, Verdict { lost: 0, duplicated: twice }, "{found:#?}");
            assert_eq!(told(&found, topic, "duplicated or wrong"), twice, "{found:#?}");
            fs::write(file, whole).unwrap();
        }
        // Nobody is paged for what is not in the table, and no letter has other bytes than its row, nor another stage.
        let [_, letters, pages] = &topics;
        for (file, topic, from, to) in [
            (pages, "alerts topic", "\"sequence\": ", "\"sequence\": 1"),
            (letters, "dead-letter topic", "\"payload\": \"01", "\"payload\": \"02"),
            (letters, "dead-letter topic", "\"stage\": \"decode\"", "\"stage\": \"validate\""),
        ] {
            let whole = fs::read_to_string(file).unwrap();
            let other = whole.replacen(from, to, 1);
            assert_ne!(other, whole, "{topic} has no {from}");
            fs::write(file, other).unwrap();
            let (found, verdict) = judged(&data, &lines);
            assert_eq!(verdict, Verdict { lost: 1, duplicated: 1 }, "{found:#?}");
            assert_eq!(told(&found, topic, "duplicated or wrong"), 1, "{found:#?}");
            fs::write(file, whole).unwrap();
        }

        for table in ["silver/events", CUTS] {
            clean_up(&data, table);
            let (found, verdict) = judged(&data, &lines);
            assert_eq!(verdict, Verdict { lost: 0, duplicated: 0 }, "{table}: {found:#?}");
        }

        let (_, more) = judged(&data, lines.get(1..).unwrap());
        assert!(more.duplicated > 0, "a message that was not there: {more:?}");
        let less = [lines.as_slice(), &["0 9999999 - 7b7d\n".to_owned()]].concat();
        let (_, less) = judged(&data, &less);
        assert!(less.lost > 0, "a message that is nowhere: {less:?}");
        let hex = |text: &str| text.bytes().fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
        // As long as before: encrypted they are alike.
        let (off, on) = (hex("\"oxygen\":false"), hex("\"oxygen\":true "));
        let changed: Vec<_> = lines.iter().map(|line| line.replace(&off, &on)).collect();
        let (_, changed) = judged(&data, &changed);
        assert!(changed.lost > 0 && changed.duplicated > 0, "another value: {changed:?}");
        // The value with which an alert ended.
        let ill = hex("\"patient_id\":990001");
        let (well, other) = (hex("\"heart_rate\":80,"), hex("\"heart_rate\":81,"));
        let changed: Vec<_> = lines
            .iter()
            .map(
                |line| if line.contains(&ill) { line.replace(&well, &other) } else { line.clone() },
            )
            .collect();
        let (found, _) = judged(&data, &changed);
        assert_eq!(told(&found, CHANGES, "values that no event has"), 1, "{found:#?}");
        assert_eq!(told(&found, ALERTS, "lost"), 1, "{found:#?}");
        assert_eq!(told(&found, ALERTS, "duplicated or wrong"), 1, "{found:#?}");
    }
}
