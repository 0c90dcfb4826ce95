//! What people and machines are told.

use std::io::Write;

/// Progress, on standard error. A reader that went away is no error.
pub(crate) fn note(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Results, on standard output.
pub(crate) fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}
