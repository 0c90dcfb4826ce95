//! Whether a table asks others to keep out of its log what the job keeps out of it.
//!
//! Statistics in the log tell least and greatest values. Our own never do of a marked column, but whoever rewrites the files,
//! `OPTIMIZE` say, goes by the table's properties. A table is created with those that say so; one that was adopted, or whose
//! columns were marked later, may lack them.

use std::collections::BTreeMap;

use delta_kernel::table_properties::DataSkippingNumIndexedCols::NumColumns;
use delta_kernel::table_properties::TableProperties;
use deltalake::kernel::StructType;

use super::compatibility::TableFacts;
use super::entry::Definition;

/// Which columns have statistics. It stands above [`COUNT`].
pub(super) const COLUMNS: &str = "delta.dataSkippingStatsColumns";
/// How many of the first columns have.
pub(super) const COUNT: &str = "delta.dataSkippingNumIndexedCols";

/// Whether the log may tell values of a column where a table has these properties. Of a column beyond those that are counted
/// nobody here knows.
pub(super) fn tells(configuration: &BTreeMap<String, String>, column: &str) -> bool {
    let properties = TableProperties::from(configuration);
    match &properties.data_skipping_stats_columns {
        // A column inside of another goes with it.
        Some(columns) => columns
            .iter()
            .any(|told| told.path().first().is_some_and(|first| first.as_str() == column)),
        None => properties.data_skipping_num_indexed_cols != Some(NumColumns(0)),
    }
}

/// The statement that makes `table` ask for what it would be created with; `None`: it asks for that already, or the job
/// keeps nothing out of the log.
pub(super) fn missing(definition: &Definition, table: &TableFacts) -> Option<String> {
    // Who cannot read them does not open the table.
    let columns: StructType = serde_json::from_str(&definition.schema).ok()?;
    let (ours, theirs) = (&definition.configuration, &table.configuration);
    let lacks =
        columns.fields().any(|field| !tells(ours, field.name()) && tells(theirs, field.name()));
    let set = |key: &str| {
        let value = ours.get(key)?;
        Some(format!("ALTER TABLE … SET TBLPROPERTIES ('{key}' = '{value}')"))
    };
    let unset = || {
        let stands_above = !ours.contains_key(COLUMNS) && theirs.contains_key(COLUMNS);
        stands_above.then(|| format!("ALTER TABLE … UNSET TBLPROPERTIES ('{COLUMNS}')"))
    };
    let statements = [set(COLUMNS), set(COUNT), unset()];
    lacks.then(|| statements.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use deltalake::kernel::{DataType, StructField};

    use super::*;
    use crate::delta::SchemaEvolution;

    fn properties(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// What a job with the columns `id` and `name` says of a table, each with these properties.
    fn said(ours: &[(&str, &str)], theirs: &[(&str, &str)]) -> Option<String> {
        let columns = ["id", "name"].map(|name| StructField::nullable(name, DataType::STRING));
        let columns = StructType::try_new(columns).unwrap();
        let definition = Definition {
            schema: serde_json::to_string(&columns).unwrap(),
            partition_columns: Vec::new(),
            configuration: properties(ours),
            schema_evolution: SchemaEvolution::Refuse,
        };
        let table = TableFacts {
            id: "id".to_owned(),
            schema: columns,
            partition_columns: Vec::new(),
            configuration: properties(theirs),
            writer_version: 2,
            writer_features: BTreeSet::new(),
        };
        missing(&definition, &table)
    }

    #[test]
    fn a_table_that_may_tell_what_the_job_keeps_to_itself_is_told_the_statement() {
        let ours = [(COLUMNS, "`id`")];
        for lacking in [&[][..], &[(COUNT, "32")], &[(COUNT, "-1")], &[(COLUMNS, "`id`,name")]] {
            let statement = said(&ours, lacking).unwrap();
            let expected = format!("ALTER TABLE … SET TBLPROPERTIES ('{COLUMNS}' = '`id`')");
            assert_eq!(statement, expected, "{lacking:?}");
        }
        // Where nothing may be told, a list would still say otherwise.
        let statement = said(&[(COUNT, "0")], &[(COLUMNS, "id")]).unwrap();
        assert!(statement.contains(&format!("SET TBLPROPERTIES ('{COUNT}' = '0')")), "{statement}");
        assert!(statement.contains(&format!("; ALTER TABLE … UNSET TBLPROPERTIES ('{COLUMNS}')")));
    }

    #[test]
    fn a_table_that_tells_no_more_than_the_job_is_in_order() {
        let ours = [(COLUMNS, "`id`")];
        for fine in [&[(COLUMNS, "`id`")][..], &[(COLUMNS, "id,theirs.x")], &[(COUNT, "0")]] {
            assert_eq!(said(&ours, fine), None, "{fine:?}");
        }
        assert_eq!(said(&[(COUNT, "0")], &[(COUNT, "0")]), None);
        assert_eq!(said(&[], &[]), None, "nothing is kept out");
        assert_eq!(said(&[(COUNT, "5")], &[]), None, "nothing is kept out");
    }
}
