//! `healthcare decrypt`.

use arrow_array::Array;
use thalweg_connectors::delta::read_table;
use thalweg_core::record::{Binary, Column, Int32, Int64, Utf8, column_of};
use thalweg_core::{Error, Result};
use thalweg_objects::{Access, Place};
use thalweg_serving::audit::Action;

use super::audit::Deed;
use crate::healthcare::decrypt::{DecryptArgs, Opening, SealedRow, SealedRows, Wanted, decrypt};
use crate::healthcare::keys;
use crate::healthcare::serve::files;

/// Messages go to standard output; the audit log, and a line on standard error, tell which and how many.
pub(super) fn execute(args: &DecryptArgs) -> Result<()> {
    let (key, _) = keys::load(&args.data_dir, args.key_file.as_deref())?;
    let tables = Tables(args.data_dir.clone());
    let log = files::audit_log(&args.data_dir, args.audit_log.as_deref())?;
    let mut deed = Deed::by_operator(Action::Decrypt);
    "messages".clone_into(&mut deed.event.kind);
    deed.event.tables = vec![args.table.path().replace('/', "_")];
    deed.event.subject = log.digest(&args.asked());
    let mut begin = |opening: &Opening| {
        deed.event.rows = opening.rows as u64;
        deed.event.places.clone_from(&opening.places);
        deed.begun(&log)?;
        tell(&opening.line);
        Ok(())
    };
    let done = decrypt(args, &tables, &key, &mut std::io::stdout().lock(), &mut begin);
    let rows = deed.ended(&log, done)?;
    if rows == 0 {
        let table = args.table.path();
        return Err(Error::config(format!("table {table} has no such rows")));
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "it is for people; standard output has the messages")]
fn tell(line: &str) {
    eprintln!("{line}");
}

struct Tables(Place);

const TOPIC: Column<Utf8> = Column::required("topic");
const PARTITION: Column<Int32> = Column::required("partition");
const OFFSET: Column<Int64> = Column::required("offset");
const PAYLOAD: Column<Binary> = Column::nullable("payload");

impl SealedRows for Tables {
    fn rows(&self, table: &str, wanted: &Wanted) -> Result<Vec<SealedRow>> {
        let mut rows = Vec::new();
        let columns = [TOPIC.name(), PARTITION.name(), OFFSET.name(), PAYLOAD.name()];
        read_table(&self.0, &Access::from_environment(), table, &columns, |batch| {
            let (topics, partitions) = (column_of(&batch, TOPIC)?, column_of(&batch, PARTITION)?);
            let (offsets, payloads) = (column_of(&batch, OFFSET)?, column_of(&batch, PAYLOAD)?);
            for row in 0..batch.num_rows() {
                let (topic, partition) = (topics.value(row), partitions.value(row));
                if wanted.contains(topic, partition, offsets.value(row)) {
                    rows.push(SealedRow {
                        topic: topic.to_owned(),
                        partition,
                        offset: offsets.value(row),
                        payload: payloads.is_valid(row).then(|| payloads.value(row).to_vec()),
                    });
                }
            }
            Ok(())
        })?;
        Ok(rows)
    }
}
