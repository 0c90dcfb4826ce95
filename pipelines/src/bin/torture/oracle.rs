//! Runs the batch oracle over what the broker and the tables hold.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

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

/// Writes a topic's committed messages as lines of partition, offset and payload in hexadecimal.
pub(crate) fn dump(kafka: &KafkaServer, topic: &str, to: &Path) -> Result<u64> {
    let failed = |e| error::io(format!("write {}", to.display()), e);
    let messages = kafka
        .committed_messages(topic)
        .map_err(|e| Error::transient(format!("cannot read topic `{topic}`: {e}")))?;
    let mut out = BufWriter::new(File::create(to).map_err(failed)?);
    for message in &messages {
        write!(out, "{} {} ", message.partition, message.offset).map_err(failed)?;
        for byte in &message.value {
            write!(out, "{byte:02x}").map_err(failed)?;
        }
        writeln!(out).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    Ok(messages.len() as u64)
}

/// Recomputes everything from the dumped input.
pub(crate) fn judge(python: &Python, data: &Path, input: &Path, mirror: &Path) -> Result<Verdict> {
    let paths = [data, input, mirror].map(|path| path.display().to_string());
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let told = python.run(SCRIPT, &paths)?;
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
