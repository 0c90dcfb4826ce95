//! The two ways of asking in the protocol: a text at once, or parse, bind, describe and execute.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{Sink, SinkExt, stream};
use pgwire::api::portal::{Portal, PortalExecutionState};
use pgwire::api::query::{
    ExtendedQueryHandler, SimpleQueryHandler, send_execution_response, send_partial_query_response,
};
use pgwire::api::results::{
    DescribePortalResponse, DescribeStatementResponse, QueryResponse, Response,
};
use pgwire::api::stmt::{QueryParser, StoredStatement};
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::Execute;
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use pgwire::messages::simplequery::Query as Text;

use super::answer::{Asking, admit, session_of};
use super::cursors::described;
use super::declared::declare;
use super::parameters::values;
use super::prepared::{Prepared, store_of};
use super::run::Turn;
use super::session::internal;
use super::statement::{Asked, asked, query_of};

/// Answers the statements of all connections; who asks is in the connection.
#[derive(Debug)]
pub(super) struct Service;

#[async_trait]
impl SimpleQueryHandler for Service {
    /// As the library does it. But it keeps a failed transaction failed until its end.
    async fn on_query<C>(&self, client: &mut C, query: Text) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if client.transaction_status() == TransactionStatus::Error {
            let parsed = session_of(client)?.engine.parse(&query.query);
            let first = parsed.ok().and_then(|statements| statements.first().map(asked));
            if first == Some(Asked::Back) {
                client.set_transaction_status(TransactionStatus::Transaction);
            }
        }
        self._on_query(client, query).await
    }

    async fn do_query<C>(&self, client: &mut C, text: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = session_of(client)?;
        let mut asking = Asking::of(&*client, &session, text, None)?;
        let statements = match admit(&session, text).await {
            Ok(statements) => statements,
            Err(told) => return Err(asking.note(told).await.into()),
        };
        let alone = statements.len() == 1;
        let mut answers = Vec::new();
        for statement in statements {
            let mut asked = asked(&statement);
            // It would go past rows that a FETCH before it has yet to read.
            if !alone && matches!(asked, Asked::Move(..)) {
                asked = Asked::Unknown;
            }
            let answer = match asking.unplanned(&asked).await {
                Ok(Some(answer)) => Ok(answer),
                Err(told) => Err(told),
                Ok(None) => match session.plan(query_of(statement), Ok).await {
                    Err(told) => Err(asking.note(told).await),
                    Ok(query) => asking.planned(&asked, query).await,
                },
            };
            match asked {
                Asked::Begin | Asked::End(_) => {
                    asking.inside = asked == Asked::Begin;
                    asking.failed = false;
                }
                Asked::Back => asking.failed = false,
                _ => {}
            }
            match answer {
                Ok(answer) => {
                    // Who sends a thousand queries in one text has one of them running.
                    if matches!(answer, Response::Query(_)) {
                        asking.turn = Turn::Behind;
                    }
                    answers.push(answer);
                }
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
impl ExtendedQueryHandler for Service {
    type Statement = Arc<Prepared>;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(Self)
    }

    async fn do_describe_statement<C>(
        &self,
        client: &mut C,
        statement: &StoredStatement<Self::Statement>,
    ) -> PgWireResult<DescribeStatementResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &statement.statement;
        let known = self.get_parameter_types(prepared)?;
        let given = &statement.parameter_types;
        // As the client takes it, if it says how.
        let parameter = |at: usize| {
            let given = given.get(at).cloned().flatten();
            given.or_else(|| known.get(at).cloned()).unwrap_or(Type::UNKNOWN)
        };
        let parameters = (0..known.len().max(given.len())).map(parameter).collect();
        let shape = described(store_of(client)?, prepared);
        Ok(DescribeStatementResponse::new(parameters, self.get_result_schema(&shape, None)?))
    }

    async fn do_describe_portal<C>(
        &self,
        client: &mut C,
        portal: &Portal<Self::Statement>,
    ) -> PgWireResult<DescribePortalResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let shape = described(store_of(client)?, &portal.statement.statement);
        let fields = self.get_result_schema(&shape, Some(&portal.result_column_format))?;
        Ok(DescribePortalResponse::new(fields))
    }

    /// As the library does it, but that rows leave as they come: it collects all that are asked for before the first leaves,
    /// which is all by most clients.
    async fn on_execute<C>(&self, client: &mut C, execute: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        let name = execute.name.as_deref().unwrap_or(DEFAULT_NAME);
        // No number, and none that is negative, is all.
        let most = usize::try_from(execute.max_rows).unwrap_or(0);
        match client.portal_store().get_portal(name) {
            None => return Err(PgWireError::PortalNotFound(name.to_owned())),
            Some(Entry::Empty) => {
                let empty = EmptyQueryResponse::new();
                client.feed(PgWireBackendMessage::EmptyQueryResponse(empty)).await?;
            }
            Some(Entry::Value(portal)) => self.execute(client, &portal, most).await?,
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
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
        let asking = Asking::of(&*client, &session, text, Some(&portal.result_column_format))?;
        if let Some(answer) = asking.unplanned(&prepared.asked).await? {
            return Ok(answer);
        }
        let bound = async {
            session.still()?;
            let values = values(portal, &prepared.parameters)?;
            let statement = session.engine.parse(text)?.into_iter().next().ok_or_else(internal)?;
            let mut statement = query_of(statement);
            declare(&mut statement, &portal.statement.parameter_types, &values);
            session.plan(statement, move |query| query.with(values)).await
        };
        match bound.await {
            Ok(query) => Ok(asking.planned(&prepared.asked, query).await?),
            Err(told) => Err(asking.note(told).await.into()),
        }
    }
}

impl Service {
    /// Begins what a portal is for, or goes on with its rows: at most `most` of them, or all that are left when that is 0.
    async fn execute<C>(
        &self,
        client: &mut C,
        portal: &Portal<Arc<Prepared>>,
        most: usize,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let state = portal.state();
        let mut state = state.lock().await;
        if matches!(*state, PortalExecutionState::Initial) {
            let status = client.transaction_status();
            match ExtendedQueryHandler::do_query(self, client, portal, most).await? {
                Response::Query(rows) => *state = PortalExecutionState::Suspended(rows),
                Response::Execution(tag) => {
                    if portal.statement.statement.asked == Asked::Back {
                        client.set_transaction_status(TransactionStatus::Transaction);
                    }
                    return send_execution_response(client, tag).await;
                }
                Response::TransactionStart(tag) => {
                    send_execution_response(client, tag).await?;
                    client.set_transaction_status(status.to_in_transaction_state());
                    return Ok(());
                }
                Response::TransactionEnd(tag) => {
                    send_execution_response(client, tag).await?;
                    client.set_transaction_status(status.to_idle_state());
                    client.portal_store().rm_portal(DEFAULT_NAME);
                    return Ok(());
                }
                // Nothing else is answered.
                _ => return Err(internal().into()),
            }
        }
        // Of a portal that is at its end there are no rows.
        let mut none = QueryResponse::new(Arc::default(), stream::empty());
        let rows =
            if let PortalExecutionState::Suspended(rows) = &mut *state { rows } else { &mut none };
        if !send_partial_query_response(client, rows, most).await? {
            *state = PortalExecutionState::Finished;
        }
        Ok(())
    }
}
