//! `healthcare report`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use thalweg_core::Error;

use super::outcome::{Failure, Outcome, end};
use super::{DataArgs, reports};
use crate::healthcare::daily::Day;
use crate::healthcare::daily::report::Report;
use crate::healthcare::manifests::Manifests;

/// Which day, and where to.
#[derive(Debug, Clone, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    data: DataArgs,

    /// The day of event time, UTC, such as 2025-11-24
    #[arg(long, value_name = "DAY")]
    date: Day,

    /// Folder for report-DAY.json and report-DAY.html
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
}

/// Sums a day up. The last line of standard output is one JSON object.
pub(super) fn execute(args: &ReportArgs) -> ExitCode {
    end("report", run(args))
}

fn run(args: &ReportArgs) -> Result<(Value, Outcome), Failure> {
    let config = args.data.load_config()?;
    // A wrong prefix is no day on which nothing happened.
    let checkpoints = args.data.checkpoints_read_only()?;
    Manifests(checkpoints.as_ref()).require()?;
    let date = args.date.to_string();
    let report = Report::of(&args.data.data_dir, &config, args.date)?;
    // A day of which nothing can be read is no day on which nothing happened.
    if let Some(table) = report.unread() {
        let why = format!("table `{table}` is missing, or has not the columns of this release");
        return Err(Error::config(why).into());
    }
    if report.is_empty() {
        return Ok((json!({ "command": "report", "date": date, "events": 0 }), Outcome::Nothing));
    }
    let page = reports::write(&args.out, &format!("report-{date}"), &report, &report.html())?;
    let said = json!({
        "command": "report",
        "date": date,
        "events": report.day.events,
        "patients": report.day.patients,
        "late": report.day.late,
        "received": report.day.received,
        "rejected": report.day.rejected,
        "checkpoints": report.checkpoints,
        "report": page,
    });
    Ok((said, Outcome::Done))
}
