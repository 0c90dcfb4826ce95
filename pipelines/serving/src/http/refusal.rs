//! What those are told who stay outside.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT, CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Why someone stays outside.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    /// No token, or a wrong one.
    Unknown,
    /// The link was used before.
    Spent,
    /// Too often; try again later.
    Wait(Duration),
    /// Another site sent the request.
    Foreign,
    /// What is not written down does not happen.
    Unwritten,
}

/// The answer to who stays outside.
pub(super) fn refuse(headers: &HeaderMap, refusal: &Refusal) -> Response {
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
        Refusal::Unwritten => {
            (StatusCode::SERVICE_UNAVAILABLE, "The audit log cannot be written: nobody is let in.")
        }
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
