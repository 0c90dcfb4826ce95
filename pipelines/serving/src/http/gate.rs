//! Who may come in.
//!
//! A program shows a token with every request (`Authorization: Bearer`). A person opens the link that the program
//! printed, or signs in with a token, and gets a session behind a cookie that no script can read and no other site can
//! use. Tokens are slow to check on purpose, so wrong ones are few a second, and right ones are remembered a while.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_SECURITY_POLICY, COOKIE, HeaderMap, HeaderValue, LOCATION,
    RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use thalweg_core::time::Clock;

use super::routes::SESSION;
use super::session::{Hash, Link, Sessions, hash};
use crate::rate::Bucket;

/// Tokens that were right and are counted by themselves.
const REMEMBERED: usize = 1_000;
/// Checks of other tokens: more is guessing.
const CHECKS_PER_SECOND: f64 = 2.0;
const CHECKS_BURST: f64 = 20.0;
/// Requests with one token.
const PER_SECOND: f64 = 20.0;
const BURST: f64 = 200.0;
/// Longer ones are none of ours.
const LONGEST_TOKEN: usize = 256;

/// Knows the tokens.
pub trait Doorkeeper: Send + Sync + fmt::Debug {
    /// Whose token this is. May take as long as a password hash takes.
    fn admit(&self, token: &str) -> Option<Visitor>;

    /// Whether someone who came in earlier would still be let in.
    fn still(&self, visitor: &Visitor) -> bool;
}

/// Nobody has a token: links alone open.
impl Doorkeeper for () {
    fn admit(&self, _token: &str) -> Option<Visitor> {
        None
    }

    fn still(&self, _visitor: &Visitor) -> bool {
        true
    }
}

/// Someone who was let in.
#[derive(Clone)]
pub struct Visitor {
    name: Arc<str>,
    role: Arc<str>,
    may_read: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl Visitor {
    /// Someone called `name` in a role, who may read the tables of which `may_read` says so.
    pub fn new(
        name: &str,
        role: &str,
        may_read: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), role: role.into(), may_read: Arc::new(may_read) }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Whether a table is to be shown to them.
    pub fn may_read(&self, table: &str) -> bool {
        (self.may_read)(table)
    }
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Visitor").field(&self.name).finish()
    }
}

/// Lets in or refuses. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    doorkeeper: Arc<dyn Doorkeeper>,
    clock: Arc<dyn Clock>,
    cookie: String,
    /// Of every cookie.
    attributes: &'static str,
    on_spent: Option<Box<OnSpent>>,
    held: Mutex<Held>,
}

type OnSpent = dyn Fn(&Gate) + Send + Sync;

#[derive(Debug)]
struct Held {
    sessions: Sessions,
    checks: Bucket,
    tokens: HashMap<[u8; 32], Bucket>,
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
    /// Whether its holder would still be let in: neither signed out nor removed, and in the same role.
    pub(super) fn is_valid(&self) -> bool {
        if let Some(session) = &self.session {
            let now = self.gate.now();
            if self.gate.held().sessions.keep(session, now).is_none() {
                return false;
            }
        }
        self.gate.0.doorkeeper.still(&self.visitor)
    }
}

/// Why someone stays outside.
enum Refusal {
    /// No token, or a wrong one.
    Unknown,
    /// The link was used before.
    Spent,
    /// Too often; try again later.
    Wait(Duration),
    /// Another site sent the request.
    Foreign,
}

impl Gate {
    /// A gate of the server on `port`: browsers do not tell ports apart, so the cookie's name does.
    pub fn new(doorkeeper: Arc<dyn Doorkeeper>, port: u16, clock: Arc<dyn Clock>) -> Self {
        let checks = Bucket::new(CHECKS_PER_SECOND, CHECKS_BURST, clock.monotonic());
        Self(Arc::new(Inner {
            doorkeeper,
            clock,
            cookie: format!("thalweg-{port}"),
            attributes: "Path=/; HttpOnly; SameSite=Strict",
            on_spent: None,
            held: Mutex::new(Held {
                sessions: Sessions::default(),
                checks,
                tokens: HashMap::new(),
            }),
        }))
    }

    /// Browsers are to send the cookie over TLS alone: a proxy that speaks it stands in front.
    #[must_use]
    pub fn behind_tls(mut self) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.attributes = "Path=/; HttpOnly; SameSite=Strict; Secure";
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

    async fn identify(&self, headers: &HeaderMap, method: &Method) -> Result<Visitor, Refusal> {
        if let Some(token) = bearer(headers) {
            return self.check(token.to_owned()).await;
        }
        let secret = self.cookie(headers).ok_or(Refusal::Unknown)?;
        if *method != Method::GET && is_foreign(headers) {
            return Err(Refusal::Foreign);
        }
        let found = self.held().sessions.find(secret, self.now());
        let visitor = found.ok_or(Refusal::Unknown)?.map_err(Refusal::Wait)?;
        if self.0.doorkeeper.still(&visitor) {
            return Ok(visitor);
        }
        self.held().sessions.close(secret);
        Err(Refusal::Unknown)
    }

    /// Checks a token on a thread that may be slow.
    async fn check(&self, token: String) -> Result<Visitor, Refusal> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refusal::Unknown);
        }
        let (id, now) = (hash(&token), self.now());
        {
            let mut held = self.held();
            let Held { tokens, checks, .. } = &mut *held;
            let bucket = tokens.get_mut(&id).unwrap_or(checks);
            bucket.take(now).map_err(Refusal::Wait)?;
        }
        let doorkeeper = Arc::clone(&self.0.doorkeeper);
        let checked = tokio::task::spawn_blocking(move || doorkeeper.admit(&token)).await;
        let visitor = checked.ok().flatten().ok_or(Refusal::Unknown)?;
        let mut held = self.held();
        if held.tokens.len() >= REMEMBERED {
            held.tokens.clear();
        }
        held.tokens.entry(id).or_insert_with(|| Bucket::new(PER_SECOND, BURST, now));
        Ok(visitor)
    }

    /// Signs in with a token from a form.
    pub(super) async fn sign_in(&self, headers: &HeaderMap, form: &str) -> Response {
        if is_foreign(headers) {
            return refuse(headers, &Refusal::Foreign);
        }
        let token = form.trim().strip_prefix("token=").unwrap_or_default();
        match self.check(token.trim_end_matches(['\r', '\n']).to_owned()).await {
            Ok(visitor) => self.welcome(visitor),
            Err(refusal) => refuse(headers, &refusal),
        }
    }

    /// Ends the session of the request.
    pub(super) fn sign_out(&self, headers: &HeaderMap) -> Response {
        if let Some(secret) = self.cookie(headers) {
            self.held().sessions.close(secret);
        }
        redirect(&format!("{}=; {}; Max-Age=0", self.0.cookie, self.0.attributes))
    }

    fn follow(&self, headers: &HeaderMap, secret: &str) -> Response {
        let link = self.held().sessions.follow(secret);
        match link {
            Link::Good(visitor) => self.welcome(visitor),
            Link::Unknown => refuse(headers, &Refusal::Unknown),
            Link::Spent => {
                if let Some(print) = &self.0.on_spent {
                    print(self);
                }
                refuse(headers, &Refusal::Spent)
            }
        }
    }

    /// Opens a session and leads to the first page, so that the secret leaves the address bar.
    fn welcome(&self, visitor: Visitor) -> Response {
        let secret = self.held().sessions.open(visitor, self.now());
        redirect(&format!("{}={secret}; {}", self.0.cookie, self.0.attributes))
    }

    fn cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        all.flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == self.0.cookie)
            .map(|(_, secret)| secret)
    }
}

/// Stands before every route.
pub(super) async fn guard(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    if method == Method::POST && uri.path() == SESSION {
        // The way in; it checks for itself.
        return next.run(request).await;
    }
    let identified = gate.identify(request.headers(), &method).await;
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
            gate.follow(request.headers(), link(&method, &uri).unwrap_or_default())
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

fn redirect(cookie: &str) -> Response {
    let mut response = redirect_home();
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn redirect_home() -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, HeaderValue::from_static("/"))]).into_response()
}

fn refuse(headers: &HeaderMap, refusal: &Refusal) -> Response {
    let (status, text) = match refusal {
        Refusal::Unknown => (StatusCode::UNAUTHORIZED, "Please sign in."),
        Refusal::Spent => (
            StatusCode::UNAUTHORIZED,
            "This link was used before. The program has just printed a new one where it runs.",
        ),
        Refusal::Wait(_) => {
            (StatusCode::TOO_MANY_REQUESTS, "Too many requests: try again shortly.")
        }
        Refusal::Foreign => (StatusCode::FORBIDDEN, "Requests from other sites are refused."),
    };
    let wants_page = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let mut response = if status == StatusCode::UNAUTHORIZED
        && wants_page.is_some_and(|accept| accept.contains("text/html"))
    {
        page(text)
    } else {
        format!("{text}\n").into_response()
    };
    *response.status_mut() = status;
    if let Refusal::Wait(wait) = refusal {
        let seconds = HeaderValue::from(wait.as_secs() + 1);
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The page for someone outside is one file: everything else is inside.
const STYLE: &str = include_str!("signin.css");

fn page(text: &str) -> Response {
    let body = include_str!("signin.html").replace("{style}", STYLE).replace("{text}", text);
    let style = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let mut response = axum::response::Html(body).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
