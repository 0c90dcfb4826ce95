//! Named places where a test makes the program fail. Without the feature `failpoints` they compile to nothing.
//!
//! `FAILPOINTS="manifest.after=3*off->return(exit)"` kills the process at the fourth manifest. Actions: `return(exit)`,
//! `return(error)`, `panic`, `sleep(2000)`.

use crate::Result;

/// Every failpoint of a job, in the order in which a checkpoint passes them.
pub const ALL: [&str; 19] = [
    "source.poll",
    "source.rows",
    "sink.close",
    "state.before",
    "state.after",
    "ack.before",
    "manifest.before",
    "manifest.after",
    "commit.before",
    "entry.before",
    "entry.after",
    "messages.sent",
    "messages.committed",
    "commit.after",
    "cut.before",
    "cut.after",
    "recover.opened",
    "recover.restored",
    "gc.delete",
];

/// The failpoints of table maintenance, in the order in which it passes them.
pub const MAINTENANCE: [&str; 5] =
    ["compact.read", "compact.written", "compact.before", "compact.after", "vacuum.delete"];

/// Reads `FAILPOINTS`; what it returns keeps them active.
#[must_use = "dropping it switches the failpoints off"]
pub fn init() -> impl Sized {
    #[cfg(feature = "failpoints")]
    {
        fail::FailScenario::setup()
    }
}

/// Passes the failpoint `name`.
///
/// # Errors
/// When a test says so.
pub fn hit(name: &'static str) -> Result<()> {
    debug_assert!(ALL.contains(&name) || MAINTENANCE.contains(&name), "failpoints are listed");
    fail::fail_point!(name, |action| match action.as_deref() {
        Some("error") => Err(crate::Error::transient(format!("failpoint {name}"))),
        _ => std::process::abort(),
    });
    Ok(())
}
