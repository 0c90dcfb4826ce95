//! `healthcare users`, and where users and the audit log are.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use thalweg_core::Result;
use thalweg_serving::access::Users;
use thalweg_serving::audit::Action;

use super::audit::{AuditArgs, Deed};
use crate::healthcare::serve::{ROLES, files, roles};

/// The data, and the files beside it.
#[derive(Debug, Clone, Args)]
pub(super) struct AccessArgs {
    #[command(flatten)]
    pub(super) audit: AuditArgs,

    /// File of the users [default: DIR.users.toml, beside a folder]
    #[arg(long, value_name = "F", global = true)]
    pub(super) users_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum UsersCommand {
    /// Add a user and print its token, which is shown this once
    Add {
        /// Its name
        name: String,
        /// What it may see
        #[arg(long, value_parser = ROLES)]
        role: String,
    },
    /// Print names and roles
    List,
    /// Remove a user; its next statement or request is refused
    Remove {
        /// Its name
        name: String,
    },
}

/// Changes the users file, and writes down that it is changed.
pub(super) fn execute(access: &AccessArgs, command: &UsersCommand) -> Result<()> {
    let path = files::users_file(&access.audit.data_dir, access.users_file.as_deref())?;
    match command {
        UsersCommand::List => {
            let users = Users::load(&path)?;
            let lines = users.iter().map(|user| format!("{}\t{}\n", user.name, user.role));
            super::print(&lines.collect::<String>());
        }
        UsersCommand::Add { name, role } => {
            let role = roles().named(role)?;
            let add = || Users::change(&path, |users| users.add(name, role));
            let token = told(access, "add", name, add)?;
            super::print(&format!("{}\n", token.reveal()));
        }
        UsersCommand::Remove { name } => {
            let remove = || Users::change(&path, |users| users.remove(name));
            told(access, "remove", name, remove)?;
        }
    }
    Ok(())
}

fn told<T>(
    access: &AccessArgs,
    kind: &str,
    name: &str,
    change: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let AuditArgs { data_dir, audit_log } = &access.audit;
    let log = files::audit_log(data_dir, audit_log.as_deref())?;
    let mut deed = Deed::by_operator(Action::Users);
    kind.clone_into(&mut deed.event.kind);
    deed.event.subject = log.digest(name);
    deed.begun(&log)?;
    deed.ended(&log, change())
}
