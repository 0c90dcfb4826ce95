//! Whether a table asks others to keep out of its log what the job keeps out of it.
//!
//! Statistics in the log tell least and greatest values. Our own never do of a marked column, but whoever rewrites the files,
//! `OPTIMIZE` say, goes by the table's properties. A table is created with those that say so; one that was adopted, or whose
//! columns were marked later, may lack them.

use std::collections::BTreeSet;

use delta_kernel::expressions::ColumnName;
use delta_kernel::table_properties::DataSkippingNumIndexedCols::NumColumns;
use delta_kernel::table_properties::TableProperties;
use deltalake::kernel::StructType;

use super::compatibility::TableFacts;
use super::entry::Definition;

/// Which columns have statistics. It stands above [`COUNT`].
const COLUMNS: &str = "delta.dataSkippingStatsColumns";
/// How many of the first columns have.
const COUNT: &str = "delta.dataSkippingNumIndexedCols";

/// The statement that makes `table` ask for what it would be created with; `None`: it asks for that already, or the job
/// keeps nothing out of the log.
pub(super) fn missing(definition: &Definition, table: &TableFacts) -> Option<String> {
    // Who cannot read them does not open the table.
    let columns: StructType = serde_json::from_str(&definition.schema).ok()?;
    let ours = TableProperties::from(&definition.configuration);
    let theirs = TableProperties::from(&table.configuration);
    let none_at_all = |p: &TableProperties| p.data_skipping_num_indexed_cols == Some(NumColumns(0));
    let allowed = match &ours.data_skipping_stats_columns {
        Some(columns) => names(columns),
        None if none_at_all(&ours) => BTreeSet::new(),
        None => return None,
    };
    let is_kept_out = |name: &&str| columns.contains(*name) && !allowed.contains(*name);
    let lacks = match &theirs.data_skipping_stats_columns {
        // Of other columns than ours nobody here knows.
        Some(columns) => names(columns).iter().any(is_kept_out),
        None => !none_at_all(&theirs),
    };
    let set = |key: &str| {
        let value = definition.configuration.get(key)?;
        Some(format!("ALTER TABLE … SET TBLPROPERTIES ('{key}' = '{value}')"))
    };
    let unset = || {
        let stands_above = ours.data_skipping_stats_columns.is_none()
            && theirs.data_skipping_stats_columns.is_some();
        stands_above.then(|| format!("ALTER TABLE … UNSET TBLPROPERTIES ('{COLUMNS}')"))
    };
    let statements = [set(COLUMNS), set(COUNT), unset()];
    lacks.then(|| statements.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

/// A column inside of another goes with it.
fn names(columns: &[ColumnName]) -> BTreeSet<&str> {
    columns.iter().filter_map(|column| column.path().first().map(String::as_str)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
