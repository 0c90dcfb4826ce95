//! Planning and running queries: on threads of their own, within bounds of time, rows and memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    SchemaProvider,
};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::Dialect;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::{SQLOptions, SessionState};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{ColumnarValue, LogicalPlan, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as Planned;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::has_privilege_udf::create_has_privilege_udf;
use datafusion_pg_catalog::pg_catalog::{PgCatalogSchemaProvider, PgCatalogStaticTables};
use datafusion_pg_catalog::setup_pg_catalog;
use thalweg_core::time::Clock;
use thalweg_core::{Error, Result};
use tokio::runtime::Handle;

use super::SCHEMA;
use super::dialect::{self, Library, UTC, rewritten, templated};
use super::failure::Told;
use super::functions::functions;
use super::growth::counted;
use super::information::Information;
use super::query::Query;
use super::roles::RoleInfo;
use super::session::Session;
use super::settings::Settings;
use super::system::{self, System};
use super::tables::RoleTables;
use super::tokens::{fetch, time_travel, tokens};
use super::weight::bearable;
use crate::access::{Directory, Policy, Role, Roles};
use crate::audit::{AuditLog, Event};
use crate::catalog::Catalog;
use crate::sql::Limits;

/// What is served to whom.
pub(super) struct Parts {
    pub(super) catalog: Arc<Catalog>,
    pub(super) roles: Arc<Roles>,
    pub(super) directory: Arc<Directory>,
    pub(super) audit: Arc<AuditLog>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What all sessions share.
pub(super) struct Engine {
    pub(super) parts: Parts,
    pub(super) database: Arc<str>,
    pub(super) limits: Limits,
    /// Where queries run: never on the thread that serves connections.
    pub(super) queries: Handle,
    parser: Library,
    base: SessionState,
    /// `pg_catalog` per role: object ids stay the same from one statement to the next.
    system: BTreeMap<Role, Arc<dyn SchemaProvider>>,
}

impl Engine {
    pub(super) fn new(
        parts: Parts,
        database: &str,
        limits: Limits,
        queries: Handle,
    ) -> Result<Self> {
        let broken = |_| Error::internal("the SQL engine cannot be set up");
        // What does not fit in memory fails: spilled rows would lie on a disk in the clear.
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(limits.memory)))
            .with_disk_manager_builder(
                DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
            )
            .build_arc()
            .map_err(broken)?;
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(database, SCHEMA)
            // Ours instead.
            .with_information_schema(false)
            .with_target_partitions(limits.threads);
        config.options_mut().sql_parser.dialect = Dialect::PostgreSQL;
        // Of `timestamptz`, as the setting of connections says.
        config.options_mut().execution.time_zone = Some(UTC.to_owned());
        let mut context = SessionContext::new_with_config_rt(config, environment);
        setup_pg_catalog(&context, database, EmptyContextProvider).map_err(|e| broken(*e))?;
        context.register_udf(text_function("version", &[], Some(VERSION)));
        context.register_udf(text_function("pg_get_function_result", &[DataType::Int64], None));
        context.register_udf(create_has_privilege_udf("has_function_privilege"));
        dialect::register(&mut context).map_err(broken)?;
        let statics = Arc::new(PgCatalogStaticTables::try_new().map_err(broken)?);
        let types = system::types(&statics).map_err(broken)?;
        let mut system: BTreeMap<Role, Arc<dyn SchemaProvider>> = BTreeMap::new();
        for role in parts.roles.names() {
            let policy = parts.roles.policy(role.as_str()).cloned().unwrap_or_default();
            let info = RoleInfo::new(Arc::clone(&parts.catalog), Arc::new(policy), database);
            let schema =
                PgCatalogSchemaProvider::try_new(info, Arc::clone(&statics), EmptyContextProvider);
            let schema = Arc::new(schema.map_err(broken)?);
            let schema = System::new(schema, Arc::clone(&types), database);
            system.insert(role.clone(), Arc::new(schema));
        }
        Ok(Self {
            base: context.state(),
            parser: Library::new(),
            database: Arc::from(database),
            parts,
            limits,
            queries,
            system,
        })
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.parts.clock.as_ref()
    }

    /// Writes an entry into the audit log. What cannot be written down is not done.
    pub(super) async fn tell(&self, event: Event) -> Result<(), Told> {
        self.audited(move |log| log.append(&event)).await
    }

    /// Whether entries can be written.
    pub(super) async fn can_tell(&self) -> Result<(), Told> {
        self.audited(AuditLog::ready).await
    }

    /// The log syncs: it is used where blocking is allowed.
    async fn audited(
        &self,
        use_log: impl FnOnce(&AuditLog) -> Result<()> + Send + 'static,
    ) -> Result<(), Told> {
        let log = Arc::clone(&self.parts.audit);
        match tokio::task::spawn_blocking(move || use_log(&log)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Told::new("58030", "the audit log cannot be written: nobody is answered")),
        }
    }

    /// The statements in a text.
    pub(super) fn parse(&self, sql: &str) -> Result<Vec<Statement>, Told> {
        let words = tokens(sql)?;
        let text = fetch(&words).unwrap_or_else(|| time_travel(sql, &words));
        let statements = self.parser.parse(&text)?.into_iter().map(|statement| {
            let statement = self.plannable(statement);
            bearable(&statement).map(|()| statement)
        });
        statements.collect()
    }

    /// What `PostgreSQL` answers and `DataFusion` would not plan.
    fn plannable(&self, mut statement: Statement) -> Statement {
        let Statement::Declare { stmts } = &mut statement else { return rewritten(statement) };
        for query in stmts.iter_mut().filter_map(|declare| declare.for_query.as_mut()) {
            // The parser has done this to statements that are queries themselves.
            let inside = self.parser.rewrite(Statement::Query(query.clone()));
            if let Statement::Query(inside) = rewritten(inside) {
                *query = inside;
            }
        }
        statement
    }

    /// What queries of a user begin with who has set these.
    pub(super) fn state_of(&self, user: &str, settings: &Arc<Settings>) -> SessionState {
        let pool = &self.base.runtime_env().memory_pool;
        SessionStateBuilder::new_from_existing(self.base.clone())
            .with_scalar_functions(
                self.base
                    .scalar_functions()
                    .values()
                    .filter(|function| !BOUNDLESS.contains(&function.name()))
                    .cloned()
                    .chain([Arc::new(text_function("session_user", &[], Some(user)))])
                    .chain(functions(settings).map(Arc::new))
                    // The library's have other names as well, which bring the first ones along: the last one counts.
                    .chain(templated(self.base.scalar_functions()))
                    .map(|function| counted(function, pool))
                    .collect(),
            )
            .build()
    }

    /// Plans a query over the newest versions of the tables that the role may see.
    pub(super) async fn plan(
        &self,
        base: SessionState,
        role: &Role,
        policy: &Arc<Policy>,
        statement: Statement,
    ) -> Result<Query, Told> {
        let state = self.state(base, role, policy);
        let planned = state.statement_to_plan(Planned::Statement(Box::new(statement))).await;
        let plan = planned.map_err(|error| Told::planning(&error))?;
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)
            .map_err(|_| Told::read_only())?;
        let mut tables = Vec::new();
        let walked = plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                let name = match scan.table_name.schema() {
                    Some(schema) if schema != SCHEMA => {
                        format!("{schema}.{}", scan.table_name.table())
                    }
                    _ => scan.table_name.table().to_owned(),
                };
                if !tables.contains(&name) {
                    tables.push(name);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        });
        walked.map_err(|error| Told::planning(&error))?;
        Ok(Query::new(plan, state, tables))
    }

    fn state(&self, mut base: SessionState, role: &Role, policy: &Arc<Policy>) -> SessionState {
        let tables = Arc::new(RoleTables::new(Arc::clone(&self.parts.catalog), Arc::clone(policy)));
        let information: Arc<dyn SchemaProvider> =
            Arc::new(Information::new(Arc::clone(&tables), Arc::clone(&self.database)));
        let tables: Arc<dyn SchemaProvider> = tables;
        let database = MemoryCatalogProvider::new();
        let mut schemas = vec![(SCHEMA, tables), ("information_schema", information)];
        if let Some(system) = self.system.get(role) {
            schemas.push(("pg_catalog", Arc::clone(system)));
        }
        for (name, schema) in schemas {
            // A new catalog takes every schema.
            drop(database.register_schema(name, schema));
        }
        let all = MemoryCatalogProviderList::new();
        all.register_catalog(self.database.to_string(), Arc::new(database));
        base.register_catalog_list(Arc::new(all));
        // What `now()` says.
        base.mark_start_execution();
        base
    }

    /// For how long a statement of a session may run.
    pub(super) fn timeout(&self, session: &Session) -> Duration {
        match session.settings.statement_timeout() {
            Some(wanted) => wanted.min(self.limits.statement_timeout),
            None => self.limits.statement_timeout,
        }
    }
}

/// One call of these makes a value of any size, outside of what is counted as memory. As tables
/// `generate_series` and `range` make rows one batch after another, and stay. Those that clients of `PostgreSQL` need are
/// counted instead (`growth.rs`).
const BOUNDLESS: [&str; 9] = [
    "array_repeat",
    "array_replace_all",
    "array_replace_n",
    "array_resize",
    "generate_series",
    "lpad",
    "range",
    "repeat",
    "rpad",
];

/// Clients look for `PostgreSQL` and a number.
const VERSION: &str = concat!("PostgreSQL 16.6 (Thalweg ", env!("CARGO_PKG_VERSION"), ")");

/// A function that says the same thing always, or nothing.
fn text_function(name: &str, arguments: &[DataType], text: Option<&str>) -> ScalarUDF {
    let text = text.map(str::to_owned);
    create_udf(
        name,
        arguments.to_vec(),
        DataType::Utf8,
        Volatility::Stable,
        Arc::new(move |_: &[ColumnarValue]| {
            Ok(ColumnarValue::Scalar(ScalarValue::Utf8(text.clone())))
        }),
    )
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("database", &self.database).finish_non_exhaustive()
    }
}
