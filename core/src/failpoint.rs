//! Named places where a test makes the program fail. Without the feature `failpoints` they compile to nothing.
//!
//! `FAILPOINTS="manifest.after=3*off->return(exit)"` kills the process at the fourth manifest. Actions: `return(exit)`,
//! `return(error)`, `return(stall)` (two seconds of nothing), which the log tells, and `panic`, `sleep(2000)`. Some are
//! also known by where they are passed: `commit.after@gold-kpis`.

use crate::Result;

/// Every failpoint of a job: those of its first start, then in the order in which a checkpoint passes them, then those of
/// another start, then of what follows a checkpoint.
pub const ALL: [&str; 33] = [
    "genesis.before",
    "genesis.after",
    "create.before",
    "create.after",
    "source.poll",
    "source.rows",
    "barrier.inject",
    "snapshot.before",
    "snapshot.after",
    "sink.close",
    "state.before",
    "put.answer",
    "state.after",
    "ack.before",
    "manifest.before",
    "manifest.after",
    "commit.before",
    "entry.before",
    "entry.answer",
    "entry.after",
    "messages.sent",
    "messages.marked",
    "messages.committed",
    "commit.after",
    "cut.before",
    "cut.after",
    "recover.opened",
    "recover.restored",
    "operator.restore",
    "seal.before",
    "seal.after",
    "gc.delete",
    "group.commit",
];

/// The failpoints of table maintenance, in the order in which it passes them.
pub const MAINTENANCE: [&str; 7] = [
    "compact.read",
    "compact.written",
    "compact.before",
    "compact.after",
    "log.before",
    "log.after",
    "vacuum.delete",
];

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
    #[cfg(feature = "failpoints")]
    pass(name)?;
    Ok(())
}

/// Passes the failpoint `name` at one `place` of several, a table say: it is known as `name@place` as well.
///
/// # Errors
/// When a test says so.
pub fn hit_at(name: &'static str, place: &str) -> Result<()> {
    hit(name)?;
    #[cfg(feature = "failpoints")]
    pass(&format!("{name}@{place}"))?;
    #[cfg(not(feature = "failpoints"))]
    let _: &str = place;
    Ok(())
}

#[cfg(feature = "failpoints")]
fn pass(name: &str) -> Result<()> {
    fail::fail_point!(name, |action| {
        // Not all that fails or waits is told by whoever called.
        tracing::warn!("met failpoint {name}");
        match action.as_deref() {
            Some("error") => Err(crate::Error::transient(format!("failpoint {name}"))),
            Some("stall") => {
                stall();
                Ok(())
            }
            _ => std::process::abort(),
        }
    });
    Ok(())
}

#[cfg(feature = "failpoints")]
#[expect(clippy::disallowed_methods, reason = "that nothing happens is what is asked for")]
fn stall() {
    std::thread::sleep(std::time::Duration::from_secs(2));
}
