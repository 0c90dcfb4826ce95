//! How a command line program ends when something went wrong.

use std::process::ExitCode;

use thalweg_core::{Error, error};

/// Prints one line, `error: …`, and returns exit code 1.
#[expect(clippy::print_stderr, reason = "this is the program's last word")]
pub fn report_error(error: &Error) -> ExitCode {
    eprintln!("error: {}", error::chain(error).replace('\n', " "));
    ExitCode::FAILURE
}
