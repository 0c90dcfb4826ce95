//! What went wrong, in words of our own: texts of clients hold URLs, which can carry signatures, and whole answers.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;

use object_store::Error as StoreError;
use thalweg_core::Error;

const DENIED: &str = "access is denied: check the credentials and what they allow";
const MISSING: &str = "there is no such object, bucket or container";

/// A failed request while doing `what` (`write manifest 3`): it may pass, so it is transient.
pub fn failed(what: impl Display, error: &(dyn StdError + 'static)) -> Error {
    Error::transient(format!("cannot {what}: {}", reason(error)))
}

/// Whether waiting does not help: the caller may not do this, the bucket is missing, or the store cannot do it.
pub fn is_refusal(error: &StoreError) -> bool {
    // Some clients do not tell their refusals from other failures, except in the text at the bottom.
    let mut bottom: &dyn StdError = error;
    while let Some(next) = bottom.source() {
        bottom = next;
    }
    if matches!(status(&bottom.to_string()), Some(401 | 403 | 404)) {
        return true;
    }
    matches!(
        error,
        StoreError::PermissionDenied { .. }
            | StoreError::Unauthenticated { .. }
            | StoreError::NotFound { .. }
            | StoreError::NotImplemented { .. }
            | StoreError::NotSupported { .. }
    )
}

/// The cause of a failed request in a few words.
pub fn reason(error: &(dyn StdError + 'static)) -> String {
    let mut next = Some(error);
    let mut last = error;
    while let Some(error) = next {
        if let Some(words) = error.downcast_ref::<StoreError>().and_then(known) {
            return words.to_owned();
        }
        #[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
        if let Some(http) = error.downcast_ref::<object_store::client::HttpError>() {
            return transport(http.kind()).to_owned();
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io::Error::from(io.kind()).to_string();
        }
        last = error;
        next = error.source();
    }
    match status(&last.to_string()) {
        Some(401 | 403) => DENIED.to_owned(),
        Some(404) => MISSING.to_owned(),
        Some(status) => format!("the store answered {status}"),
        None => "the request failed".to_owned(),
    }
}

fn known(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => Some(DENIED),
        StoreError::NotFound { .. } => Some(MISSING),
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => {
            Some("there is another object of this name")
        }
        StoreError::NotImplemented { .. } | StoreError::NotSupported { .. } => {
            Some("the store cannot do this")
        }
        _ => None,
    }
}

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
fn transport(kind: object_store::client::HttpErrorKind) -> &'static str {
    use object_store::client::HttpErrorKind as Kind;
    match kind {
        Kind::Connect => "no connection to the store: check the endpoint",
        Kind::Timeout => "no answer in time",
        Kind::Request | Kind::Interrupted => "the connection broke",
        _ => "the answer cannot be read",
    }
}

/// The three digits behind `status code: `, where clients print them.
fn status(text: &str) -> Option<u16> {
    let (_, behind) = text.split_once("status code: ")?;
    behind.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_told_without_urls_and_answers() {
        let generic = |text: &str| StoreError::Generic { store: "S3", source: text.into() };
        let cases = [
            (
                generic(
                    "Server returned non-2xx status code: 503 Slow Down: <Error>secret</Error>",
                ),
                "503",
            ),
            (generic("Server returned non-2xx status code: 403 Forbidden: secret"), "credentials"),
            (generic("PUT https://host/?sig=secret"), "the request failed"),
            (
                StoreError::PermissionDenied { path: "secret".into(), source: "secret".into() },
                "credentials",
            ),
            (
                StoreError::Generic {
                    store: "S3",
                    source: Box::new(io::Error::new(io::ErrorKind::ConnectionReset, "secret")),
                },
                "connection reset",
            ),
        ];
        for (error, says) in cases {
            let told = failed("write manifest 3", &error);
            let text = thalweg_core::error::chain(&told);
            assert!(text.starts_with("cannot write manifest 3: "), "{text}");
            assert!(text.contains(says) && !text.contains("secret"), "{text}");
            assert!(told.kind().is_retryable());
        }
    }
}
