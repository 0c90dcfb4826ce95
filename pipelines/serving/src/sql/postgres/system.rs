//! `pg_catalog`: the library's, with `pg_type` as clients join it. There its columns that are functions hold names, in
//! `PostgreSQL` they hold numbers of `pg_proc`: Npgsql finds the arrays by `pg_proc.oid = pg_type.typreceive`. And with
//! the settings in `pg_settings` that JDBC asks for: without one it asks for no foreign key, without another it cannot tell how
//! transactions are isolated. What it has no words for is null: who may do
//! what with something, which JDBC and psql ask for, how a table is stored, and arrays about functions, which the library
//! writes in Python's way. And of databases there is the one that is served: the library adds one that nobody can connect to.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, new_null_array,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema};
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::common::{ScalarValue, TableReference};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, col, lit};
use datafusion_pg_catalog::pg_catalog::PgCatalogStaticTables;

const TYPES: &str = "pg_type";
const SETTINGS: &str = "pg_settings";
const DATABASES: &str = "pg_database";
/// Those that it has, and what they are.
const SET: [(&str, &str); 3] = [
    ("default_transaction_isolation", "read committed"),
    ("max_index_keys", "32"),
    ("standard_conforming_strings", "on"),
];
const FUNCTIONS: [&str; 4] = ["typinput", "typoutput", "typreceive", "typsend"];
/// Columns that are null, whether the library's tables have them or not. They are arrays of texts.
const NULLS: [(&str, &[&str]); 9] = [
    ("pg_attribute", &["attacl", "attoptions"]),
    ("pg_class", &["relacl", "reloptions"]),
    ("pg_db_role_setting", &["setconfig"]),
    ("pg_default_acl", &["defaclacl"]),
    ("pg_namespace", &["nspacl"]),
    ("pg_proc", &["proacl", "proallargtypes", "proargmodes", "proargnames"]),
    ("pg_tablespace", &["spcacl", "spcoptions"]),
    ("pg_language", &["lanacl"]),
    (TYPES, &["typacl"]),
];

/// One role's.
pub(super) struct System {
    library: Arc<dyn SchemaProvider>,
    types: Arc<dyn TableProvider>,
    database: String,
}

impl System {
    pub(super) fn new(
        library: Arc<dyn SchemaProvider>,
        types: Arc<dyn TableProvider>,
        database: &str,
    ) -> Self {
        Self { library, types, database: database.to_owned() }
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System").finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for System {
    fn table_names(&self) -> Vec<String> {
        self.library.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let table = match name {
            TYPES => Some(Arc::clone(&self.types)),
            _ => self.library.table(name).await?,
        };
        let Some(table) = table else { return Ok(None) };
        if name == SETTINGS {
            return settings(&table).map(Some);
        }
        if name == DATABASES {
            return only(table, &self.database).map(Some);
        }
        match NULLS.iter().find(|(of, _)| *of == name) {
            Some((_, columns)) => with_nulls(name, table, columns).map(Some),
            None => Ok(Some(table)),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.library.table_exist(name)
    }
}

/// `pg_settings` with what clients look up there.
fn settings(table: &Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
    let schema = table.schema();
    let column = |field: &Arc<Field>| -> ArrayRef {
        match field.name().as_str() {
            "name" => Arc::new(StringArray::from(SET.map(|(name, _)| name).to_vec())),
            "setting" => Arc::new(StringArray::from(SET.map(|(_, value)| value).to_vec())),
            _ => new_null_array(field.data_type(), SET.len()),
        }
    };
    let arrays = schema.fields().iter().map(column).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

/// `pg_database` with this one.
fn only(table: Arc<dyn TableProvider>, database: &str) -> Result<Arc<dyn TableProvider>> {
    let plan = scan(DATABASES, table)?.filter(col("datname").eq(lit(database)))?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// A table of which these columns are null.
fn with_nulls(
    name: &str,
    table: Arc<dyn TableProvider>,
    columns: &[&str],
) -> Result<Arc<dyn TableProvider>> {
    let scan = scan(name, table)?;
    let others = scan.schema().columns().into_iter();
    let others = others.filter(|column| !columns.contains(&column.name.as_str()));
    let others: Vec<Expr> = others.map(Expr::Column).collect();
    let null = lit(ScalarValue::new_null_list(DataType::Utf8, true, 1));
    let nulls = columns.iter().map(|column| null.clone().alias(*column));
    let plan = scan.project(others.into_iter().chain(nulls))?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

fn scan(name: &str, table: Arc<dyn TableProvider>) -> Result<LogicalPlanBuilder> {
    let name = TableReference::partial("pg_catalog", name);
    LogicalPlanBuilder::scan(name, provider_as_source(table), None)
}

/// `pg_type` with numbers of functions.
pub(super) fn types(tables: &PgCatalogStaticTables) -> Result<Arc<dyn TableProvider>> {
    let mut numbers: HashMap<String, i32> = HashMap::new();
    for batch in tables.pg_proc.data() {
        let names = text(batch, "proname")?;
        let oids = column(batch, "oid")?;
        let oids = oids.as_primitive_opt::<Int32Type>().ok_or_else(|| other("oid"))?;
        for (name, oid) in names.into_iter().zip(oids) {
            if let (Some(name), Some(oid)) = (name, oid) {
                numbers.entry(name).or_insert(oid);
            }
        }
    }
    let mut batches = Vec::new();
    let mut schema = tables.pg_type.schema();
    for batch in tables.pg_type.data() {
        let (mut fields, mut arrays): (Vec<Field>, Vec<ArrayRef>) = Default::default();
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            if FUNCTIONS.contains(&field.name().as_str()) {
                let names = text(batch, field.name())?.into_iter();
                // A dash is none, which is number zero.
                let oids = names.map(|name| Some(numbers.get(&name?).copied().unwrap_or(0)));
                fields.push(Field::new(field.name(), DataType::Int32, true));
                arrays.push(Arc::new(oids.collect::<Int32Array>()));
            } else {
                fields.push(field.as_ref().clone());
                arrays.push(Arc::clone(array));
            }
        }
        schema = Arc::new(Schema::new(fields));
        batches.push(RecordBatch::try_new(Arc::clone(&schema), arrays)?);
    }
    Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| other(name))
}

fn text(batch: &RecordBatch, name: &str) -> Result<Vec<Option<String>>> {
    let array = column(batch, name)?;
    let array = array.as_string_opt::<i32>().ok_or_else(|| other(name))?;
    Ok((0..array.len())
        .map(|row| array.is_valid(row).then(|| array.value(row).to_owned()))
        .collect())
}

fn other(name: &str) -> DataFusionError {
    DataFusionError::Internal(format!("column {name} of pg_catalog is not what it was"))
}
