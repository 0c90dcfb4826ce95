//! `healthcare refresh`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use thalweg_core::Error;

use super::DataArgs;
use super::outcome::{Failure, Outcome, end, tell, usage};
use crate::healthcare::daily::Day;
use crate::healthcare::daily::refresh::refresh;

/// Which day.
#[derive(Debug, Clone, Args)]
pub(super) struct RefreshArgs {
    #[command(flatten)]
    data: DataArgs,

    /// The day of event time, UTC, such as 2025-11-24
    #[arg(long, value_name = "DAY")]
    date: Day,

    /// Compare only, change nothing; 1 when a table differs
    #[arg(long)]
    dry_run: bool,
}

/// Puts gold right. The last line of standard output is one JSON object.
pub(super) fn execute(args: &RefreshArgs) -> ExitCode {
    end("refresh", run(args))
}

fn run(args: &RefreshArgs) -> Result<(Value, Outcome), Failure> {
    let config = args.data.load_config().map_err(usage)?;
    let checkpoints = args.data.checkpoints_read_only().map_err(usage)?;
    let data = &args.data.data_dir;
    let done = refresh(data, checkpoints.as_ref(), &config.time, args.date, args.dry_run)?;
    for table in &done.replaced {
        let verb = if args.dry_run { "differs" } else { "replaced" };
        tell(&format!(
            "{} {verb}: {} rows before, {} as silver says",
            table.table, table.rows_before, table.rows_after
        ));
    }
    if done.open_windows {
        tell("windows that the job has not closed yet were left alone");
    }
    let mut said = serde_json::to_value(&done)
        .map_err(|_| Error::internal("the result cannot be written down"))?;
    let outcome = match (done.replaced.is_empty(), args.dry_run) {
        (true, _) => Outcome::Nothing,
        (false, true) => Outcome::Failed,
        (false, false) => Outcome::Done,
    };
    if let Some(object) = said.as_object_mut() {
        object.insert("command".to_owned(), json!("refresh"));
    }
    Ok((said, outcome))
}
