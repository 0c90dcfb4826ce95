//! Routes, all of them behind the gate.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::handler::Handler;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};

use super::door::Visitor;
use super::gate::{Gate, Guard, guard};
use super::headers::secure;

/// Where a session is opened (`POST`, a form with a field `token`) and closed (`DELETE`).
pub const SESSION: &str = "/session";

/// What a request may carry: a form with a token, or a command.
const LARGEST_BODY: usize = 4 * 1024;
/// How long that may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A list of routes that becomes an application; there is no other way to one, so none is without the gate.
#[derive(Debug, Default)]
pub struct Routes {
    router: Router,
    listed: Vec<(Method, String)>,
    files: BTreeSet<String>,
}

impl Routes {
    /// Answers `GET path` by `handler`.
    #[must_use]
    pub fn get<H, T>(self, path: &str, handler: H) -> Self
    where
        H: Handler<T, ()>,
        T: 'static,
    {
        self.add(Method::GET, path, get(handler))
    }

    /// The same for a file of a page: there are many to a page, and they are not counted among a session's requests.
    #[must_use]
    pub fn file<H, T>(mut self, path: &str, handler: H) -> Self
    where
        H: Handler<T, ()>,
        T: 'static,
    {
        self.files.insert(path.to_owned());
        self.get(path, handler)
    }

    /// Answers `POST path` by `handler`, which gets who asks and what they sent. That is JSON by its own word: a form
    /// of another site cannot send it, and its scripts would have to ask us first.
    #[must_use]
    pub fn post<H, A>(self, path: &str, handler: H) -> Self
    where
        H: FnOnce(Visitor, Body) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let by = move |Extension(visitor): Extension<Visitor>, request: Request| async move {
            if !is_json(request.headers()) {
                let text = "the body must be application/json\n";
                return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
            }
            match read(request).await {
                Ok(body) => handler(visitor, body).await,
                Err(refusal) => refusal.into_response(),
            }
        };
        self.add(Method::POST, path, post(by))
    }

    fn add(mut self, method: Method, path: &str, by: MethodRouter) -> Self {
        self.router = self.router.route(path, by);
        self.listed.push((method, path.to_owned()));
        self
    }

    /// Every route, as it was added.
    pub fn list(&self) -> &[(Method, String)] {
        &self.listed
    }

    /// The application: the routes and the way in, behind `gate`.
    pub fn behind(self, gate: &Gate) -> Router {
        let session = post(sign_in).delete(sign_out).with_state(gate.clone());
        let guarding = Guard { gate: gate.clone(), files: Arc::new(self.files) };
        self.router
            .route(SESSION, session)
            .fallback(async || StatusCode::NOT_FOUND)
            .layer(from_fn_with_state(guarding, guard))
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .layer(from_fn(secure))
    }
}

async fn sign_in(State(gate): State<Gate>, headers: HeaderMap, request: Request) -> Response {
    let from = gate.origin(request.extensions(), &headers);
    match read(request).await {
        Ok(body) => gate.sign_in(&headers, from, &String::from_utf8_lossy(&body)).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// What a request carried, all of it.
pub type Body = Bytes;

async fn read(request: Request) -> Result<Body, (StatusCode, &'static str)> {
    match tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(refusal)) => {
            Err((refusal.into_response().status(), "the body is too long, or broke off\n"))
        }
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim() == "application/json")
}

async fn sign_out(State(gate): State<Gate>, headers: HeaderMap) -> Response {
    gate.sign_out(&headers)
}
