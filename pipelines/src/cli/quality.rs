//! `healthcare quality`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

use super::outcome::{Failure, Outcome, end, tell};
use super::{DataArgs, reports};
use crate::healthcare::daily::Day;
use crate::healthcare::daily::check::Status;
use crate::healthcare::daily::quality::Quality;
use crate::healthcare::manifests::Manifests;

/// Which day, and what is good enough.
#[derive(Debug, Clone, Args)]
pub(super) struct QualityArgs {
    #[command(flatten)]
    data: DataArgs,

    /// The day of event time, UTC, such as 2025-11-24
    #[arg(long, value_name = "DAY")]
    date: Day,

    /// Folder for quality-DAY.json and quality-DAY.html
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Which results close the gate: exit code 3
    #[arg(long, value_name = "RESULT", value_enum, default_value_t = FailOn::Fail)]
    fail_on: FailOn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Failed checks
    Fail,
    /// Warnings, too
    Warn,
    /// None: report only
    Never,
}

/// Judges a day. The last line of standard output is one JSON object.
pub(super) fn execute(args: &QualityArgs) -> ExitCode {
    end("quality", run(args))
}

fn run(args: &QualityArgs) -> Result<(Value, Outcome), Failure> {
    let config = args.data.load_config()?;
    // A wrong folder or prefix is no day without events.
    let checkpoints = args.data.checkpoints_read_only()?;
    Manifests(checkpoints.as_ref()).require()?;
    let now = SystemClock::default().now_micros();
    let date = args.date.to_string();
    if args.date.start() > now {
        let said = json!({ "command": "quality", "date": date, "status": "nothing" });
        return Ok((said, Outcome::Nothing));
    }
    let quality = Quality::of(&args.data.data_dir, &config, args.date, now)?;
    for check in &quality.checks {
        let status = check.status.name();
        tell(&format!("{status} {}: {}; expected {}", check.name, check.observed, check.expected));
    }
    let page = args
        .out
        .as_ref()
        .map(|out| reports::write(out, &format!("quality-{date}"), &quality, &quality.html()))
        .transpose()?;
    let said = json!({
        "command": "quality",
        "date": date,
        "status": quality.status,
        "checks": quality.checks.len(),
        "failed": quality.named(Status::Fail),
        "warned": quality.named(Status::Warn),
        "events": quality.day.events,
        "leaks": quality.leaks(),
        "report": page,
    });
    let closed = match args.fail_on {
        FailOn::Fail => quality.status == Status::Fail,
        FailOn::Warn => quality.status >= Status::Warn,
        FailOn::Never => false,
    };
    Ok((said, if closed { Outcome::Gate } else { Outcome::Done }))
}
