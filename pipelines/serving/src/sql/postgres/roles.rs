//! What `pg_catalog` tells a role about tables.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::SchemaProvider;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;
use datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;

use super::SCHEMA;
use super::tables::RoleTables;
use crate::access::Policy;
use crate::catalog::Catalog;

/// The tables of one role, looked at anew for every question.
#[derive(Clone)]
pub(super) struct RoleInfo {
    catalog: Arc<Catalog>,
    policy: Arc<Policy>,
    database: Arc<str>,
}

impl RoleInfo {
    pub(super) fn new(catalog: Arc<Catalog>, policy: Arc<Policy>, database: &str) -> Self {
        Self { catalog, policy, database: Arc::from(database) }
    }

    fn tables(&self) -> RoleTables {
        RoleTables::new(Arc::clone(&self.catalog), Arc::clone(&self.policy))
    }
}

impl fmt::Debug for RoleInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleInfo").field("database", &self.database).finish_non_exhaustive()
    }
}

type Found<T> = Result<Option<T>, DataFusionError>;

#[async_trait]
impl CatalogInfo for RoleInfo {
    async fn catalog_names(&self) -> Result<Vec<String>, DataFusionError> {
        Ok(vec![self.database.to_string()])
    }

    async fn schema_names(&self, _catalog: &str) -> Found<Vec<String>> {
        Ok(Some([SCHEMA, "information_schema", "pg_catalog"].map(str::to_owned).to_vec()))
    }

    async fn table_names(&self, _catalog: &str, schema: &str) -> Found<Vec<String>> {
        if schema != SCHEMA {
            return Ok(Some(Vec::new()));
        }
        let tables = self.tables();
        let mut names = Vec::new();
        for name in tables.allowed() {
            if tables.table(&name).await?.is_some() {
                names.push(name);
            }
        }
        Ok(Some(names))
    }

    async fn table_schema(&self, _catalog: &str, schema: &str, table: &str) -> Found<SchemaRef> {
        if schema != SCHEMA {
            return Ok(None);
        }
        Ok(self.tables().table(table).await?.map(|table| table.schema()))
    }

    async fn table_type(&self, _catalog: &str, schema: &str, _table: &str) -> Found<TableType> {
        Ok((schema == SCHEMA).then_some(TableType::Base))
    }
}
