//! Who may come in.
//!
//! A program shows a token with every request (`Authorization: Bearer`). A person opens the link that the program
//! printed, or signs in with a token, and gets a session behind a cookie that no script can read and no other site can
//! use. Tokens are slow to check on purpose, so wrong ones are few a second, fewer from one address than altogether, and
//! right ones are remembered a while (`tokens.rs`).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, LOCATION, SET_COOKIE};
use axum::http::{Extensions, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use futures::FutureExt;
use thalweg_core::error;
use thalweg_core::time::Clock;

use super::address::{forwarded, peer};
use super::door::{Doorkeeper, Visitor};
use super::journal::{Journal, SOURCE, refusals};
use super::refusal::{Refusal, refuse};
use super::routes::SESSION;
use super::session::{Hash, Link, Sessions, hash};
use super::tokens::{Tokens, Turn};
use crate::audit::{Action, Event, Outcome, Refusals};
use crate::rate::Bucket;

/// Links in place of used ones: whoever has an old link makes us print.
const PRINTS_PER_SECOND: f64 = 0.2;
const PRINTS_BURST: f64 = 3.0;
/// Longer ones are none of ours.
const LONGEST_TOKEN: usize = 256;

/// Lets in or refuses. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    doorkeeper: Arc<dyn Doorkeeper>,
    clock: Arc<dyn Clock>,
    cookie: String,
    /// Of every cookie.
    attributes: &'static str,
    /// Then the other end of a connection is the proxy.
    is_behind_proxy: bool,
    on_spent: Option<Box<OnSpent>>,
    journal: Journal,
    refusals: Refusals,
    held: Mutex<Held>,
}

type OnSpent = dyn Fn(&Gate) + Send + Sync;

#[derive(Debug)]
struct Held {
    sessions: Sessions,
    tokens: Tokens,
    prints: Bucket,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("cookie", &self.cookie).finish_non_exhaustive()
    }
}

/// What someone came in with. What lasts longer than a request asks it whether they may stay.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    gate: Gate,
    visitor: Visitor,
    /// None for a token.
    session: Option<Hash>,
}

impl Pass {
    /// Whether its holder would still be let in: neither signed out nor removed, in the same role, with the same token.
    /// Otherwise the session is over, whatever the users file says later.
    pub(super) fn is_valid(&self) -> bool {
        if let Some(session) = &self.session {
            let now = self.gate.now();
            if self.gate.held().sessions.keep(session, now).is_none() {
                return false;
            }
        }
        let may_stay = self.gate.0.doorkeeper.still(&self.visitor);
        if let Some(session) = self.session.as_ref().filter(|_| !may_stay) {
            self.gate.held().sessions.close(session);
        }
        may_stay
    }

    /// What the server's clock says, ms.
    pub(super) fn millis(&self) -> i64 {
        self.gate.0.clock.now_micros() / 1_000
    }
}

impl Gate {
    /// A gate of the server on `port`: browsers do not tell ports apart, so the cookie's name does.
    pub fn new(doorkeeper: Arc<dyn Doorkeeper>, port: u16, clock: Arc<dyn Clock>) -> Self {
        let now = clock.monotonic();
        Self(Arc::new(Inner {
            doorkeeper,
            clock,
            cookie: format!("thalweg-{port}"),
            attributes: "Path=/; HttpOnly; SameSite=Strict",
            is_behind_proxy: false,
            on_spent: None,
            journal: Journal::default(),
            refusals: refusals(now),
            held: Mutex::new(Held {
                sessions: Sessions::default(),
                tokens: Tokens::new(now),
                prints: Bucket::new(PRINTS_PER_SECOND, PRINTS_BURST, now),
            }),
        }))
    }

    /// Browsers are to send the cookie over TLS alone: a proxy that speaks it stands in front, and says where requests
    /// come from.
    #[must_use]
    pub fn behind_tls(mut self) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.attributes = "Path=/; HttpOnly; SameSite=Strict; Secure";
            inner.is_behind_proxy = true;
        }
        self
    }

    /// Calls `print` when someone opens a link that was used before: whoever sees what it prints can have a new one.
    #[must_use]
    pub fn on_spent_link(mut self, print: impl Fn(&Self) + Send + Sync + 'static) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.on_spent = Some(Box::new(print));
        }
        self
    }

    /// Writes down who signs in, and who is refused. Whose entry cannot be written is not let in.
    #[must_use]
    pub fn noting(mut self, journal: Journal) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.journal = journal;
        }
        self
    }

    /// The secret of a link that opens a session for `visitor` once: `/?token=SECRET`. The one before is void.
    pub fn link(&self, visitor: Visitor) -> String {
        self.held().sessions.new_link(visitor)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.0.clock.monotonic()
    }

    /// Where a request comes from.
    pub(super) fn origin(&self, extensions: &Extensions, headers: &HeaderMap) -> IpAddr {
        let told = if self.0.is_behind_proxy { forwarded(headers) } else { None };
        told.unwrap_or_else(|| peer(extensions))
    }

    async fn identify(
        &self,
        headers: &HeaderMap,
        method: &Method,
        from: IpAddr,
        is_counted: bool,
    ) -> Result<Visitor, Refusal> {
        if let Some(token) = bearer(headers) {
            // A program shows its token with every request: the first time is its sign-in.
            return self.check(token, from, "token").await.map(|(visitor, _)| visitor);
        }
        let secret = self.cookie(headers).ok_or(Refusal::Unknown)?;
        if *method != Method::GET && is_foreign(headers) {
            return Err(Refusal::Foreign);
        }
        let found = self.held().sessions.find(secret, self.now(), is_counted);
        let visitor = found.ok_or(Refusal::Unknown)?.map_err(Refusal::Wait)?;
        if self.0.doorkeeper.still(&visitor) {
            return Ok(visitor);
        }
        self.held().sessions.close(&hash(secret));
        Err(Refusal::Unknown)
    }

    /// Whose token this is, and whether that was its first time: then it is written down as a sign-in of this `way`.
    async fn check(
        &self,
        token: &str,
        from: IpAddr,
        way: &'static str,
    ) -> Result<(Visitor, bool), Refusal> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refusal::Unknown);
        }
        match self.turn(token, from, way)? {
            Turn::Known => Ok((self.look(token.to_owned(), from).await?, false)),
            Turn::First(look) => Ok((look.await?, true)),
            Turn::Shared(look) => Ok((look.await?, false)),
        }
    }

    fn turn(&self, token: &str, from: IpAddr, way: &'static str) -> Result<Turn, Refusal> {
        // A task of its own: who asked first may hang up, and the others still wait.
        let begin = || {
            let looking = tokio::spawn(self.clone().first_look(token.to_owned(), from, way));
            looking.map(|ended| ended.unwrap_or(Err(Refusal::Unknown))).boxed().shared()
        };
        let now = self.now();
        self.held().tokens.take(hash(token), from, now, begin).map_err(Refusal::Wait)
    }

    /// Looks whose token this is. Nobody is let in by it, and it is not remembered, before the sign-in is written down.
    async fn first_look(
        self,
        token: String,
        from: IpAddr,
        way: &'static str,
    ) -> Result<Visitor, Refusal> {
        let id = hash(&token);
        let looked = match self.look(token, from).await {
            Ok(visitor) => self.note(&visitor, way).await.map(|()| visitor),
            Err(refusal) => Err(refusal),
        };
        self.held().tokens.end(id, from, looked.is_ok());
        looked
    }

    /// Looks whose token this is, on a thread that may be slow.
    async fn look(&self, token: String, from: IpAddr) -> Result<Visitor, Refusal> {
        // Its first part claims to be a name. It may be anything, a password that was pasted here too.
        let claimed = token.split_once('.').map(|(name, _)| self.0.journal.digest(name));
        let doorkeeper = Arc::clone(&self.0.doorkeeper);
        let looked = tokio::task::spawn_blocking(move || doorkeeper.admit(&token, from)).await;
        if let Some(visitor) = looked.ok().flatten() {
            return Ok(visitor);
        }
        self.note_refusal("unknown_token", claimed.unwrap_or_default()).await;
        Err(Refusal::Unknown)
    }

    async fn note(&self, visitor: &Visitor, way: &str) -> Result<(), Refusal> {
        let mut event = visitor.event(Action::Login, Outcome::Done);
        way.clone_into(&mut event.kind);
        self.0.journal.note(event).await.map_err(|problem| {
            tracing::warn!(error = error::chain(&problem), "nobody is let in");
            Refusal::Unwritten
        })
    }

    /// Writes down that somebody was refused, unless that happens too often.
    async fn note_refusal(&self, reason: &str, claimed: String) {
        let mut event = Event::new("", Action::Login, Outcome::Refused);
        SOURCE.clone_into(&mut event.source);
        event.subject = claimed;
        reason.clone_into(&mut event.reason);
        self.0.journal.note_one_of(&self.0.refusals, self.now(), event).await;
    }

    /// Signs in with a token from a form.
    pub(super) async fn sign_in(&self, headers: &HeaderMap, from: IpAddr, form: &str) -> Response {
        if is_foreign(headers) {
            return refuse(headers, &Refusal::Foreign);
        }
        let token = form.trim().strip_prefix("token=").unwrap_or_default();
        match self.check(token.trim_end_matches(['\r', '\n']), from, "form").await {
            // It is written down already.
            Ok((visitor, true)) => self.welcome(visitor),
            Ok((visitor, false)) => self.enter(headers, visitor, "form").await,
            Err(refusal) => refuse(headers, &refusal),
        }
    }

    /// Opens a session once it is written down.
    async fn enter(&self, headers: &HeaderMap, visitor: Visitor, way: &str) -> Response {
        match self.note(&visitor, way).await {
            Ok(()) => self.welcome(visitor),
            Err(refusal) => refuse(headers, &refusal),
        }
    }

    /// Ends the session of the request.
    pub(super) fn sign_out(&self, headers: &HeaderMap) -> Response {
        if let Some(secret) = self.cookie(headers) {
            self.held().sessions.close(&hash(secret));
        }
        setting(redirect_home(), &format!("{}=; {}; Max-Age=0", self.0.cookie, self.0.attributes))
    }

    async fn follow(&self, headers: &HeaderMap, secret: &str) -> Response {
        let link = self.held().sessions.follow(secret);
        match link {
            Link::Good(visitor) => self.enter(headers, visitor, "link").await,
            Link::Unknown => {
                self.note_refusal("unknown_link", String::new()).await;
                refuse(headers, &Refusal::Unknown)
            }
            Link::Spent => {
                self.note_refusal("spent_link", String::new()).await;
                let now = self.now();
                let may_print = self.held().prints.take(now);
                if let Err(wait) = may_print {
                    return refuse(headers, &Refusal::Wait(wait));
                }
                if let Some(print) = &self.0.on_spent {
                    print(self);
                }
                refuse(headers, &Refusal::Spent)
            }
        }
    }

    /// Opens a session and leads to the first page, so that the secret leaves the address bar. By a page of our own: who
    /// followed a link of another site, in a mail say, would be redirected without the cookie.
    fn welcome(&self, visitor: Visitor) -> Response {
        let secret = self.held().sessions.open(visitor, self.now());
        let page = Html(include_str!("welcome.html")).into_response();
        setting(page, &format!("{}={secret}; {}", self.0.cookie, self.0.attributes))
    }

    fn cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        all.flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == self.0.cookie)
            .map(|(_, secret)| secret)
    }
}

/// The gate as it stands before routes, and the paths among them that are not counted among a session's requests.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) gate: Gate,
    pub(super) files: Arc<BTreeSet<String>>,
}

/// Stands before every route.
pub(super) async fn guard(
    State(Guard { gate, files }): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    if method == Method::POST && uri.path() == SESSION {
        // The way in; it checks for itself.
        return next.run(request).await;
    }
    let from = gate.origin(request.extensions(), request.headers());
    let is_counted = !files.contains(uri.path());
    let identified = gate.identify(request.headers(), &method, from, is_counted).await;
    match identified {
        Ok(_) if link(&method, &uri).is_some() => redirect_home(),
        Ok(visitor) => {
            let session = match bearer(request.headers()) {
                Some(_) => None,
                None => gate.cookie(request.headers()).map(hash),
            };
            let pass = Pass { gate: gate.clone(), visitor: visitor.clone(), session };
            request.extensions_mut().insert(pass);
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(Refusal::Unknown) if link(&method, &uri).is_some() => {
            gate.follow(request.headers(), link(&method, &uri).unwrap_or_default()).await
        }
        Err(refusal) => refuse(request.headers(), &refusal),
    }
}

fn link<'a>(method: &Method, uri: &'a Uri) -> Option<&'a str> {
    let wanted = *method == Method::GET && uri.path() == "/";
    wanted.then(|| uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))).flatten()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Browsers say where a request comes from; what is no browser has no cookie to misuse.
fn is_foreign(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
}

fn setting(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn redirect_home() -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, HeaderValue::from_static("/"))]).into_response()
}

#[cfg(test)]
mod tests;
