//! `healthcare refresh`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use thalweg_core::Error;
use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

use super::DataArgs;
use super::outcome::{Failure, Outcome, end, tell};
use crate::healthcare::daily::Day;
use crate::healthcare::daily::refresh::{Refreshed, refresh};

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
    let config = args.data.load_config()?;
    let now = SystemClock::default().now_micros();
    if args.date.start() > now {
        return Err(Failure::Usage(Error::config(format!("{} has not begun yet", args.date))));
    }
    let checkpoints = args.data.checkpoints_read_only()?;
    let data = &args.data.data_dir;
    let done = refresh(data, checkpoints.as_ref(), &config.time, args.date, args.dry_run)?;
    for table in &done.replaced {
        let verb = if args.dry_run { "differs" } else { "replaced" };
        tell(&format!(
            "{} {verb}: {} rows before, {} as silver says",
            table.table, table.rows_before, table.rows_after
        ));
    }
    let is_over = args.date.end() <= now;
    if done.open_windows {
        let then = if is_over { ": try again once it has" } else { "" };
        tell(&format!("windows that the job has not closed yet were left alone{then}"));
    }
    let mut said = serde_json::to_value(&done)
        .map_err(|_| Error::internal("the result cannot be written down"))?;
    let outcome = outcome(&done, is_over);
    if let Some(object) = said.as_object_mut() {
        object.insert("command".to_owned(), json!("refresh"));
    }
    Ok((said, outcome))
}

/// Of a day that `is_over` the windows that nobody has looked at may be wrong: it is not done. A day that goes on has them.
fn outcome(done: &Refreshed, is_over: bool) -> Outcome {
    if done.dry_run && !done.replaced.is_empty() || done.open_windows && is_over {
        Outcome::Failed
    } else if done.replaced.is_empty() && !done.open_windows {
        Outcome::Nothing
    } else {
        Outcome::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::healthcare::daily::refresh::ReplacedTable;

    #[test]
    fn gold_is_right_only_where_all_of_the_day_was_compared() {
        use Outcome::{Done, Failed, Nothing};
        let replaced = ReplacedTable { table: "gold/kpis", rows_before: 1, rows_after: 2 };
        for (differs, dry_run, open_windows, is_over, expected) in [
            (false, false, false, true, Nothing),
            (false, true, false, true, Nothing),
            (true, false, false, true, Done),
            (true, true, false, true, Failed),
            (false, false, true, true, Failed),
            (false, true, true, true, Failed),
            (true, false, true, true, Failed),
            (false, false, true, false, Done),
            (true, false, true, false, Done),
            (true, true, true, false, Failed),
        ] {
            let replaced = if differs { vec![replaced.clone()] } else { Vec::new() };
            let done = Refreshed { replaced, open_windows, dry_run, ..Refreshed::default() };
            assert_eq!(outcome(&done, is_over), expected, "{done:?}, over: {is_over}");
        }
    }
}
