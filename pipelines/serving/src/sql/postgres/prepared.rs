//! Statements and portals as a connection keeps them, and what is said of them before they are run.

use std::sync::Arc;

use arrow_pg::datatypes::{arrow_schema_to_pg_fields, into_pg_type};
use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use pgwire::api::portal::Format;
use pgwire::api::results::FieldInfo;
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::{MemPortalStore, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, Type};
use pgwire::error::PgWireResult;

use super::answer::{admit, note, session_of, setting_field};
use super::cursors::Cursor;
use super::declared::declare;
use super::failure::Told;
use super::held::Kept;
use super::run::check_format;
use super::service::Service;
use super::session::{Session, internal};
use super::statement::{Asked, asked, query_of};

/// Where one connection's statements and portals are.
pub(super) type Store = MemPortalStore<Arc<Prepared>>;

/// That of a connection.
pub(super) fn store_of<C>(client: &C) -> Result<&Store, Told>
where
    C: ClientPortalStore,
    C::PortalStore: PortalStore,
{
    client.portal_store().as_any().downcast_ref().ok_or_else(internal)
}

/// A statement that has been parsed. It is parsed and planned anew when it is run, over the tables as they are then:
/// what is made of a short text can be large, and a plan holds on to the versions of its tables.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) text: String,
    pub(super) asked: Asked,
    /// Of its rows, if it has any.
    pub(super) schema: Option<SchemaRef>,
    pub(super) parameters: Vec<Option<DataType>>,
    /// About how many bytes the plan of a cursor's query takes.
    pub(super) plan: usize,
    /// What the portal of a cursor reads from: that one is planned once, and its rows are asked for as by `FETCH ALL`.
    pub(super) cursor: Option<Arc<Cursor>>,
}

impl Kept for Arc<Prepared> {
    fn weight(&self) -> usize {
        let columns = self.schema.as_ref().map_or(0, |schema| schema.fields().size());
        let size = |known: &Option<DataType>| match known {
            Some(data_type) => data_type.size(),
            None => size_of::<Option<DataType>>(),
        };
        self.text.len() + columns + self.plan + self.parameters.iter().map(size).sum::<usize>()
    }

    fn outlives(&self, committed: bool) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| cursor.outlives(committed))
    }
}

#[async_trait]
impl QueryParser for Service {
    type Statement = Arc<Prepared>;

    async fn parse_sql<C>(
        &self,
        client: &C,
        text: &str,
        types: &[Option<Type>],
    ) -> PgWireResult<Option<Self::Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let session = session_of(client)?;
        match prepare(&session, text, types).await {
            Ok(prepared) => Ok(prepared.map(Arc::new)),
            Err(told) => Err(note(&session, text, told).await.into()),
        }
    }

    fn get_parameter_types(&self, prepared: &Self::Statement) -> PgWireResult<Vec<Type>> {
        let postgres = |data_type: &Option<DataType>| match data_type {
            Some(data_type) => into_pg_type(data_type),
            None => Ok(Type::TEXT),
        };
        prepared.parameters.iter().map(postgres).collect()
    }

    fn get_result_schema(
        &self,
        prepared: &Self::Statement,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        let format = format.unwrap_or(&Format::UnifiedText);
        if let Asked::Show(name) = &prepared.asked {
            check_format(format, 1)?;
            return Ok(vec![setting_field(name, format)]);
        }
        let Some(schema) = &prepared.schema else { return Ok(Vec::new()) };
        check_format(format, schema.fields().len())?;
        arrow_schema_to_pg_fields(schema, format, None)
    }
}

async fn prepare(
    session: &Arc<Session>,
    text: &str,
    types: &[Option<Type>],
) -> Result<Option<Prepared>, Told> {
    let mut statements = admit(session, text).await?.into_iter();
    let Some(statement) = statements.next() else { return Ok(None) };
    if statements.next().is_some() {
        return Err(Told::new("42601", "a prepared statement is one statement"));
    }
    let asked = asked(&statement);
    let (parameters, schema) = match asked {
        Asked::Rows | Asked::Declare(_) => {
            let mut statement = query_of(statement);
            declare(&mut statement, types, &[]);
            session.plan(statement, |query| Ok((query.parameters()?, Some(query.schema())))).await?
        }
        // Said when it is parsed: clients then do not wait for more.
        Asked::Change => return Err(Told::read_only()),
        Asked::Refused(code, why) => return Err(Told::new(code, why)),
        _ => (Vec::new(), None),
    };
    // A declaration has no rows: its cursor has.
    let schema = schema.filter(|_| asked == Asked::Rows);
    Ok(Some(Prepared { text: text.to_owned(), asked, schema, parameters, plan: 0, cursor: None }))
}
