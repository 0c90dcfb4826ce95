//! The two ways of asking in the protocol: a text at once, or parse, bind, describe and execute.

use std::fmt::Debug;
use std::sync::Arc;

use arrow_pg::datatypes::df::deserialize_parameters;
use arrow_pg::datatypes::{arrow_schema_to_pg_fields, into_pg_type};
use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::sql::sqlparser::ast::Statement;
use futures::Sink;
use futures::stream;
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{DataRowEncoder, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, Type};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::types::format::FormatOptions;

use super::failure::Told;
use super::held::Weight;
use super::query::Query;
use super::run::{check_format, outcome_of, run};
use super::session::{Session, internal};
use super::statement::{Asked, asked};
use crate::audit::Action;

/// Longer texts are refused before they are parsed.
const LONGEST_TEXT: usize = 1 << 20;

/// Answers the statements of all connections; who asks is in the connection.
#[derive(Debug)]
pub(super) struct Service;

/// A statement that has been parsed. It is parsed and planned anew when it is run, over the tables as they are then:
/// what is made of a short text can be large, and a plan holds on to the versions of its tables.
#[derive(Debug)]
pub(super) struct Prepared {
    text: String,
    asked: Asked,
    /// Of its rows, if it has any.
    schema: Option<SchemaRef>,
    parameters: Vec<Option<DataType>>,
}

impl Weight for Arc<Prepared> {
    fn weight(&self) -> usize {
        let columns = self.schema.as_ref().map_or(0, |schema| schema.fields().size());
        let size = |known: &Option<DataType>| match known {
            Some(data_type) => data_type.size(),
            None => size_of::<Option<DataType>>(),
        };
        self.text.len() + columns + self.parameters.iter().map(size).sum::<usize>()
    }
}

/// The session of a connection that has come in.
fn session_of<C: ClientInfo>(client: &C) -> Result<Arc<Session>, Told> {
    let found = client.session_extensions().get::<Arc<Session>>();
    found.map(|session| session.as_ref().clone()).ok_or_else(internal)
}

/// Writes down what never came to be run.
async fn note(session: &Arc<Session>, text: &str, told: Told) -> Told {
    let mut event = session.event(Action::Query, outcome_of(&told));
    event.subject = session.engine.parts.audit.digest(text);
    told.code.clone_into(&mut event.reason);
    session.engine.tell(event).await.err().unwrap_or(told)
}

/// Before anything: the text is of a bearable length, the user still exists, the audit log can be written.
async fn admit(session: &Arc<Session>, text: &str) -> Result<Vec<Statement>, Told> {
    if text.len() > LONGEST_TEXT {
        return Err(Told::new("54000", "the statement is longer than 1 MiB"));
    }
    session.still()?;
    session.engine.can_tell().await?;
    session.engine.parse(text)
}

/// What needs no table; `None`: rows are asked for.
fn simple<S: PortalStore>(
    session: &Session,
    store: &S,
    asked: &Asked,
    format: &Format,
) -> Result<Option<Response>, Told> {
    Ok(Some(match asked {
        Asked::Rows => return Ok(None),
        Asked::Show(name) => Response::Query(shown(name, &session.show(name)?, format)?),
        Asked::Set(name, value) => {
            session.set(name, value)?;
            Response::Execution(Tag::new("SET"))
        }
        Asked::Reset => {
            session.reset();
            Response::Execution(Tag::new("RESET"))
        }
        Asked::Discard => {
            session.reset();
            session.held.forget(store, None);
            Response::Execution(Tag::new("DISCARD ALL"))
        }
        Asked::Deallocate(name) => {
            session.held.forget(store, name.as_deref());
            Response::Execution(Tag::new("DEALLOCATE"))
        }
        Asked::Begin => Response::TransactionStart(Tag::new("BEGIN")),
        Asked::End(tag) => {
            store.clear_portals();
            Response::TransactionEnd(Tag::new(tag))
        }
        Asked::Nothing(tag) => Response::Execution(Tag::new(tag)),
        Asked::Change => return Err(Told::read_only()),
        Asked::Unknown => return Err(Told::new("0A000", "this statement is not supported here")),
    }))
}

fn shown(name: &str, value: &str, format: &Format) -> Result<QueryResponse, Told> {
    check_format(format, 1)?;
    let fields = Arc::new(vec![setting_field(name, format)]);
    let mut row = DataRowEncoder::new(Arc::clone(&fields));
    row.encode_field(&value).map_err(|_| internal())?;
    let mut response = QueryResponse::new(fields, stream::iter([Ok(row.take_row())]));
    response.set_command_tag("SHOW");
    Ok(response)
}

fn setting_field(name: &str, format: &Format) -> FieldInfo {
    FieldInfo::new(name.to_owned(), None, None, Type::TEXT, format.format_for(0))
}

#[async_trait]
impl SimpleQueryHandler for Service {
    async fn do_query<C>(&self, client: &mut C, text: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = session_of(client)?;
        let options = FormatOptions::from_client_metadata(client.metadata());
        let statements = match admit(&session, text).await {
            Ok(statements) => statements,
            Err(told) => return Err(note(&session, text, told).await.into()),
        };
        let mut answers = Vec::new();
        for statement in statements {
            let asked = asked(&statement);
            let answer = match simple(&session, client.portal_store(), &asked, &Format::UnifiedText)
            {
                Ok(Some(answer)) => Ok(answer),
                Err(told) => Err(note(&session, text, told).await),
                Ok(None) => match session.plan(statement).await {
                    Err(told) => Err(note(&session, text, told).await),
                    Ok(query) => run(&session, query, text, &Format::UnifiedText, options.clone())
                        .await
                        .map(Response::Query),
                },
            };
            match answer {
                Ok(answer) => answers.push(answer),
                // The statements before it are answered all the same, those behind it are not run.
                Err(told) if answers.is_empty() => return Err(told.into()),
                Err(told) => {
                    answers.push(Response::Error(Box::new(ErrorInfo::from(told))));
                    break;
                }
            }
        }
        Ok(answers)
    }
}

#[async_trait]
impl QueryParser for Service {
    type Statement = Arc<Prepared>;

    async fn parse_sql<C>(
        &self,
        client: &C,
        text: &str,
        _types: &[Option<Type>],
    ) -> PgWireResult<Option<Self::Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let session = session_of(client)?;
        match prepare(&session, text).await {
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

async fn prepare(session: &Arc<Session>, text: &str) -> Result<Option<Prepared>, Told> {
    let mut statements = admit(session, text).await?.into_iter();
    let Some(statement) = statements.next() else { return Ok(None) };
    if statements.next().is_some() {
        return Err(Told::new("42601", "a prepared statement is one statement"));
    }
    let asked = asked(&statement);
    let query = match asked {
        Asked::Rows => Some(session.plan(statement).await?),
        // Said when it is parsed: clients then do not wait for more.
        Asked::Change => return Err(Told::read_only()),
        _ => None,
    };
    let parameters = query.as_ref().map(Query::parameters).transpose()?.unwrap_or_default();
    let schema = query.as_ref().map(Query::schema);
    Ok(Some(Prepared { text: text.to_owned(), asked, schema, parameters }))
}

#[async_trait]
impl ExtendedQueryHandler for Service {
    type Statement = Arc<Prepared>;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(Self)
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Self::Statement>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = session_of(client)?;
        let prepared = &portal.statement.statement;
        let text = &prepared.text;
        let format = &portal.result_column_format;
        match simple(&session, client.portal_store(), &prepared.asked, format) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(told) => return Err(note(&session, text, told).await.into()),
        }
        let bound = async {
            session.still()?;
            let types: Vec<Option<&DataType>> =
                prepared.parameters.iter().map(Option::as_ref).collect();
            // The library quotes what it cannot read.
            let values = deserialize_parameters(portal, &types).map_err(|_| {
                Told::new("22P02", "a parameter does not have the form of its type")
            })?;
            let statement = session.engine.parse(text)?.into_iter().next().ok_or_else(internal)?;
            session.plan(statement).await?.with(&values)
        };
        let query = match bound.await {
            Ok(query) => query,
            Err(told) => return Err(note(&session, text, told).await.into()),
        };
        let options = FormatOptions::from_client_metadata(client.metadata());
        Ok(Response::Query(run(&session, query, text, format, options).await?))
    }
}
