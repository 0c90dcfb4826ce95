//! How a command ends: with an exit code; one for schedulers also with a JSON object, the last line of standard output.

use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;
use thalweg_core::{Error, ErrorKind};
use thalweg_runtime::cli::report_error;

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is done: 0.
    Done,
    /// It failed: 1.
    Failed,
    /// The data are not good enough to go on with: 3.
    Gate,
    /// There was nothing to do: 99, which Airflow takes as skipped.
    Nothing,
}

impl Outcome {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Gate => 3,
            Self::Nothing => 99,
        }
    }
}

/// Why it could not even begin, or broke off.
pub(super) enum Failure {
    /// Wrong usage: 2, as clap's.
    Usage(Error),
    /// Anything else: 1.
    Other(Error),
}

impl Failure {
    /// What is said.
    pub(super) fn error(&self) -> &Error {
        let (Self::Usage(error) | Self::Other(error)) = self;
        error
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// For steps that look at settings, arguments and variables alone: what they call invalid is wrong usage, which nobody need
/// try again. Elsewhere that kind is also what may pass, such as a job that is in the way or has no checkpoint yet.
pub(super) fn usage(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::InvalidConfig => Failure::Usage(error),
        _ => Failure::Other(error),
    }
}

/// The exit code of a command that has no last line, after the error if there is one.
pub(super) fn exit_code(done: Result<(), impl Into<Failure>>) -> ExitCode {
    match done.map_err(Into::<Failure>::into) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => {
            report_error(&error);
            ExitCode::from(2)
        }
        Err(Failure::Other(error)) => report_error(&error),
    }
}

/// Prints the last line of `command`, after the error if there is one, and tells the exit code.
pub(super) fn end<T: Serialize>(command: &str, result: Result<(T, Outcome), Failure>) -> ExitCode {
    let (error, code) = match result {
        Ok((said, outcome)) => {
            last(&said);
            return ExitCode::from(outcome.code());
        }
        Err(Failure::Usage(error)) => (error, 2),
        Err(Failure::Other(error)) => (error, 1),
    };
    report_error(&error);
    // The kind alone: what is said of it is for people, and names places.
    last(&json!({ "command": command, "status": "error", "reason": kind(&error) }));
    ExitCode::from(code)
}

/// The kind of an error as programs read it, in last lines and in the audit log: `invalidconfig`.
pub(super) fn kind(error: &Error) -> String {
    format!("{:?}", error.kind()).to_lowercase()
}

fn last(said: &impl Serialize) {
    // It cannot fail: what is said has numbers, texts and lists only.
    super::print(&(serde_json::to_string(said).unwrap_or_default() + "\n"));
}

/// A line for people; standard output has the result. Where nobody reads any more, the work goes on.
pub(super) fn tell(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
