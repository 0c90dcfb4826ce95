//! `healthcare maintain`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use thalweg_connectors::delta::{Compaction, SAFE_RETENTION, Vacuum};
use thalweg_core::time::Clock;
use thalweg_core::{Error, error};
use thalweg_objects::Place;
use thalweg_runtime::{LocalStorage, SystemClock};

use super::outcome::{Failure, Outcome, end, tell, usage};
use super::{CHECKPOINTS, DataArgs};
use crate::healthcare::maintain::{MaintainOptions, Maintained, chosen, maintain, tables};

/// What to do for the tables.
#[derive(Debug, Clone, Args)]
pub(super) struct MaintainArgs {
    #[command(flatten)]
    data: DataArgs,

    /// Only these tables, or those below these folders, such as gold,silver/events
    #[arg(long, value_name = "T", value_delimiter = ',')]
    tables: Vec<String>,

    /// Count only, change nothing
    #[arg(long)]
    dry_run: bool,

    /// How long files that are no longer in a table stay for readers of older versions, such as 36h or 7days
    /// [default: maintenance.retention, 7days]
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    retention: Option<Duration>,

    /// Merge no fewer small files than this; at least 2 [default: `maintenance.min_files`, 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    min_files: Option<u64>,

    /// Accept a retention below 1h, when the job must not be running; and remove files, too, that only the versions in
    /// `meta/checkpoints` need, by which tables are looked at
    #[arg(long)]
    force: bool,
}

/// Merges small files, looks after logs, removes old files. The last line of standard output is one JSON object.
pub(super) fn execute(args: &MaintainArgs) -> ExitCode {
    let done = run(args).map(|done| {
        if done.skipped > 0 {
            tell(&format!(
                "warning: {} of {} tables, or files of theirs, were left as they are: they use what is not understood",
                done.skipped, done.tables
            ));
        }
        let outcome = outcome(&done);
        (done, outcome)
    });
    end("maintain", done)
}

/// A table that was left alone is not in order: nobody knows what there would have been to do.
fn outcome(done: &Maintained) -> Outcome {
    if done.failed > 0 {
        Outcome::Failed
    } else if done.is_something() || done.skipped > 0 {
        Outcome::Done
    } else {
        Outcome::Nothing
    }
}

fn run(args: &MaintainArgs) -> Result<Maintained, Failure> {
    let settings = args.data.load_config()?.maintenance;
    let retention = args.retention.unwrap_or(settings.retention);
    if retention < SAFE_RETENTION && !args.force {
        return Err(Failure::Usage(Error::config(
            "a retention below 1h may take files that a running job has just written: stop the job and pass --force",
        )));
    }
    // Below that only the manifests tell which files are needed: nobody may be about to write one.
    let _lock =
        (retention < SAFE_RETENTION && !args.dry_run).then(|| lock(&args.data)).transpose()?;
    let min_files = args.min_files.map_or(settings.min_files, |n| n as usize);
    let options = MaintainOptions {
        compaction: Compaction { min_files, dry_run: args.dry_run, ..Compaction::default() },
        vacuum: Some(Vacuum { retention, force: args.force, dry_run: args.dry_run }),
    };
    let checkpoints = args.data.checkpoints_read_only()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| error::io("start the I/O threads", e))?;
    let clock = SystemClock::default();
    let (place, checkpoints) = (&args.data.data_dir, checkpoints.as_ref());
    let all = runtime.block_on(tables(place, checkpoints))?;
    let chosen = chosen(all, &args.tables).map_err(usage)?;
    let mut done = runtime.block_on(maintain(place, checkpoints, &chosen, &options, &tell))?;
    done.seconds = (clock.monotonic().as_secs_f64() * 1_000.0).round() / 1_000.0;
    Ok(done)
}

/// The lock of a job, so that none runs.
fn lock(data: &DataArgs) -> Result<LocalStorage, Failure> {
    match data.data_dir.join(CHECKPOINTS) {
        Place::Folder(folder) => {
            // Only an existing folder is locked: a wrong name makes none.
            LocalStorage::open_read_only(&folder).map_err(usage)?;
            Ok(LocalStorage::open(&folder)?)
        }
        Place::Remote(_) => Err(Failure::Usage(Error::config(
            "a retention below 1h needs a lock, which object stores do not have: choose a longer one",
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_left_alone_is_no_table_in_order() {
        let looked = Maintained { tables: 3, ..Maintained::default() };
        assert_eq!(outcome(&looked), Outcome::Nothing);
        assert_eq!(outcome(&Maintained { skipped: 1, ..looked.clone() }), Outcome::Done);
        assert_eq!(
            outcome(&Maintained { skipped: 1, failed: 1, ..looked.clone() }),
            Outcome::Failed
        );
        assert_eq!(outcome(&Maintained { vacuumed_files: 1, ..looked }), Outcome::Done);
    }
}
