//! How a command line program ends when something went wrong.

use std::io::Write as _;
use std::process::ExitCode;

use thalweg_core::{Error, error};

/// Prints one line, `error: …`, and returns exit code 1. Where nobody reads any more, the code alone tells.
pub fn report_error(error: &Error) -> ExitCode {
    let line = error::chain(error).replace('\n', " ");
    drop(writeln!(std::io::stderr(), "error: {line}"));
    ExitCode::FAILURE
}
