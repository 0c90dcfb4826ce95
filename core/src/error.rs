//! The one error of the framework: few kinds, each telling who must act.
//!
//! `Display` prints the message alone; [`chain`] prints the causes, once, at the edge. Messages never carry a
//! record's value: texts of JSON, Arrow or Delta errors are mapped to kind, column and position by whoever
//! meets them, because those libraries like to quote the offending input.

use std::fmt;

/// What every fallible function of the framework returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something failed, and so who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The graph is wrong: its author mends it. Never restarted.
    InvalidGraph,
    /// A setting, argument or environment variable is wrong: the operator of the job mends it. Never restarted.
    InvalidConfig,
    /// A record does not have the promised shape and no policy says what to do with it.
    InvalidRecord,
    /// The outside world failed in a way that may pass: the restart strategy decides.
    Transient,
    /// Another attempt or process owns the work: this one stops.
    Fenced,
    /// The checkpoint and the graph or the input do not belong together. Never restarted.
    IncompatibleState,
    /// Input or output that was promised to be there is gone. Never restarted.
    DataLoss,
    /// Stored bytes are not what was stored: damaged, truncated, or another key. Never restarted.
    Corrupt,
    /// A limit that was set, to memory say, does not suffice: the operator of the job raises it or asks for less. Never
    /// restarted.
    ResourceExhausted,
    /// A bug of ours, a panic included: the restart strategy decides, and a report is welcome.
    Internal,
}

impl ErrorKind {
    /// Whether the restart strategy may try again (protocol P10).
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::Internal)
    }
}

/// A failure: kind, one line of text, and perhaps a place and a cause.
pub struct Error {
    kind: ErrorKind,
    message: String,
    place: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`: lower case, no full stop, no value of a record.
    ///
    /// ```
    /// use thalweg_core::{Error, ErrorKind};
    /// let error = Error::new(ErrorKind::InvalidConfig, "parallelism must be at least 1");
    /// assert_eq!(error.to_string(), "parallelism must be at least 1");
    /// assert!(!error.kind().is_retryable());
    /// ```
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, source: None }
    }

    /// [`ErrorKind::InvalidGraph`].
    pub fn graph(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidGraph, message)
    }

    /// [`ErrorKind::InvalidConfig`].
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidConfig, message)
    }

    /// [`ErrorKind::Transient`].
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }

    /// [`ErrorKind::Fenced`].
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, message)
    }

    /// [`ErrorKind::IncompatibleState`].
    pub fn incompatible(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::IncompatibleState, message)
    }

    /// [`ErrorKind::DataLoss`].
    pub fn data_loss(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::DataLoss, message)
    }

    /// [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds the cause. Only causes whose text cannot quote a record belong here.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds where it happened (``operator `silver`, subtask 1``); the innermost place wins.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place.get_or_insert_with(|| place.into());
        self
    }

    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Where it happened, when the runtime has said so.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, chain(self))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn std::error::Error + 'static))
    }
}

/// The error and its causes in one line, joined by `: `.
///
/// ```
/// use thalweg_core::{Error, error::chain};
/// let cause = std::io::Error::other("no space left");
/// assert_eq!(chain(&Error::transient("cannot write state").with_source(cause)), "cannot write state: no space left");
/// ```
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// An I/O failure while doing `what`. A full disk or a missing permission may pass, so it is transient.
pub fn io(what: impl fmt::Display, error: std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::StorageFull => " (the disk is full: free some space)",
        std::io::ErrorKind::PermissionDenied => " (check the folder's owner and mode)",
        _ => "",
    };
    Error::transient(format!("cannot {what}{hint}")).with_source(error)
}
