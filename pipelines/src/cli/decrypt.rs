//! `healthcare decrypt`.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use thalweg_connectors::delta::{DeltaReader, FileStatistics, OpenTable};
use thalweg_core::record::{Binary, Column, Int32, Int64, Utf8, column_of};
use thalweg_core::{Error, Result};
use thalweg_objects::Access;
use thalweg_serving::audit::Action;

use super::audit::Deed;
use super::outcome::tell;
use crate::healthcare::decrypt::{
    DecryptArgs, Opening, Position, SealedRow, SealedRows, Visible, Wanted, decrypt,
};
use crate::healthcare::keys;
use crate::healthcare::serve::files;

/// Messages go to standard output, made visible where that is a terminal; the audit log, and a line on standard error, tell
/// which and how many.
pub(super) fn execute(args: &DecryptArgs) -> Result<()> {
    let (key, _) = keys::load(&args.data_dir, args.key_file.as_deref())?;
    let reader = DeltaReader::at(&args.data_dir, &Access::from_environment())?;
    let (place, table) = (&args.data_dir, args.table.path());
    let missing = || Error::config(format!("there is no table {table} in {place}"));
    let log = files::audit_log(&args.data_dir, args.audit_log.as_deref())?;
    let mut deed = Deed::by_operator(Action::Decrypt);
    "messages".clone_into(&mut deed.event.kind);
    deed.event.tables = vec![table.replace('/', "_")];
    deed.event.subject = log.digest(&args.asked());
    let mut begin = |opening: &Opening| {
        deed.event.rows = opening.rows as u64;
        deed.event.places.clone_from(&opening.places);
        deed.begun(&log)?;
        tell(&opening.line);
        Ok(())
    };
    let stdout = std::io::stdout().lock();
    let mut out: Box<dyn Write> =
        if stdout.is_terminal() { Box::new(Visible(stdout)) } else { Box::new(stdout) };
    let done = reader.open(table).and_then(|found| {
        let found = Table(found.ok_or_else(missing)?);
        decrypt(args, &found, &key, out.as_mut(), &mut begin)
    });
    let rows = deed.ended(&log, done)?;
    if rows == 0 {
        return Err(Error::config(format!("table {table} has no such rows")));
    }
    Ok(())
}

/// The table, as it is when the command begins.
struct Table<'a>(OpenTable<'a>);

const TOPIC: Column<Utf8> = Column::required("topic");
const PARTITION: Column<Int32> = Column::required("partition");
const OFFSET: Column<Int64> = Column::required("offset");
const PAYLOAD: Column<Binary> = Column::nullable("payload");

/// Whether a file may have rows that are wanted, by what the log tells of it.
fn may_hold(wanted: &Wanted, told: &FileStatistics) -> bool {
    let partition = i64::from(wanted.partition);
    let topic = wanted.topic.as_deref();
    told.may_hold_numbers(OFFSET.name(), &wanted.offsets)
        && told.may_hold_numbers(PARTITION.name(), &(partition..partition.saturating_add(1)))
        && topic.is_none_or(|topic| told.may_hold_text(TOPIC.name(), topic))
}

/// Which rows of a batch are wanted, and where their messages were.
fn positions(batch: &RecordBatch, wanted: &Wanted) -> Result<Vec<(usize, Position)>> {
    let (topics, partitions) = (column_of(batch, TOPIC)?, column_of(batch, PARTITION)?);
    let offsets = column_of(batch, OFFSET)?;
    let mut found: Vec<(usize, Position)> = Vec::new();
    for row in 0..batch.num_rows() {
        let (topic, partition, offset) =
            (topics.value(row), partitions.value(row), offsets.value(row));
        if wanted.contains(topic, partition, offset) {
            // A file has few topics.
            let before = found.last().map(|(_, at)| &at.topic).filter(|before| ***before == *topic);
            let topic = before.map_or_else(|| topic.into(), Arc::clone);
            found.push((row, Position { topic, partition, offset }));
        }
    }
    Ok(found)
}

impl SealedRows for Table<'_> {
    fn files(&self, wanted: &Wanted) -> Result<Vec<usize>> {
        Ok(self.0.files_where(|told| may_hold(wanted, told)))
    }

    fn positions(&self, file: usize, wanted: &Wanted) -> Result<Vec<Position>> {
        let columns = [TOPIC.name(), PARTITION.name(), OFFSET.name()];
        let mut rows = Vec::new();
        self.0.scan_file(file, &columns, |batch| {
            rows.extend(positions(&batch, wanted)?.into_iter().map(|(_, at)| at));
            Ok(())
        })?;
        Ok(rows)
    }

    fn rows(&self, file: usize, wanted: &Wanted) -> Result<Vec<SealedRow>> {
        let columns = [TOPIC.name(), PARTITION.name(), OFFSET.name(), PAYLOAD.name()];
        let mut rows = Vec::new();
        self.0.scan_file(file, &columns, |batch| {
            let payloads = column_of(&batch, PAYLOAD)?;
            rows.extend(positions(&batch, wanted)?.into_iter().map(|(row, at)| SealedRow {
                at,
                payload: payloads.is_valid(row).then(|| payloads.value(row).to_vec()),
            }));
            Ok(())
        })?;
        Ok(rows)
    }
}
