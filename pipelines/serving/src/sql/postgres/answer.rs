//! What is answered to one statement, in either way of asking.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Statement;
use futures::stream;
use pgwire::api::portal::Format;
use pgwire::api::results::{DataRowEncoder, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, Type};
use pgwire::messages::response::TransactionStatus;
use pgwire::types::format::FormatOptions;

use super::cursors::{close, declare, fetch, may_declare, pass};
use super::failure::Told;
use super::prepared::{Store, store_of};
use super::query::Query;
use super::run::{Turn, check_format, outcome_of, run};
use super::session::{Session, internal};
use super::statement::Asked;
use crate::audit::Action;

/// Longer texts are refused before they are parsed.
const LONGEST_TEXT: usize = 1 << 20;

/// The session of a connection that has come in.
pub(super) fn session_of<C: ClientInfo>(client: &C) -> Result<Arc<Session>, Told> {
    let found = client.session_extensions().get::<Arc<Session>>();
    found.map(|session| session.as_ref().clone()).ok_or_else(internal)
}

/// Writes down what never came to be run.
pub(super) async fn note(session: &Arc<Session>, text: &str, told: Told) -> Told {
    note_of(session, session.engine.parts.audit.digest(text), told).await
}

/// As [`note`], of a text with the digest `subject`.
pub(super) async fn note_of(session: &Arc<Session>, subject: String, told: Told) -> Told {
    let mut event = session.event(Action::Query, outcome_of(&told));
    event.subject = subject;
    told.code.clone_into(&mut event.reason);
    session.engine.tell(event).await.err().unwrap_or(told)
}

/// Before anything: the text is of a bearable length, the user still exists, the audit log can be written.
pub(super) async fn admit(session: &Arc<Session>, text: &str) -> Result<Vec<Statement>, Told> {
    if text.len() > LONGEST_TEXT {
        return Err(Told::new("54000", "the statement is longer than 1 MiB"));
    }
    session.still()?;
    session.engine.can_tell().await?;
    session.engine.parse(text)
}

/// Who asks, and what is known besides the statement.
pub(super) struct Asking<'a> {
    pub(super) session: &'a Arc<Session>,
    pub(super) store: &'a Store,
    pub(super) text: &'a str,
    /// How values are sent; `None`: as texts, or as a cursor was declared.
    pub(super) format: Option<&'a Format>,
    pub(super) options: FormatOptions,
    /// Whether a transaction has begun.
    pub(super) inside: bool,
    /// Whether something in it has failed.
    pub(super) failed: bool,
    /// When a query begins.
    pub(super) turn: Turn,
}

impl<'a> Asking<'a> {
    /// The client asks with `text`.
    pub(super) fn of<C>(
        client: &'a C,
        session: &'a Arc<Session>,
        text: &'a str,
        format: Option<&'a Format>,
    ) -> Result<Self, Told>
    where
        C: ClientInfo + ClientPortalStore,
        C::PortalStore: PortalStore,
    {
        Ok(Self {
            session,
            store: store_of(client)?,
            text,
            format,
            options: FormatOptions::from_client_metadata(client.metadata()),
            inside: client.transaction_status() != TransactionStatus::Idle,
            failed: client.transaction_status() == TransactionStatus::Error,
            turn: Turn::Now,
        })
    }

    /// What needs no plan; `None`: rows are asked for, or a cursor for them. What fails is written down.
    pub(super) async fn unplanned(&self, asked: &Asked) -> Result<Option<Response>, Told> {
        if let Asked::Move(name, most) = asked {
            return pass(self.session, self.store, name, *most, self.text).await.map(Some);
        }
        match self.simple(asked) {
            Ok(answer) => Ok(answer),
            Err(told) => Err(self.note(told).await),
        }
    }

    /// What needs neither a plan nor time.
    fn simple(&self, asked: &Asked) -> Result<Option<Response>, Told> {
        let Self { session, store, .. } = *self;
        Ok(Some(match asked {
            // Both have been seen to, or are seen to by others.
            Asked::Rows | Asked::Move(..) => return Ok(None),
            Asked::Declare(declared) => {
                may_declare(store, declared, self.inside)?;
                return Ok(None);
            }
            Asked::Fetch(name, most) => {
                fetch(session, store, name, *most, self.format, self.options.clone())?
            }
            Asked::Close(name) => close(store, name.as_deref())?,
            Asked::Show(name) => {
                Response::Query(shown(name, &session.settings.show(name)?, self.written())?)
            }
            Asked::Set(name, value) | Asked::SetLocal(name, value) => {
                session.settings.set(name, value, matches!(asked, Asked::SetLocal(..)))?;
                Response::Execution(Tag::new("SET"))
            }
            Asked::Reset => {
                session.settings.reset();
                Response::Execution(Tag::new("RESET"))
            }
            Asked::Discard => {
                session.settings.reset();
                session.held.forget(store, None);
                // Whoever has the connection next is not to meet the cursors of whoever had it before.
                store.clear_portals();
                Response::Execution(Tag::new("DISCARD ALL"))
            }
            Asked::Deallocate(name) => {
                session.held.forget(store, name.as_deref());
                Response::Execution(Tag::new("DEALLOCATE"))
            }
            Asked::Begin => {
                session.settings.begin();
                Response::TransactionStart(Tag::new("BEGIN"))
            }
            // Its portals stay: they only read.
            Asked::Back if self.inside => Response::Execution(Tag::new("ROLLBACK")),
            Asked::Back => {
                return Err(Told::new("25P01", "savepoints are of a transaction: BEGIN first"));
            }
            Asked::End(tag) => {
                // What has failed is not committed, whatever is asked for.
                let tag = if self.failed { "ROLLBACK" } else { *tag };
                session.held.end(store, tag == "COMMIT");
                session.settings.end(tag == "COMMIT");
                Response::TransactionEnd(Tag::new(tag))
            }
            Asked::Nothing(tag) => Response::Execution(Tag::new(tag)),
            Asked::Change => return Err(Told::read_only()),
            Asked::Refused(code, why) => return Err(Told::new(code, *why)),
            Asked::Unknown => {
                return Err(Told::new("0A000", "this statement is not supported here"));
            }
        }))
    }

    /// What asks for rows once it is planned: they come, or a cursor has them.
    pub(super) async fn planned(&self, asked: &Asked, query: Query) -> Result<Response, Told> {
        let Asked::Declare(declared) = asked else {
            let (format, options) = (self.written(), self.options.clone());
            let run = run(self.session, query, self.text, format, options, self.turn);
            return run.await.map(Response::Query);
        };
        match declare(self.session, self.store, declared, self.inside, query, self.text) {
            Ok(answer) => Ok(answer),
            Err(told) => Err(self.note(told).await),
        }
    }

    /// Writes down what never came to be run.
    pub(super) async fn note(&self, told: Told) -> Told {
        note(self.session, self.text, told).await
    }

    fn written(&self) -> &Format {
        self.format.unwrap_or(&Format::UnifiedText)
    }
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

pub(super) fn setting_field(name: &str, format: &Format) -> FieldInfo {
    FieldInfo::new(name.to_owned(), None, None, Type::TEXT, format.format_for(0))
}
