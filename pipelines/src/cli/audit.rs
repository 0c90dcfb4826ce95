//! `healthcare audit`.

use clap::Subcommand;
use thalweg_core::Result;
use thalweg_serving::audit::{Action, Anchor, AuditLog, Event, Outcome, verify};

use super::access::AccessArgs;
use super::outcome;
use crate::healthcare::serve::files;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum AuditCommand {
    /// Check that no entry was changed, removed or moved, and print the newest one's number and hash
    Verify {
        /// An entry that was printed earlier and kept elsewhere: it must still be there
        #[arg(long, value_name = "NUMBER:HASH")]
        expect: Vec<Anchor>,
    },
}

/// Reads the log.
pub(super) fn execute(access: &AccessArgs, command: &AuditCommand) -> Result<()> {
    let AuditCommand::Verify { expect } = command;
    let found = verify(&files::audit_file(&access.data_dir, access.audit_log.as_deref())?, expect)?;
    let head = found.head.map_or_else(String::new, |head| format!(", the newest is {head}"));
    super::print(&format!("{} entries are as they were written{head}\n", found.entries));
    Ok(())
}

/// An entry about what somebody does on the command line: who that is, the system says. Behind a dot there is no name
/// in the log.
pub(super) fn by_operator(action: Action) -> Event {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let name = name.map_or_else(|_| "operator".to_owned(), |name| name.replace('.', "_"));
    let mut event = Event::new(name, action, Outcome::Begun);
    "cli".clone_into(&mut event.source);
    event
}

/// Writes down that something begins: without that it does not.
pub(super) fn begun(log: &AuditLog, event: &mut Event) -> Result<()> {
    event.outcome = Outcome::Begun;
    log.append(event)
}

/// Writes down how it ended, and passes that on.
pub(super) fn ended<T>(log: &AuditLog, mut event: Event, done: Result<T>) -> Result<T> {
    event.outcome = if done.is_ok() { Outcome::Done } else { Outcome::Failed };
    if let Err(error) = &done {
        event.reason = outcome::kind(error);
    }
    let told = log.append(&event);
    let done = done?;
    told?;
    Ok(done)
}
