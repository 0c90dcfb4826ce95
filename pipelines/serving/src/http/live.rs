//! `GET /api/state`: everything, once. `GET /api/live`: the same, and then whatever changes.
//!
//! Both answer with messages of one form: `{"id": "…", "reset": true, "stale": false, "sections": {"NAME": [row, …], …}}`.
//! A message with `reset` replaces all that a client has, another one adds rows to it or replaces rows of the same key. While
//! it is `stale` the tables cannot be read: a stream says so and shows what it has, and there is no first look. A client
//! says what it has by `?since=ID` or, as browsers do when a connection broke, by `Last-Event-ID`.
//!
//! Behind the first message of a stream, and every 15 seconds from then on, comes an event called `time`, whose data is the
//! server's clock, ms: who does not hear it any more has a broken connection, and who does knows how old what it shows is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::board::{Board, Position, Reading};
use super::door::Visitor;
use super::gate::Pass;
use super::places::{Place, Places};

/// First paint.
pub const STATE: &str = "/api/state";
/// The stream.
pub const LIVE: &str = "/api/live";

/// A client that vanished is noticed no later, and so is one that may no longer look. The client, too, notices: the time is
/// told so often.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a first look waits for the tables to be read.
const PATIENCE: Duration = Duration::from_secs(20);
/// After a first look the stream is on its way: the board is kept warm so long.
const LEASE: Duration = Duration::from_secs(10);

/// A board and who may see which part of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shown {
    board: Arc<Board>,
    /// Name of a section, table that one must be allowed to read to see it.
    sections: &'static [(&'static str, &'static str)],
    places: Arc<Places>,
}

impl Shown {
    /// Shows `board` to at most `streams` clients at once, of which a visitor may be some and not all.
    pub fn new(
        board: Arc<Board>,
        sections: &'static [(&'static str, &'static str)],
        streams: usize,
    ) -> Self {
        Self { board, sections, places: Arc::new(Places::new(streams)) }
    }

    fn visible(&self, visitor: &Visitor) -> Vec<&'static str> {
        let seen = self.sections.iter().filter(|(_, table)| visitor.may_read(table));
        seen.map(|(section, _)| *section).collect()
    }
}

/// Answers with everything that the visitor may see.
pub async fn state(State(shown): State<Shown>, Extension(visitor): Extension<Visitor>) -> Response {
    let reading = shown.board.read();
    let mut ready = shown.board.ready();
    let waited = tokio::time::timeout(PATIENCE, ready.wait_for(|ready| *ready)).await;
    if waited.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the tables are still being read\n")
            .into_response();
    }
    if shown.board.is_stale() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the tables cannot be read just now\n")
            .into_response();
    }
    let (message, _) = shown.board.message(None, &shown.visible(&visitor));
    tokio::spawn(async move {
        tokio::time::sleep(LEASE).await;
        drop(reading);
    });
    ([(CONTENT_TYPE, "application/json")], message.to_string()).into_response()
}

/// Answers with a stream of messages, the first at once. It ends when the gate would no longer let the visitor in.
pub async fn live(
    State(shown): State<Shown>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Response {
    let place = match shown.places.take(visitor.name()) {
        Ok(place) => place,
        Err(full) => return full.into_response(),
    };
    let Some(pass) = request.extensions().get::<Pass>().cloned() else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let client = Client {
        pass,
        since: since(&request),
        sections: shown.visible(&visitor),
        changes: shown.board.changes(),
        ready: shown.board.ready(),
        _reading: shown.board.read(),
        _place: place,
        board: shown.board,
        greeted: false,
        beat: Instant::now() + HEARTBEAT,
    };
    Sse::new(stream::unfold(client, Client::next)).into_response()
}

fn since(request: &Request) -> Option<Position> {
    let header = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    let query = || request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix("since="));
    Position::parse(header.or_else(query)?)
}

struct Client {
    pass: Pass,
    board: Arc<Board>,
    since: Option<Position>,
    sections: Vec<&'static str>,
    changes: watch::Receiver<u64>,
    ready: watch::Receiver<bool>,
    greeted: bool,
    /// When the time is told again.
    beat: Instant,
    _reading: Reading,
    _place: Place,
}

impl Client {
    /// The next message, or the time. It is made when the connection has room for it, of what is true then, and for who
    /// may still see it then.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            let is_ready = self.is_ready().await?;
            // A first message that is there goes before.
            if (self.greeted || !is_ready) && Instant::now() >= self.beat {
                self.beat = Instant::now() + HEARTBEAT;
                let time = Event::default().event("time").data(self.pass.millis().to_string());
                return Some((Ok(time), self));
            }
            if !is_ready {
                continue;
            }
            self.changes.borrow_and_update();
            let here = self.board.position();
            if self.greeted && self.since == Some(here) {
                // However long nothing changes, the pass is looked at again.
                if let Ok(changed) = timeout_at(self.beat, self.changes.changed()).await {
                    changed.ok()?;
                }
                continue;
            }
            let (message, here) = self.board.message(self.since, &self.sections);
            self.since = Some(here);
            if !std::mem::replace(&mut self.greeted, true) {
                self.beat = Instant::now();
            }
            return Some((Ok(Event::default().id(here.to_string()).data(message)), self));
        }
    }

    /// Whether there is something to show, when the time is told at the latest; `None` when the client has to go.
    async fn is_ready(&mut self) -> Option<bool> {
        let ready = self.ready.wait_for(|ready| *ready);
        let ready = match timeout_at(self.beat, ready).await {
            Ok(ready) => ready.is_ok().then_some(true),
            Err(_) => Some(false),
        };
        // After the wait: it may have been long.
        ready.filter(|_| self.pass.is_valid())
    }
}
