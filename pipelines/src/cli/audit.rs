//! `healthcare audit`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use thalweg_core::Result;
use thalweg_core::time::Clock;
use thalweg_objects::Place;
use thalweg_runtime::SystemClock;
use thalweg_serving::audit::{Action, Anchor, AuditLog, Event, Outcome, verify};

use super::outcome;
use crate::healthcare::serve::files;

/// The data, and the log of what is done with it.
#[derive(Debug, Clone, Args)]
pub(super) struct AuditArgs {
    /// Folder of the tables, or URL of their prefix in an object store (s3://, az://, abfss://, gs://)
    #[arg(long, value_name = "DIR", default_value = "data", global = true)]
    pub(super) data_dir: Place,

    /// File of the audit log [default: DIR.audit.jsonl, beside a folder]
    #[arg(long, value_name = "F", global = true)]
    pub(super) audit_log: Option<PathBuf>,
}

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
pub(super) fn execute(args: &AuditArgs, command: &AuditCommand) -> Result<()> {
    let AuditCommand::Verify { expect } = command;
    let found = verify(&files::audit_file(&args.data_dir, args.audit_log.as_deref())?, expect)?;
    let head = found.head.map_or_else(String::new, |head| format!(", the newest is {head}"));
    super::print(&format!("{} entries are as they were written{head}\n", found.entries));
    Ok(())
}

/// What somebody does on the command line: an entry when it begins, and one when it has ended.
#[derive(Debug)]
pub(super) struct Deed {
    /// What both entries tell of it.
    pub(super) event: Event,
    clock: Arc<dyn Clock>,
    since: Duration,
}

impl Deed {
    /// Something that is done from now on. Who does it, the system says; the environment, which anybody sets as they
    /// like, gives no more than a hint.
    pub(super) fn by_operator(action: Action) -> Self {
        Self::timed(action, Arc::new(SystemClock::default()))
    }

    fn timed(action: Action, clock: Arc<dyn Clock>) -> Self {
        let hint = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
        let actor = operator(rustix::process::getuid().as_raw(), &hint);
        let mut event = Event::new(actor, action, Outcome::Begun);
        "cli".clone_into(&mut event.source);
        let since = clock.monotonic();
        Self { event, clock, since }
    }

    /// Writes down that it begins: without that it does not.
    pub(super) fn begun(&mut self, log: &AuditLog) -> Result<()> {
        self.event.outcome = Outcome::Begun;
        log.append(&self.event)
    }

    /// Writes down how it ended and how long it took, and passes on what came of it.
    pub(super) fn ended<T>(self, log: &AuditLog, done: Result<T>) -> Result<T> {
        let outcome = if done.is_ok() { Outcome::Done } else { Outcome::Failed };
        self.ended_as(outcome, log, done)
    }

    /// The same, where more is known of how it ended.
    pub(super) fn ended_as<T>(
        mut self,
        outcome: Outcome,
        log: &AuditLog,
        done: Result<T>,
    ) -> Result<T> {
        self.event.outcome = outcome;
        self.event.millis = self.clock.monotonic().saturating_sub(self.since).as_millis() as u64;
        if let Err(error) = &done {
            self.event.reason = outcome::kind(error);
        }
        let told = log.append(&self.event);
        let done = done?;
        told?;
        Ok(done)
    }
}

/// `uid:1000(ada)`, or without a name that could be one: nobody in the users file can be called so. The name is plain and
/// short, so that the log cuts nothing off and takes it for no secret.
fn operator(uid: u32, hint: &str) -> String {
    const LONGEST: usize = 32;
    if hint.is_empty() || hint.chars().count() > LONGEST {
        return format!("uid:{uid}");
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("uid:{uid}({})", hint.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use thalweg_core::testing::ManualClock;

    use super::*;

    #[test]
    fn how_long_something_took_is_told_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let clock = Arc::new(ManualClock::at(0));
        let log = AuditLog::open(&path, Arc::clone(&clock) as _).unwrap();
        let mut deed = Deed::timed(Action::Users, Arc::clone(&clock) as _);
        deed.begun(&log).unwrap();
        clock.advance(Duration::from_millis(1_250));
        deed.ended(&log, Ok(())).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let took: Vec<u64> =
            text.lines().map(|line| serde_json::from_str::<Event>(line).unwrap().millis).collect();
        assert_eq!(took, [0, 1_250]);
    }

    #[test]
    fn who_uses_the_command_line_is_named_by_the_system_and_never_by_nothing() {
        let (longest, longer) = ("a".repeat(32), "a".repeat(33));
        for (hint, expected) in [
            ("ada", "uid:7(ada)".to_owned()),
            ("ada.l@x", "uid:7(ada_l_x)".to_owned()),
            ("root) uid:0(", "uid:7(root__uid_0_)".to_owned()),
            (longest.as_str(), format!("uid:7({longest})")),
            (longer.as_str(), "uid:7".to_owned()),
            ("", "uid:7".to_owned()),
        ] {
            let named = operator(7, hint);
            assert_eq!(named, expected);
            assert_eq!(Event::new(named, Action::Decrypt, Outcome::Done).actor, expected);
        }
        let uid = rustix::process::getuid().as_raw();
        let actor = Deed::by_operator(Action::Decrypt).event.actor;
        assert!(actor.starts_with(&format!("uid:{uid}")), "{actor}");
    }
}
