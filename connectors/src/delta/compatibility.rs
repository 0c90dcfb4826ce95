//! Whether files with these columns may still be added to a table that others have changed (P15).

use std::collections::{BTreeMap, BTreeSet};

use delta_kernel::schema::{ColumnMetadataKey, DataType, StructField};
use deltalake::kernel::StructType;
use thalweg_core::{Error, Result};

/// Writer features that ask nothing of a blind append as long as no column or setting makes use of them.
const HARMLESS_FEATURES: [&str; 11] = [
    "appendOnly",
    "invariants",
    "checkConstraints",
    "changeDataFeed",
    "generatedColumns",
    "columnMapping",
    "timestampNtz",
    "deletionVectors",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    CHECKPOINT_PROTECTION,
];

/// What `DROP FEATURE` of Delta 4 leaves behind. Log checkpoints at the drop hide from older readers the entries before them,
/// of which they would not understand all. So it forbids to make log checkpoints of versions before
/// `delta.requireCheckpointProtectionBeforeVersion`, and to remove entries before it but all at once, with their log
/// checkpoints, by a writer that knows what is in them. Commits, the data files, and a log checkpoint of the newest version
/// are as ever. We remove none of its entries ([`super::table::Table::retention`]): who truncates its history by Delta
/// (`DROP FEATURE checkpointProtection TRUNCATE HISTORY`) gets rid of it.
pub(crate) const CHECKPOINT_PROTECTION: &str = "checkpointProtection";

/// A table as its log describes it now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableFacts {
    pub(crate) id: String,
    pub(crate) schema: StructType,
    pub(crate) partition_columns: Vec<String>,
    pub(crate) configuration: BTreeMap<String, String>,
    pub(crate) writer_version: i32,
    pub(crate) writer_features: BTreeSet<String>,
}

/// The first reason why `columns` cannot be added, if there is one. No reason quotes a value of a record.
pub(crate) fn obstacle(
    columns: &StructType,
    partition_columns: &BTreeSet<&str>,
    table: &TableFacts,
) -> Option<String> {
    by_protocol(table)
        .or_else(|| by_settings(table))
        .or_else(|| by_partitioning(partition_columns, table))
        .or_else(|| columns.fields().find_map(|f| by_column(f, table)))
        .or_else(|| table.schema.fields().find_map(|f| by_missing_column(f, columns)))
}

/// The same as an error that says what to do, for rows that wait to be committed.
pub(crate) fn check(
    name: &str,
    version: u64,
    columns: &StructType,
    partition_columns: &BTreeSet<&str>,
    table: &TableFacts,
) -> Result<()> {
    match obstacle(columns, partition_columns, table) {
        None => Ok(()),
        Some(why) => Err(Error::incompatible(format!(
            "table `{name}` at version {version} cannot take our files: {why}; undo that change, then run the \
             same command again"
        ))),
    }
}

/// The same at a start, for what the job is going to write: it may be the job's own columns that have changed.
pub(crate) fn check_planned(
    name: &str,
    version: u64,
    columns: &StructType,
    partition_columns: &BTreeSet<&str>,
    table: &TableFacts,
) -> Result<()> {
    // All at once: who adds them one after the other starts the job as often.
    let new = columns.fields().filter(|f| table.schema.field(f.name()).is_none());
    let new: Vec<String> = new.map(|f| format!("`{}` {}", f.name(), f.data_type())).collect();
    if !new.is_empty() {
        let new = new.join(", ");
        return Err(Error::incompatible(format!(
            "table `{name}` at version {version} has no column {new}, which this job writes: what is new to the job, \
             add first, nullable, by `ALTER TABLE … ADD COLUMNS`, or write to another table; what others have dropped, bring \
             back"
        )));
    }
    match obstacle(columns, partition_columns, table) {
        None => Ok(()),
        Some(why) => Err(Error::incompatible(format!(
            "table `{name}` at version {version} does not take what this job writes: {why}; undo what was changed there; \
             if it is the job that was changed, undo that, or write to another table"
        ))),
    }
}

fn by_protocol(table: &TableFacts) -> Option<String> {
    if table.writer_version > 7 {
        return Some(format!("it needs writer version {}", table.writer_version));
    }
    let asks = table.writer_features.iter().find(|f| !HARMLESS_FEATURES.contains(&f.as_str()))?;
    Some(format!("it needs the writer feature `{asks}`"))
}

fn by_settings(table: &TableFacts) -> Option<String> {
    let set = |key: &str| table.configuration.get(key).map(String::as_str);
    if let Some(key) = table.configuration.keys().find(|k| k.starts_with("delta.constraints.")) {
        return Some(format!("it has the constraint `{key}`"));
    }
    if set("delta.columnMapping.mode").is_some_and(|mode| mode != "none") {
        return Some("its columns are mapped to other names".to_owned());
    }
    if set("delta.setTransactionRetentionDuration").is_some() {
        return Some(
            "`delta.setTransactionRetentionDuration` lets it forget which checkpoints are in"
                .to_owned(),
        );
    }
    let active = ["delta.enableRowTracking", "delta.enableInCommitTimestamps"];
    active.into_iter().find(|k| set(k) == Some("true")).map(|key| format!("`{key}` is set"))
}

fn by_partitioning(ours: &BTreeSet<&str>, table: &TableFacts) -> Option<String> {
    let theirs: BTreeSet<&str> = table.partition_columns.iter().map(String::as_str).collect();
    (*ours != theirs).then(|| "it is partitioned by other columns".to_owned())
}

fn by_column(ours: &StructField, table: &TableFacts) -> Option<String> {
    let name = ours.name();
    let Some(theirs) = table.schema.field(name) else {
        return Some(format!("it has no column `{name}`"));
    };
    if !same_type(theirs.data_type(), ours.data_type()) {
        return Some(format!("column `{name}` has another type"));
    }
    if !theirs.is_nullable() && ours.is_nullable() {
        return Some(format!("column `{name}` must not be null there"));
    }
    demanding(theirs)
}

/// Whether values have the same type, whatever else is said of fields inside of it: a comment, say.
fn same_type(theirs: &DataType, ours: &DataType) -> bool {
    match (theirs, ours) {
        (DataType::Struct(theirs), DataType::Struct(ours)) => {
            let same = |ours: &StructField| {
                theirs.field(ours.name()).is_some_and(|theirs| {
                    theirs.is_nullable() == ours.is_nullable()
                        && same_type(theirs.data_type(), ours.data_type())
                })
            };
            theirs.num_fields() == ours.num_fields() && ours.fields().all(same)
        }
        (DataType::Array(theirs), DataType::Array(ours)) => {
            theirs.contains_null == ours.contains_null
                && same_type(&theirs.element_type, &ours.element_type)
        }
        (DataType::Map(theirs), DataType::Map(ours)) => {
            theirs.value_contains_null == ours.value_contains_null
                && same_type(&theirs.key_type, &ours.key_type)
                && same_type(&theirs.value_type, &ours.value_type)
        }
        _ => theirs == ours,
    }
}

fn by_missing_column(theirs: &StructField, ours: &StructType) -> Option<String> {
    if ours.contains(theirs.name()) {
        return None;
    }
    if !theirs.is_nullable() {
        return Some(format!("it has a new column `{}` that must not be null", theirs.name()));
    }
    demanding(theirs)
}

fn demanding(column: &StructField) -> Option<String> {
    [
        (ColumnMetadataKey::Invariants, "an invariant"),
        (ColumnMetadataKey::GenerationExpression, "a generation expression"),
        (ColumnMetadataKey::IdentityStart, "an identity"),
    ]
    .into_iter()
    .find(|(key, _)| column.get_config_value(key).is_some())
    .map(|(_, what)| format!("column `{}` has {what}", column.name()))
    .or_else(|| demanding_inside(column.data_type()))
}

fn demanding_inside(column: &DataType) -> Option<String> {
    match column {
        DataType::Struct(inner) => inner.fields().find_map(demanding),
        DataType::Array(inner) => demanding_inside(&inner.element_type),
        DataType::Map(inner) => {
            demanding_inside(&inner.key_type).or_else(|| demanding_inside(&inner.value_type))
        }
        DataType::Primitive(_) | DataType::Variant(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use delta_kernel::schema::{ArrayType, MapType, MetadataValue};

    fn column(name: &str, data_type: impl Into<DataType>) -> StructField {
        StructField::nullable(name, data_type)
    }

    fn facts(columns: Vec<StructField>) -> TableFacts {
        TableFacts {
            id: "id".to_owned(),
            schema: StructType::try_new(columns).unwrap(),
            partition_columns: Vec::new(),
            configuration: BTreeMap::new(),
            writer_version: 2,
            writer_features: BTreeSet::new(),
        }
    }

    fn ours() -> Vec<StructField> {
        vec![column("a", DataType::LONG), column("b", DataType::STRING)]
    }

    fn why(table: &TableFacts) -> Option<String> {
        obstacle(&StructType::try_new(ours()).unwrap(), &BTreeSet::new(), table)
    }

    #[test]
    fn a_new_nullable_column_in_any_place_and_an_unused_feature_pass() {
        let mut table = facts(vec![
            column("b", DataType::STRING),
            column("new", DataType::DATE),
            column("a", DataType::LONG),
        ]);
        assert_eq!(why(&table), None);
        table.writer_version = 7;
        table.writer_features =
            ["checkConstraints", CHECKPOINT_PROTECTION].map(ToOwned::to_owned).into();
        table.configuration.insert("delta.enableChangeDataFeed".to_owned(), "true".to_owned());
        assert_eq!(why(&table), None);
    }

    #[test]
    fn a_start_with_a_column_that_the_table_lacks_says_how_to_add_it() {
        let mut more = ours();
        more.push(column("more", DataType::LONG));
        more.push(StructField::not_null("most", DataType::STRING));
        let more = StructType::try_new(more).unwrap();
        let planned = |columns: &StructType, table: &TableFacts| {
            check_planned("t", 7, columns, &BTreeSet::new(), table)
        };
        let told = planned(&more, &facts(ours())).unwrap_err().to_string();
        assert!(told.contains("`more` long, `most` string, which"), "{told}");
        assert!(told.contains("ADD COLUMNS") && !told.contains("`a`"), "{told}");
        assert!(!told.contains("resolve"), "that would not get past the table: {told}");
        // With it everything is as it should be.
        let mut nullable = ours();
        nullable.push(column("more", DataType::LONG));
        nullable.push(column("most", DataType::STRING));
        assert!(planned(&more, &facts(nullable)).is_ok());
        let mut added = facts(ours());
        added.schema = more.clone();
        assert!(planned(&more, &added).is_ok());
        let retyped = facts(vec![column("a", DataType::INTEGER), column("b", DataType::STRING)]);
        let told =
            planned(&StructType::try_new(ours()).unwrap(), &retyped).unwrap_err().to_string();
        assert!(told.contains("`a` has another type") && !told.contains("resolve"), "{told}");
    }

    /// Columns with this field inside of them.
    fn nested(field: &StructField) -> Vec<StructField> {
        let inner = StructType::try_new([field.clone()]).unwrap();
        let inner = || DataType::from(inner.clone());
        vec![
            column("in_struct", inner()),
            column("in_array", ArrayType::new(inner(), true)),
            column("in_map", MapType::new(DataType::STRING, inner(), true)),
        ]
    }

    #[test]
    fn of_a_field_inside_a_column_what_it_asks_counts_and_no_comment() {
        let said = |key: &str| {
            let said = [(key, MetadataValue::String("{}".to_owned()))];
            column("x", DataType::LONG).with_metadata(said)
        };
        let (plain, comment) = (column("x", DataType::LONG), said("comment"));
        let theirs = [
            (comment, None),
            (said("delta.invariants"), Some("`x` has an invariant")),
            (said("delta.generationExpression"), Some("`x` has a generation expression")),
            (column("x", DataType::INTEGER), Some("another type")),
            (column("y", DataType::LONG), Some("another type")),
            (StructField::not_null("x", DataType::LONG), Some("another type")),
        ];
        for (theirs, expected) in theirs {
            for (theirs, ours) in nested(&theirs).into_iter().zip(nested(&plain)) {
                let ours = StructType::try_new([ours]).unwrap();
                let found = obstacle(&ours, &BTreeSet::new(), &facts(vec![theirs]));
                match expected {
                    None => assert_eq!(found, None),
                    Some(why) => {
                        assert!(found.as_ref().is_some_and(|f| f.contains(why)), "{found:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_change_that_our_files_do_not_meet_stops() {
        let dropped = facts(vec![column("a", DataType::LONG)]);
        let retyped = facts(vec![column("a", DataType::INTEGER), column("b", DataType::STRING)]);
        let tightened =
            facts(vec![StructField::not_null("a", DataType::LONG), column("b", DataType::STRING)]);
        let mut demanded = ours();
        demanded.push(StructField::not_null("c", DataType::LONG));
        let mut invariant = ours();
        let rule = [("delta.invariants", MetadataValue::String("{}".to_owned()))];
        invariant.push(column("c", DataType::LONG).with_metadata(rule));
        let mut tables = vec![dropped, retyped, tightened, facts(demanded), facts(invariant)];
        for (key, value) in [
            ("delta.constraints.positive", "a > 0"),
            ("delta.columnMapping.mode", "name"),
            ("delta.setTransactionRetentionDuration", "interval 1 days"),
            ("delta.enableRowTracking", "true"),
        ] {
            let mut table = facts(ours());
            table.configuration.insert(key.to_owned(), value.to_owned());
            tables.push(table);
        }
        let mut table = facts(ours());
        table.partition_columns = vec!["a".to_owned()];
        tables.push(table);
        let mut table = facts(ours());
        table.writer_features = BTreeSet::from(["typeWidening".to_owned()]);
        tables.push(table);
        for table in tables {
            assert!(why(&table).is_some(), "{table:?}");
        }
    }
}
