//! The tables of one statement, as one role sees them.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use tokio::sync::Mutex;

use super::failure::Told;
use super::limited::Limited;
use super::tokens::AT_VERSION;
use crate::access::{Columns, Policy};
use crate::catalog::Catalog;

/// Older versions in one statement: each is a log that is read.
const MOST_VERSIONS: usize = 8;

/// Schema `public` for one statement: a table is looked at once, so that it has one version however often it is named.
#[derive(Debug)]
pub(super) struct RoleTables {
    catalog: Arc<Catalog>,
    policy: Arc<Policy>,
    opened: Mutex<HashMap<String, Option<Arc<dyn TableProvider>>>>,
}

impl RoleTables {
    pub(super) fn new(catalog: Arc<Catalog>, policy: Arc<Policy>) -> Self {
        Self { catalog, policy, opened: Mutex::default() }
    }

    /// The tables that the role may see, whether they exist or not.
    pub(super) fn allowed(&self) -> Vec<String> {
        self.policy.tables().map(|(name, _)| name.to_owned()).collect()
    }

    async fn open(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let (table, version) = match name.split_once(AT_VERSION) {
            // One way of writing a number: the name is in the audit log.
            Some((table, text)) => match text.parse::<u64>() {
                Ok(version) if version.to_string() == text => (table, Some(version)),
                _ => return Ok(None),
            },
            None => (name, None),
        };
        let Some(columns) = self.policy.columns(table) else { return Ok(None) };
        let opened = self
            .catalog
            .open(table, version)
            .await
            .map_err(|error| DataFusionError::External(Box::new(Told::from(error))))?;
        opened.map(|rows| Seen::of(rows, columns)).transpose()
    }
}

#[async_trait]
impl SchemaProvider for RoleTables {
    fn table_names(&self) -> Vec<String> {
        let allowed = |name: &&str| self.policy.columns(name).is_some();
        self.catalog.present().filter(allowed).map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let mut opened = self.opened.lock().await;
        if let Some(table) = opened.get(name) {
            return Ok(table.clone());
        }
        let versions = opened.keys().filter(|name| name.contains(AT_VERSION)).count();
        if name.contains(AT_VERSION) && versions >= MOST_VERSIONS {
            let told = Told::new("54000", "a statement reads at most 8 older versions of tables");
            return Err(DataFusionError::External(Box::new(told)));
        }
        let table = self.open(name).await?;
        opened.insert(name.to_owned(), table.clone());
        Ok(table)
    }

    fn table_exist(&self, name: &str) -> bool {
        let table = name.split_once(AT_VERSION).map_or(name, |(table, _)| table);
        self.policy.columns(table).is_some()
    }
}

/// A table without the columns that the role may not see: they are in no schema, so no query can name them.
#[derive(Debug)]
struct Seen {
    rows: Arc<dyn TableProvider>,
    schema: SchemaRef,
    /// For each column that is seen, where it is in the table.
    at: Vec<usize>,
}

impl Seen {
    fn of(rows: Arc<dyn TableProvider>, columns: &Columns) -> Result<Arc<dyn TableProvider>> {
        let whole = rows.schema();
        let at: Vec<usize> = whole
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| columns.allow(field.name()))
            .map(|(at, _)| at)
            .collect();
        let schema = Arc::new(whole.project(&at)?);
        Ok(Arc::new(Self { rows, schema, at }))
    }
}

#[async_trait]
impl TableProvider for Seen {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.rows.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let at: Vec<usize> = match projection {
            Some(wanted) => {
                wanted.iter().filter_map(|index| self.at.get(*index).copied()).collect()
            }
            None => self.at.clone(),
        };
        self.rows.scan(session, Some(&at), filters, limit).await.map(Limited::above)
    }
}
