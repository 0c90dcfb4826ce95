//! Whether the rows of a table's files are the rows of the table, for readers that take a file as it is.
//!
//! Ours apply no deletion vectors, know columns by their names in the table, and know no newer types. They say so rather
//! than read on: a row that somebody has erased must not come back, least of all into another table.

use deltalake::table::state::DeltaTableState;
use thalweg_core::Result;

use super::failure;

/// Reader features that change nothing as long as no file and no setting makes use of them.
const HARMLESS_FEATURES: [&str; 5] =
    ["columnMapping", "deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"];
/// The last protocol of readers that we know.
const UNDERSTOOD_READER: i32 = 3;

/// What a table asks of its readers.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Demands {
    min_reader_version: i32,
    #[serde(default)]
    reader_features: Option<Vec<String>>,
    #[serde(skip)]
    column_mapping: Option<String>,
    /// Files of which rows were deleted.
    #[serde(skip)]
    files_with_deleted_rows: usize,
}

/// Why no row of `table` can be read here, and what to do, in one line; `None`: they can be.
pub(super) fn obstacle(table: &str, state: &DeltaTableState) -> Result<Option<String>> {
    let mut demands: Demands = serde_json::to_value(state.protocol())
        .and_then(serde_json::from_value)
        .map_err(|e| failure::log("read the protocol", table, &e))?;
    demands.column_mapping =
        state.metadata().configuration().get("delta.columnMapping.mode").cloned();
    let files = state.log_data();
    let deleted = files.iter().filter(|file| file.deletion_vector_descriptor().is_some());
    demands.files_with_deleted_rows = deleted.count();
    Ok(demands.unmet().map(|why| format!("table `{table}` cannot be read here: {why}")))
}

impl Demands {
    /// The first of them that we do not meet.
    fn unmet(&self) -> Option<String> {
        if self.min_reader_version > UNDERSTOOD_READER {
            return Some(format!("it needs reader version {}", self.min_reader_version));
        }
        let mut features = self.reader_features.iter().flatten();
        if let Some(feature) = features.find(|f| !HARMLESS_FEATURES.contains(&f.as_str())) {
            return Some(format!("it needs the reader feature `{feature}`: drop that feature"));
        }
        if self.column_mapping.as_ref().is_some_and(|mode| mode != "none") {
            return Some(
                "its columns are mapped to other names: set `delta.columnMapping.mode` to `none`"
                    .to_owned(),
            );
        }
        let files = self.files_with_deleted_rows;
        (files > 0).then(|| {
            format!(
                "{files} of its files hold rows that were deleted by a deletion vector: set \
                 `delta.enableDeletionVectors` to `false`, then rewrite them with REORG TABLE … APPLY (PURGE)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demands(version: i32, features: &[&str]) -> Demands {
        let features = features.iter().map(|f| (*f).to_owned()).collect();
        Demands {
            min_reader_version: version,
            reader_features: (version == 3).then_some(features),
            ..Demands::default()
        }
    }

    #[test]
    fn features_that_nothing_makes_use_of_pass() {
        let mapped = |mode: Option<&str>| Demands {
            column_mapping: mode.map(str::to_owned),
            ..demands(2, &[])
        };
        for met in [
            demands(1, &[]),
            mapped(None),
            mapped(Some("none")),
            demands(3, &["deletionVectors", "v2Checkpoint", "timestampNtz"]),
        ] {
            assert_eq!(met.unmet(), None, "{met:?}");
        }
        for (unmet, says) in [
            (demands(4, &[]), "version 4"),
            (demands(3, &["deletionVectors", "typeWidening"]), "typeWidening"),
            (mapped(Some("name")), "mapped"),
            (Demands { files_with_deleted_rows: 2, ..demands(3, &["deletionVectors"]) }, "2 of"),
        ] {
            let why = unmet.unmet().unwrap();
            assert!(why.contains(says) && why.lines().count() == 1, "{why}");
        }
    }
}
