//! `information_schema`: `DataFusion`'s own names Arrow's types and lacks the tables about constraints, which Power BI
//! asks for. There are no constraints, so those are empty.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::error::Result;

use super::SCHEMA;
use super::tables::RoleTables;

const TABLES: [&str; 8] = [
    "character_sets",
    "columns",
    "key_column_usage",
    "referential_constraints",
    "schemata",
    "table_constraints",
    "tables",
    "views",
];

/// It is made anew for each statement, from the tables as they are.
#[derive(Debug)]
pub(super) struct Information {
    tables: Arc<RoleTables>,
    database: Arc<str>,
}

impl Information {
    pub(super) fn new(tables: Arc<RoleTables>, database: Arc<str>) -> Self {
        Self { tables, database }
    }

    async fn tables(&self) -> Result<Vec<(String, Arc<dyn TableProvider>)>> {
        let mut found = Vec::new();
        for name in self.tables.allowed() {
            if let Some(table) = self.tables.table(&name).await? {
                found.push((name, table));
            }
        }
        Ok(found)
    }

    async fn rows(&self, name: &str) -> Result<Option<Rows>> {
        let database = self.database.as_ref();
        Ok(Some(match name {
            "tables" => {
                let mut rows =
                    Rows::new(&["table_catalog", "table_schema", "table_name", "table_type"]);
                for (name, _) in self.tables().await? {
                    rows.add(&[database, SCHEMA, &name, "BASE TABLE"]);
                }
                rows
            }
            "columns" => self.columns().await?,
            "schemata" => {
                let mut rows = Rows::new(&["catalog_name", "schema_name", "schema_owner"]);
                for schema in [SCHEMA, "information_schema", "pg_catalog"] {
                    rows.add(&[database, schema, "server"]);
                }
                rows
            }
            "character_sets" => {
                let mut rows = Rows::new(&[
                    "character_set_catalog",
                    "character_set_schema",
                    "character_set_name",
                    "character_repertoire",
                    "form_of_use",
                    "default_collate_catalog",
                    "default_collate_schema",
                    "default_collate_name",
                ]);
                rows.add(&["", "", "UTF8", "UCS", "UTF8", database, "pg_catalog", "c"]);
                rows
            }
            "views" => {
                Rows::new(&["table_catalog", "table_schema", "table_name", "view_definition"])
            }
            "table_constraints" => Rows::new(&[
                "constraint_catalog",
                "constraint_schema",
                "constraint_name",
                "table_catalog",
                "table_schema",
                "table_name",
                "constraint_type",
                "is_deferrable",
                "initially_deferred",
            ]),
            "key_column_usage" => Rows::new(&[
                "constraint_catalog",
                "constraint_schema",
                "constraint_name",
                "table_catalog",
                "table_schema",
                "table_name",
                "column_name",
                "ordinal_position",
                "position_in_unique_constraint",
            ]),
            "referential_constraints" => Rows::new(&[
                "constraint_catalog",
                "constraint_schema",
                "constraint_name",
                "unique_constraint_catalog",
                "unique_constraint_schema",
                "unique_constraint_name",
                "match_option",
                "update_rule",
                "delete_rule",
            ]),
            _ => return Ok(None),
        }))
    }

    async fn columns(&self) -> Result<Rows> {
        let database = self.database.as_ref();
        let mut rows = Rows::new(&[
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "ordinal_position",
            "column_default",
            "is_nullable",
            "data_type",
            "character_maximum_length",
            "numeric_precision",
            "numeric_scale",
            "datetime_precision",
            "udt_catalog",
            "udt_schema",
            "udt_name",
            "is_self_referencing",
            "is_identity",
            "identity_generation",
            "identity_start",
            "identity_increment",
            "identity_maximum",
            "identity_minimum",
            "identity_cycle",
            "is_generated",
            "generation_expression",
            "is_updatable",
        ]);
        for (name, table) in self.tables().await? {
            for (at, field) in table.schema().fields().iter().enumerate() {
                let (data_type, udt) = postgres_type(field.data_type());
                let (precision, scale) = match field.data_type() {
                    DataType::Decimal128(precision, scale) => {
                        (precision.to_string(), scale.to_string())
                    }
                    DataType::Int64 => ("64".to_owned(), "0".to_owned()),
                    DataType::Int32 => ("32".to_owned(), "0".to_owned()),
                    DataType::Float64 => ("53".to_owned(), String::new()),
                    _ => Default::default(),
                };
                let time =
                    matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _));
                rows.add(&[
                    database,
                    SCHEMA,
                    &name,
                    field.name(),
                    &(at + 1).to_string(),
                    "",
                    if field.is_nullable() { "YES" } else { "NO" },
                    data_type,
                    "",
                    &precision,
                    &scale,
                    if time { "6" } else { "" },
                    database,
                    "pg_catalog",
                    udt,
                    "NO",
                    "NO",
                    "",
                    "",
                    "",
                    "",
                    "",
                    "NO",
                    "NEVER",
                    "",
                    "NO",
                ]);
            }
        }
        Ok(rows)
    }
}

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        TABLES.map(str::to_owned).to_vec()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let rows = self.rows(name).await?;
        rows.map(Rows::into_table).transpose()
    }

    fn table_exist(&self, name: &str) -> bool {
        TABLES.contains(&name)
    }
}

/// Rows of texts; what is empty is null, and what counts is a number.
struct Rows {
    names: Vec<&'static str>,
    columns: Vec<Vec<Option<String>>>,
}

impl Rows {
    fn new(names: &[&'static str]) -> Self {
        Self { names: names.to_vec(), columns: vec![Vec::new(); names.len()] }
    }

    fn add(&mut self, row: &[&str]) {
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.push((!value.is_empty()).then(|| (*value).to_owned()));
        }
    }

    fn into_table(self) -> Result<Arc<dyn TableProvider>> {
        let is_number = |name: &str| {
            name.contains("position")
                || name.contains("precision")
                || name.contains("scale")
                || name.contains("maximum_length")
        };
        let mut fields = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for (name, values) in self.names.into_iter().zip(self.columns) {
            if is_number(name) {
                fields.push(Field::new(name, DataType::Int32, true));
                let numbers = values.iter().map(|value| value.as_ref()?.parse::<i32>().ok());
                arrays.push(Arc::new(numbers.collect::<Int32Array>()));
            } else {
                fields.push(Field::new(name, DataType::Utf8, true));
                arrays.push(Arc::new(StringArray::from(values)));
            }
        }
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
    }
}

/// Its names in the standard and in `pg_type`.
fn postgres_type(data_type: &DataType) -> (&'static str, &'static str) {
    match data_type {
        DataType::Boolean => ("boolean", "bool"),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => ("smallint", "int2"),
        DataType::Int32 | DataType::UInt16 => ("integer", "int4"),
        DataType::Int64 | DataType::UInt32 => ("bigint", "int8"),
        DataType::Float32 => ("real", "float4"),
        DataType::Float64 => ("double precision", "float8"),
        DataType::UInt64 | DataType::Decimal128(..) => ("numeric", "numeric"),
        DataType::Timestamp(_, Some(_)) => ("timestamp with time zone", "timestamptz"),
        DataType::Timestamp(_, None) => ("timestamp without time zone", "timestamp"),
        DataType::Date32 | DataType::Date64 => ("date", "date"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ("bytea", "bytea"),
        DataType::List(_) | DataType::LargeList(_) => ("ARRAY", "_text"),
        _ => ("text", "text"),
    }
}
