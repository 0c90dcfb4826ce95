//! `healthcare schedule`: the commands for schedulers, by cron, for those who run no other scheduler.
//!
//! Each run is a process of its own, so that none of them can take the schedule down; the exit code tells how it went.
//! A run that is due while the one before still goes on is passed over, as is what was missed while this was down: every
//! command can be given a date by hand.

use std::path::PathBuf;
use std::process::Stdio;

use chrono::{DateTime, Utc};
use clap::Args;
use croner::Cron;
use thalweg_core::time::{Clock, EventTime};
use thalweg_core::{Error, Result, error};
use thalweg_runtime::SystemClock;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::DataArgs;
use crate::healthcare::daily::Day;

/// What is scheduled is in `[schedule]` of the configuration file.
#[derive(Debug, Clone, Args)]
pub(super) struct ScheduleArgs {
    #[command(flatten)]
    data: DataArgs,

    /// Show what would run next, and when, and end
    #[arg(long)]
    next: bool,
}

/// Runs until it is told to stop.
pub(super) fn execute(args: &ScheduleArgs) -> Result<()> {
    let config = args.data.load_config()?;
    let entries = config.schedule.entries()?;
    if entries.is_empty() {
        return Err(Error::config("nothing is scheduled: see [schedule] of `healthcare config`"));
    }
    let clock = SystemClock::default();
    if args.next {
        for (name, cron) in &entries {
            let due = next(cron, instant(clock.now_micros())?)?;
            super::print(&format!("{} {name}\n", due.format("%Y-%m-%dT%H:%M:%SZ")));
        }
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| error::io("start the schedule", e))?;
    let out = PathBuf::from(&config.schedule.out);
    runtime.block_on(async {
        let mut ended =
            signal(SignalKind::terminate()).map_err(|e| error::io("wait for a signal", e))?;
        let program = std::env::current_exe().map_err(|e| error::io("find this program", e))?;
        let runs = entries.iter().map(|(name, cron)| {
            let run =
                Run { name, cron, program: &program, data: &args.data, out: &out, clock: &clock };
            async move { run.repeat().await }
        });
        tokio::select! {
            first = futures::future::try_join_all(runs) => first.map(drop),
            _ = ended.recv() => Ok(()),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

/// One line of the schedule.
struct Run<'a> {
    name: &'static str,
    cron: &'a Cron,
    program: &'a PathBuf,
    data: &'a DataArgs,
    out: &'a PathBuf,
    clock: &'a dyn Clock,
}

impl Run<'_> {
    async fn repeat(&self) -> Result<()> {
        loop {
            let due = next(self.cron, instant(self.clock.now_micros())?)?;
            // The clock may be set meanwhile: it is looked at again at the latest after an hour.
            loop {
                let left = due.timestamp_micros() - self.clock.now_micros();
                let Ok(left) = u64::try_from(left) else { break };
                let pause = std::time::Duration::from_micros(left.max(1_000));
                tokio::time::sleep(pause.min(std::time::Duration::from_hours(1))).await;
            }
            self.once(due).await;
        }
    }

    async fn once(&self, due: DateTime<Utc>) {
        let mut command = match self.command(due.timestamp_micros()) {
            Ok(command) => command,
            Err(problem) => {
                tracing::warn!(command = self.name, error = error::chain(&problem), "not run");
                return;
            }
        };
        match command.stdin(Stdio::null()).kill_on_drop(true).status().await {
            Ok(status) => match status.code() {
                Some(0 | 99) => tracing::info!(command = self.name, code = status.code(), "run"),
                code => tracing::warn!(command = self.name, code, "a scheduled command failed"),
            },
            Err(problem) => {
                tracing::warn!(command = self.name, error = %problem, "a scheduled command cannot be run");
            }
        }
    }

    /// The command, of the day before `due`.
    fn command(&self, due: EventTime) -> Result<Command> {
        let mut command = Command::new(self.program);
        command.arg(self.name).arg("--data-dir").arg(self.data.data_dir.to_string());
        if let Some(config) = &self.data.config {
            command.arg("--config").arg(config);
        }
        if ["refresh", "quality", "report"].contains(&self.name) {
            let yesterday = Day::of(Day::of(due)?.start() - 1)?;
            command.arg("--date").arg(yesterday.to_string());
        }
        if ["quality", "report"].contains(&self.name) {
            command.arg("--out").arg(self.out);
        }
        Ok(command)
    }
}

fn instant(micros: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| Error::internal("the clock is wrong"))
}

fn next(cron: &Cron, after: DateTime<Utc>) -> Result<DateTime<Utc>> {
    let never =
        |_| Error::config("a cron expression of [schedule] names an instant that never comes");
    cron.find_next_occurrence(&after, false).map_err(never)
}
