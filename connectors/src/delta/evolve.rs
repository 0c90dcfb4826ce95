//! What becomes of columns that a job writes and its table does not have: refused, or added by an entry of their own.
//!
//! Only columns of the table itself are added, behind its own and nullable, for the rows that are there have none of
//! their values. Everything else of the table's metadata stays to the letter; what a column is, and whether it may be
//! null, is never changed. The entry has no `txn`: it is nobody's epoch, so it stands between two of them, behind the
//! finishing of the newest checkpoint or before there is one (P11). Created on the version that was read or not at all,
//! it takes back no change of others. Whatever becomes of it, the table is read anew and decides again: the columns may
//! be there by our entry, by one of ours that had no answer, or by another process.

use deltalake::kernel::{Metadata, StructField, StructType};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thalweg_core::{Error, Result};

use super::compatibility::{self, TableFacts};
use super::decide::{self, BeforePut};
use super::entry::{self, Definition};
use super::storage::Storage;
use super::table::{Put, Table};
use super::withheld;

/// What a start does about columns that the job writes and the table does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaEvolution {
    /// It is refused, and says which columns a person is to add.
    #[default]
    Refuse,
    /// They are added, nullable, behind the table's own: Delta Lake's `mergeSchema`, for columns of the table itself. A
    /// column of another type, a field inside of a struct, and a table whose columns are mapped to other names are refused
    /// as ever. Columns that others have dropped come back.
    AddColumns,
}

/// The columns to add before the table takes what `definition` says that the job writes; none: it takes that as it is.
pub(super) fn missing(
    name: &str,
    version: u64,
    definition: &Definition,
    table: &TableFacts,
) -> Result<Vec<StructField>> {
    let columns: StructType = serde_json::from_str(&definition.schema).map_err(|_| {
        Error::incompatible(format!("the columns planned for table `{name}` cannot be read"))
    })?;
    let partitions = definition.partition_columns.iter().map(String::as_str).collect();
    let check = |table: &TableFacts| {
        compatibility::check_planned(name, version, &columns, &partitions, table)
    };
    let new = columns.fields().filter(|field| !table.schema.contains(field.name()));
    let new: Vec<StructField> =
        new.map(|field| StructField { nullable: true, ..field.clone() }).collect();
    if new.is_empty() || definition.schema_evolution == SchemaEvolution::Refuse {
        return check(table).map(|()| Vec::new());
    }
    let schema = StructType::try_new(table.schema.fields().chain(&new).cloned()).map_err(|_| {
        Error::incompatible(format!(
            "table `{name}` at version {version} has a column whose name differs from one that this job writes by the \
             case of letters only: rename one of the two"
        ))
    })?;
    check(&TableFacts { schema, ..table.clone() })?;
    let tells = |configuration, field: &StructField| withheld::tells(configuration, field.name());
    let told = |field: &&StructField| {
        !tells(&definition.configuration, field) && tells(&table.configuration, field)
    };
    if let Some(marked) = new.iter().find(told) {
        return Err(Error::incompatible(format!(
            "table `{name}` at version {version} lets others tell values of new columns in its log, and `{}` of this job is \
             marked: set its `{}` to the columns that are not, then run the same command again",
            marked.name(),
            withheld::COLUMNS
        )));
    }
    Ok(new)
}

/// Tries to add columns to a table that has just been read. The caller reads it again.
pub(super) async fn add(storage: &Storage, table: &Table, new: Vec<StructField>) -> Result<()> {
    let (name, v) = (&table.name, table.version + 1);
    if decide::before_put(table.anchored().await?, true) == BeforePut::Reload {
        return Ok(());
    }
    let metadata = widened(table.metadata(), &new).ok_or_else(|| {
        Error::incompatible(format!("the columns of table `{name}` cannot be written down anew"))
    })?;
    let names: Vec<&str> = new.iter().map(|field| field.name().as_str()).collect();
    let names = names.join(", ");
    let bytes = entry::columns(name, metadata, new)?;
    match table.create(storage, v, &bytes).await {
        Put::Failed(error) => return Err(error),
        Put::Created(_) => tracing::info!(table = %name, v, columns = %names, "columns were added"),
        Put::Taken => {}
        Put::Unclear => {
            tracing::warn!(table = %name, v, "whether columns were added is unclear; reading it");
        }
    }
    Ok(())
}

/// The same metadata with more columns at the end. As text, so that nothing of it passes through what we know of it.
fn widened(metadata: &Metadata, new: &[StructField]) -> Option<Metadata> {
    let mut metadata = serde_json::to_value(metadata).ok()?;
    let text = metadata.get_mut("schemaString")?;
    let mut schema: Value = serde_json::from_str(text.as_str()?).ok()?;
    let fields = schema.get_mut("fields")?.as_array_mut()?;
    for field in new {
        fields.push(serde_json::to_value(field).ok()?);
    }
    *text = Value::String(schema.to_string());
    serde_json::from_value(metadata).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use deltalake::kernel::DataType;
    use serde_json::json;
    use thalweg_core::ErrorKind;

    use super::*;
    use crate::delta::withheld::{COLUMNS, COUNT};

    fn column(name: &str, data_type: DataType) -> StructField {
        StructField::nullable(name, data_type)
    }

    /// A table of a number `a` and a text `b`.
    fn facts() -> TableFacts {
        let columns = [column("a", DataType::LONG), column("b", DataType::STRING)];
        TableFacts {
            id: "id".to_owned(),
            schema: StructType::try_new(columns).unwrap(),
            partition_columns: Vec::new(),
            configuration: BTreeMap::new(),
            writer_version: 2,
            writer_features: BTreeSet::new(),
        }
    }

    /// A job that writes those and two more.
    fn definition() -> Definition {
        let more = column("more", DataType::LONG);
        let most = StructField::not_null("most", DataType::STRING);
        let columns = facts().schema.fields().cloned().chain([more, most]).collect::<Vec<_>>();
        Definition {
            schema: serde_json::to_string(&StructType::try_new(columns).unwrap()).unwrap(),
            partition_columns: Vec::new(),
            configuration: BTreeMap::new(),
            schema_evolution: SchemaEvolution::AddColumns,
        }
    }

    fn refused(definition: &Definition, table: &TableFacts) -> String {
        let error = missing("t", 7, definition, table).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IncompatibleState, "{error}");
        let told = error.to_string();
        assert!(told.contains("`t` at version 7") && !told.contains('\n'), "{told}");
        told
    }

    #[test]
    fn columns_that_a_table_lacks_are_added_nullable_where_the_job_says_so() {
        let new = missing("t", 7, &definition(), &facts()).unwrap();
        let expected = [column("more", DataType::LONG), column("most", DataType::STRING)];
        assert_eq!(new, expected);
        let mut refuse = definition();
        refuse.schema_evolution = SchemaEvolution::Refuse;
        let told = refused(&refuse, &facts());
        assert!(told.contains("`more` long, `most` string, which"), "{told}");
        // With them there is nothing left to do, whatever was said.
        let schema = facts().schema.fields().cloned().chain(expected).collect::<Vec<_>>();
        let wide = TableFacts { schema: StructType::try_new(schema).unwrap(), ..facts() };
        for definition in [definition(), refuse] {
            assert!(missing("t", 7, &definition, &wide).unwrap().is_empty());
        }
    }

    #[test]
    fn what_does_not_fit_a_table_otherwise_is_refused_before_a_column_is_added() {
        let set = |key: &str, value: &str| {
            let mut table = facts();
            table.configuration.insert(key.to_owned(), value.to_owned());
            table
        };
        let with = |columns: Vec<StructField>| {
            let schema = StructType::try_new(columns).unwrap();
            TableFacts { schema, ..facts() }
        };
        let mapped = set("delta.columnMapping.mode", "name");
        assert!(refused(&definition(), &mapped).contains("mapped to other names"));
        let constrained = set("delta.constraints.positive", "a > 0");
        assert!(refused(&definition(), &constrained).contains("constraint"));
        let mut unknown = facts();
        unknown.writer_features.insert("typeWidening".to_owned());
        assert!(refused(&definition(), &unknown).contains("typeWidening"));
        let retyped = with(vec![column("a", DataType::INTEGER), column("b", DataType::STRING)]);
        assert!(refused(&definition(), &retyped).contains("`a` has another type"));
        let also = with(vec![
            column("a", DataType::LONG),
            column("b", DataType::STRING),
            column("more", DataType::DATE),
        ]);
        assert!(refused(&definition(), &also).contains("`more` has another type"));
        let cased = with(vec![
            column("a", DataType::LONG),
            column("b", DataType::STRING),
            column("MORE", DataType::LONG),
        ]);
        assert!(refused(&definition(), &cased).contains("case of letters"));
        let mut partitioned = definition();
        partitioned.partition_columns = vec!["more".to_owned()];
        assert!(refused(&partitioned, &facts()).contains("partitioned by other columns"));
    }

    #[test]
    fn a_marked_column_enters_no_table_whose_log_would_tell_its_values() {
        let marked = |key: &str, value: &str| {
            let mut definition = definition();
            definition.configuration.insert(key.to_owned(), value.to_owned());
            definition
        };
        let guarded = |key: &str, value: &str| {
            let mut table = facts();
            table.configuration.insert(key.to_owned(), value.to_owned());
            table
        };
        for marked in [marked(COLUMNS, "`a`,more"), marked(COUNT, "0")] {
            for open in [facts(), guarded(COUNT, "32"), guarded(COLUMNS, "`a`,most")] {
                assert!(refused(&marked, &open).contains(COLUMNS));
            }
            for guarded in [guarded(COLUMNS, "`a`,`b`"), guarded(COUNT, "0")] {
                assert_eq!(missing("t", 7, &marked, &guarded).unwrap().len(), 2);
            }
        }
        // New columns that are not marked are no secret, whatever the table lets others tell of the ones that it has.
        for unmarked in [definition(), marked(COLUMNS, "more,most")] {
            assert_eq!(missing("t", 7, &unmarked, &guarded(COUNT, "32")).unwrap().len(), 2);
        }
    }

    #[test]
    fn metadata_keeps_what_it_has_to_the_letter() {
        let schema = json!({ "type": "struct", "fields": [
            { "name": "a", "type": "long", "nullable": false, "metadata": { "comment": "ours" } },
            { "name": "x", "type": "decimal(5,2)", "nullable": true, "metadata": { "any": [1] } },
        ]});
        let mut before = json!({
            "id": "id",
            "name": "a name",
            "description": "a table",
            "format": { "provider": "parquet", "options": {} },
            "schemaString": schema.to_string(),
            "partitionColumns": ["x"],
            "createdTime": 4711,
            "configuration": { "note": "theirs" },
        });
        let metadata: Metadata = serde_json::from_value(before.clone()).unwrap();
        let wide = widened(&metadata, &[column("more", DataType::LONG)]).unwrap();
        let mut after = serde_json::to_value(wide).unwrap();
        let text = after.get_mut("schemaString").unwrap().take();
        let mut wide: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        let more = wide.get_mut("fields").unwrap().as_array_mut().unwrap().pop().unwrap();
        let expected = json!({ "name": "more", "type": "long", "nullable": true, "metadata": {} });
        assert_eq!((more, wide), (expected, schema));
        before.get_mut("schemaString").unwrap().take();
        assert_eq!(after, before);
    }
}
