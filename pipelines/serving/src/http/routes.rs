//! Routes, all of them behind the gate.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::handler::Handler;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::gate::{Gate, guard};
use super::headers::secure;

/// Where a session is opened (`POST`, a form with a field `token`) and closed (`DELETE`).
pub const SESSION: &str = "/session";

/// What a request may carry: a form with a token, at most.
const LARGEST_BODY: usize = 4 * 1024;
/// How long that may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A list of routes that becomes an application; there is no other way to one, so none is without the gate.
#[derive(Debug, Default)]
pub struct Routes {
    router: Router,
    listed: Vec<(Method, String)>,
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
        self.router
            .route(SESSION, session)
            .fallback(async || StatusCode::NOT_FOUND)
            .layer(from_fn_with_state(gate.clone(), guard))
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .layer(from_fn(secure))
    }
}

async fn sign_in(State(gate): State<Gate>, headers: HeaderMap, request: Request) -> Response {
    let body = Bytes::from_request(request, &());
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => gate.sign_in(&headers, &String::from_utf8_lossy(&body)).await,
        Ok(Err(refusal)) => refusal.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

async fn sign_out(State(gate): State<Gate>, headers: HeaderMap) -> Response {
    gate.sign_out(&headers)
}
