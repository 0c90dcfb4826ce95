//! Cursors of SQL: `DECLARE`, `FETCH`, `MOVE`, `CLOSE`. A cursor is a portal of its name: it has the portals' place and bytes,
//! describes its columns as they do, and ends with them. Its query is planned when it is declared and begins with the first
//! `FETCH` or `MOVE`; each of them has the time of a statement, while what comes between them has the connection's patience.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datafusion::arrow::datatypes::SchemaRef;
use futures::stream::{self, TryStreamExt};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::results::{FieldInfo, QueryResponse, Response, SendableRowStream, Tag};
use pgwire::api::stmt::StoredStatement;
use pgwire::api::store::{Entry, PortalStore};
use pgwire::error::PgWireResult;
use pgwire::types::format::FormatOptions;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

use super::answer::{note, note_of};
use super::demand::{Demand, Piece, demand, passed, rows};
use super::failure::Told;
use super::held::Kept;
use super::prepared::{Prepared, Store};
use super::query::Query;
use super::run::{begin, fields, rested};
use super::session::Session;
use super::statement::{Asked, Declared};

/// A query whose rows are fetched piece by piece.
#[derive(Debug)]
pub(super) struct Cursor {
    schema: SchemaRef,
    /// The digest of the text that declared it.
    subject: String,
    /// Whether it is to outlive its transaction.
    hold: bool,
    /// Whether that has been committed.
    committed: AtomicBool,
    /// A `FETCH` has it until its rows are read, a `MOVE` until it has counted them.
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
enum State {
    Declared(Box<Query>),
    Running(mpsc::Sender<Demand>),
    /// All rows have been fetched.
    Over,
    Failed(Told),
}

/// A cursor whose rows are on their way.
struct Coming {
    state: OwnedMutexGuard<State>,
    /// By this more are asked for.
    more: mpsc::Sender<Demand>,
}

impl Coming {
    /// How they ended: whether there may be more, or what failed.
    fn settle(mut self, how: &Result<bool, Told>) {
        *self.state = match how {
            Ok(true) => State::Running(self.more),
            Ok(false) => State::Over,
            Err(told) => State::Failed(told.clone()),
        };
    }
}

impl Cursor {
    /// Whether it stays when a transaction ends: one `WITH HOLD` that is committed now, or has been.
    pub(super) fn outlives(&self, committed: bool) -> bool {
        if self.hold && committed {
            self.committed.store(true, Ordering::Relaxed);
        }
        self.committed.load(Ordering::Relaxed)
    }

    /// The next rows, at most so many, within `limit`.
    async fn next(
        self: Arc<Self>,
        session: Arc<Session>,
        fields: Arc<Vec<FieldInfo>>,
        most: u64,
        limit: Duration,
    ) -> PgWireResult<SendableRowStream> {
        let Some((coming, pieces)) = self.ask(&session, &fields, most, limit).await? else {
            return Ok(Box::pin(stream::empty()));
        };
        Ok(Box::pin(rows(pieces, most, move |how| coming.settle(how))))
    }

    /// Asks for the next rows, at most so many, within `limit`; `None`: there are no more. What fails is written down here.
    async fn ask(
        &self,
        session: &Arc<Session>,
        fields: &Arc<Vec<FieldInfo>>,
        most: u64,
        limit: Duration,
    ) -> Result<Option<(Coming, mpsc::Receiver<Piece>)>, Told> {
        // What was asked for in front of it may have taken long.
        let may = async {
            session.still()?;
            session.engine.can_tell().await
        };
        if let Err(told) = may.await {
            return Err(note_of(session, self.subject.clone(), told).await);
        }
        let Ok(mut state) = Arc::clone(&self.state).try_lock_owned() else {
            let told =
                "a FETCH of this cursor is not read to its end: read it, or CLOSE the cursor";
            let told = Told::new("55006", told);
            return Err(note_of(session, self.subject.clone(), told).await);
        };
        // Unless this comes to a good end nothing more comes.
        let left = State::Failed(Told::new("24000", "a FETCH of this cursor was given up"));
        let begun = match mem::replace(&mut *state, left) {
            State::Declared(query) => {
                let (first, pieces) = demand(session, fields, most, limit);
                let (more, asked) = mpsc::channel(1);
                let begun = begin(session, *query, self.subject.clone(), first, asked).await;
                begun.map(|()| (more, pieces))
            }
            State::Running(more) => {
                let (next, pieces) = demand(session, fields, most, limit);
                match more.send(next).await {
                    Ok(()) => Ok((more, pieces)),
                    Err(_) => Err(rested()),
                }
            }
            State::Over => {
                *state = State::Over;
                return Ok(None);
            }
            State::Failed(before) => {
                let told = again(&before);
                *state = State::Failed(before);
                return Err(note_of(session, self.subject.clone(), told).await);
            }
        };
        match begun {
            Ok((more, pieces)) => Ok(Some((Coming { state, more }, pieces))),
            Err(told) => {
                *state = State::Failed(told.clone());
                Err(told)
            }
        }
    }
}

/// Another `FETCH` after one that failed.
fn again(before: &Told) -> Told {
    let Told { code, message } = before;
    let told =
        format!("the cursor has ended with an error ({code}: {message}): CLOSE and DECLARE it");
    Told::new("24000", told)
}

fn unknown() -> Told {
    Told::new("34000", "there is no such cursor: cursors without HOLD end with their transaction")
}

/// Whether a cursor may be declared at this place and under its name.
pub(super) fn may_declare(store: &Store, declared: &Declared, inside: bool) -> Result<(), Told> {
    if !inside && !declared.hold {
        return Err(Told::new(
            "25P01",
            "a cursor needs a transaction: BEGIN first, or add WITH HOLD",
        ));
    }
    if store.get_portal(&declared.name).is_some() {
        return Err(Told::new("42P03", "there is a cursor of this name: CLOSE it first"));
    }
    Ok(())
}

/// Keeps `query` for `FETCH`. `text` is what declared it.
pub(super) fn declare(
    session: &Session,
    store: &Store,
    declared: &Declared,
    inside: bool,
    query: Query,
    text: &str,
) -> Result<Response, Told> {
    let name = &declared.name;
    let (schema, plan) = (query.schema(), query.weight);
    let cursor = Cursor {
        schema: Arc::clone(&schema),
        subject: session.engine.parts.audit.digest(text),
        hold: declared.hold,
        committed: AtomicBool::new(!inside),
        state: Arc::new(Mutex::new(State::Declared(Box::new(query)))),
    };
    let prepared = Arc::new(Prepared {
        text: text.to_owned(),
        asked: Asked::Fetch(name.clone(), None),
        schema: Some(schema),
        parameters: Vec::new(),
        plan,
        cursor: Some(Arc::new(cursor)),
    });
    session.held.open(store, name, prepared.weight())?;
    let statement = StoredStatement::new(name.clone(), prepared, Vec::new());
    let mut portal = Portal::new_cursor(name.clone(), Arc::new(statement));
    if declared.binary {
        portal.result_column_format = Format::UnifiedBinary;
    }
    store.put_portal(Arc::new(portal));
    Ok(Response::Execution(Tag::new("DECLARE CURSOR")))
}

/// At most `most` rows of a cursor, or all that are left, when they are read.
pub(super) fn fetch(
    session: &Arc<Session>,
    store: &Store,
    name: &str,
    most: Option<u64>,
    format: Option<&Format>,
    options: FormatOptions,
) -> Result<Response, Told> {
    let portal = portal(store, name).ok_or_else(unknown)?;
    let cursor = portal.statement.statement.cursor.as_ref().ok_or_else(unknown)?;
    let format = format.unwrap_or(&portal.result_column_format);
    let fields = fields(&cursor.schema, format, options)?;
    let most = most.unwrap_or(u64::MAX);
    // Not before what is asked for in front of it has been read: several may be asked for at once.
    // But within the time that is set now.
    let limit = session.engine.timeout(session);
    let next = Arc::clone(cursor).next(Arc::clone(session), Arc::clone(&fields), most, limit);
    let mut response = QueryResponse::new(fields, stream::once(next).try_flatten());
    response.set_command_tag("FETCH");
    Ok(Response::Query(response))
}

/// Goes past at most `most` rows of a cursor, or all that are left, now: there is nothing to read. `text` is what asks for it.
pub(super) async fn pass(
    session: &Arc<Session>,
    store: &Store,
    name: &str,
    most: Option<u64>,
    text: &str,
) -> Result<Response, Told> {
    let found = portal(store, name).and_then(|portal| portal.statement.statement.cursor.clone());
    let Some(cursor) = found else { return Err(note(session, text, unknown()).await) };
    // They are made as for a FETCH, as texts, and nobody gets them.
    let fields = match fields(&cursor.schema, &Format::UnifiedText, FormatOptions::default()) {
        Ok(fields) => fields,
        Err(told) => return Err(note(session, text, told).await),
    };
    let limit = session.engine.timeout(session);
    let count = match cursor.ask(session, &fields, most.unwrap_or(u64::MAX), limit).await? {
        Some((coming, pieces)) => passed(pieces, move |how| coming.settle(how)).await?,
        None => 0,
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Response::Execution(Tag::new("MOVE").with_rows(count)))
}

/// Ends a cursor, or all of them, which are all portals.
pub(super) fn close(store: &Store, name: Option<&str>) -> Result<Response, Told> {
    let Some(name) = name else {
        store.clear_portals();
        return Ok(Response::Execution(Tag::new("CLOSE CURSOR ALL")));
    };
    if store.get_portal(name).is_none() {
        return Err(unknown());
    }
    store.rm_portal(name);
    Ok(Response::Execution(Tag::new("CLOSE CURSOR")))
}

/// What has the columns of a prepared statement: that itself, or the cursor that it fetches from.
pub(super) fn described(store: &Store, prepared: &Arc<Prepared>) -> Arc<Prepared> {
    let found = match &prepared.asked {
        Asked::Fetch(name, _) => portal(store, name),
        _ => None,
    };
    found.map_or_else(|| Arc::clone(prepared), |portal| Arc::clone(&portal.statement.statement))
}

fn portal(store: &Store, name: &str) -> Option<Arc<Portal<Arc<Prepared>>>> {
    match store.get_portal(name)? {
        Entry::Value(portal) => Some(portal),
        Entry::Empty => None,
    }
}
