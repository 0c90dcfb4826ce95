//! `healthcare schedule`: the commands for schedulers, by cron, for those who run no other scheduler.
//!
//! Each run is a process of its own, so that none of them can take the schedule down; the exit code tells how it went. One
//! that did not go well is told to the webhook, and one that hangs is terminated. A run that is due while the one before still
//! goes on is passed over, as is what was missed while this was down: every command can be given a date by hand.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use croner::Cron;
use thalweg_core::time::{Clock, EventTime};
use thalweg_core::{Error, Result, error};
use thalweg_runtime::SystemClock;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::DataArgs;
use super::outcome::{Failure, usage};
use crate::healthcare::daily::Day;
use crate::healthcare::monitor::{self, MonitorSection, WebhookUrl};

/// How instants are shown.
const SHOWN: &str = "%Y-%m-%dT%H:%M:%SZ";

/// Of runs that were passed over at one time, no more are told: the clock may have been set.
const MOST_TOLD: usize = 100;

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
pub(super) fn execute(args: &ScheduleArgs) -> Result<(), Failure> {
    let config = args.data.load_config()?;
    let entries = config.schedule.entries().map_err(usage)?;
    if entries.is_empty() {
        let why = "nothing is scheduled: see [schedule] of `healthcare config`";
        return Err(Failure::Usage(Error::config(why)));
    }
    // Not first when there is something to tell.
    WebhookUrl::find(config.monitor.webhook.as_ref()).map_err(usage)?;
    let clock = SystemClock::default();
    if args.next {
        for (name, cron) in &entries {
            let due = next(cron, instant(clock.now_micros())?)?;
            super::print(&format!("{} {name}\n", due.format(SHOWN)));
        }
        return Ok(());
    }
    if let Err(failure) = args.data.checkpoints_read_only() {
        // The job may begin later.
        tracing::warn!(error = %failure.error(), "no job has been here yet");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| error::io("start the schedule", e))?;
    let out = PathBuf::from(&config.schedule.out);
    let ended: Result<()> = runtime.block_on(async {
        let mut ended =
            signal(SignalKind::terminate()).map_err(|e| error::io("wait for a signal", e))?;
        let program = std::env::current_exe().map_err(|e| error::io("find this program", e))?;
        let runs = entries.iter().map(|(name, cron)| {
            let run = Run {
                name,
                program: &program,
                data: &args.data,
                out: &out,
                limit: config.schedule.time_limit,
                monitor: &config.monitor,
            };
            let clock = &clock;
            async move { repeat(run.name, cron, clock, async |due| run.once(due).await).await }
        });
        tokio::select! {
            first = futures::future::try_join_all(runs) => first.map(drop),
            _ = ended.recv() => Ok(()),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    });
    ended.map_err(Failure::from)
}

/// Does it `once` and again, whenever `cron` says so.
async fn repeat(
    name: &str,
    cron: &Cron,
    clock: &dyn Clock,
    once: impl AsyncFn(DateTime<Utc>),
) -> Result<()> {
    let mut ran = None;
    loop {
        // Asked when the run before has ended: what was due meanwhile is passed over.
        let now = instant(clock.now_micros())?;
        for missed in passed_over(cron, ran, now)? {
            let due = missed.format(SHOWN);
            tracing::warn!(command = name, %due, "passed over: the run before went on");
        }
        let due = next(cron, now)?;
        // The clock may be set meanwhile: it is looked at again at the latest after an hour.
        loop {
            let left = due.timestamp_micros() - clock.now_micros();
            let Ok(left) = u64::try_from(left) else { break };
            let pause = Duration::from_micros(left.max(1_000));
            tokio::time::sleep(pause.min(Duration::from_hours(1))).await;
        }
        once(due).await;
        ran = Some(due);
    }
}

/// What was due since the run that was due at `ran`, up to `now`.
fn passed_over(
    cron: &Cron,
    ran: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Vec<DateTime<Utc>>> {
    let mut passed = Vec::new();
    let Some(ran) = ran else { return Ok(passed) };
    let mut due = next(cron, ran)?;
    while due <= now && passed.len() < MOST_TOLD {
        passed.push(due);
        due = next(cron, due)?;
    }
    Ok(passed)
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// With this exit code; `None` by a signal.
    With(Option<i32>),
    /// It took too long and was terminated.
    TimedOut,
    /// It has never begun.
    NotRun,
}

impl Ended {
    /// Whether the webhook is told of it. What `monitor` fails with it has told itself, unless the settings, which name
    /// the webhook, could not be read any more.
    fn is_told(self, command: &str, has_settings: impl FnOnce() -> bool) -> bool {
        match self {
            Self::With(Some(0 | 99)) => false,
            Self::With(Some(1)) => command != "monitor",
            Self::With(Some(2)) => command != "monitor" || !has_settings(),
            Self::With(_) | Self::TimedOut | Self::NotRun => true,
        }
    }

    fn code(self) -> Option<i32> {
        if let Self::With(code) = self { code } else { None }
    }
}

/// Runs a command to its end, or to its limit.
async fn end_of(mut command: Command, limit: Duration) -> std::io::Result<Ended> {
    let mut child = command.stdin(Stdio::null()).kill_on_drop(true).spawn()?;
    if limit.is_zero() {
        return Ok(Ended::With(child.wait().await?.code()));
    }
    let waited = tokio::time::timeout(limit, child.wait()).await;
    if let Ok(ended) = waited {
        return Ok(Ended::With(ended?.code()));
    }
    // All of them may be killed at any time.
    child.kill().await?;
    Ok(Ended::TimedOut)
}

/// One line of the schedule.
struct Run<'a> {
    name: &'static str,
    program: &'a PathBuf,
    data: &'a DataArgs,
    out: &'a PathBuf,
    limit: Duration,
    monitor: &'a MonitorSection,
}

impl Run<'_> {
    async fn once(&self, due: DateTime<Utc>) {
        let ended = match self.command(due.timestamp_micros()) {
            Ok(command) => end_of(command, self.limit).await.unwrap_or_else(|problem| {
                tracing::warn!(command = self.name, error = %problem, "a scheduled command cannot be run");
                Ended::NotRun
            }),
            Err(problem) => {
                tracing::warn!(command = self.name, error = error::chain(&problem), "not run");
                Ended::NotRun
            }
        };
        let (command, code) = (self.name, ended.code());
        match ended {
            Ended::With(Some(0 | 99)) => tracing::info!(command, code, "run"),
            Ended::With(_) => tracing::warn!(command, code, "a scheduled command failed"),
            Ended::TimedOut => {
                tracing::warn!(command, "a scheduled command was terminated: it took too long");
            }
            Ended::NotRun => {}
        }
        if !ended.is_told(command, || self.data.load_config().is_ok()) {
            return;
        }
        let timed_out = ended == Ended::TimedOut;
        let told = monitor::tell_of_command(self.monitor, command, code, timed_out).await;
        if let Err(untold) = told {
            tracing::warn!(command, error = error::chain(&untold), "nobody was told of it");
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::path::Path;
    use std::sync::Mutex;

    use thalweg_objects::Place;

    use super::*;
    use crate::healthcare::config::ScheduleSection;

    /// Says these instants one after the other, and then one that there is not.
    #[derive(Debug)]
    struct Told(Mutex<VecDeque<EventTime>>);

    impl Clock for Told {
        fn now_micros(&self) -> i64 {
            self.0.lock().unwrap().pop_front().unwrap_or(i64::MAX)
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// At this minute of the day.
    fn at(day: &str, minute: i64) -> EventTime {
        day.parse::<Day>().unwrap().start() + minute * 60_000_000
    }

    fn daily() -> Cron {
        let section = ScheduleSection { report: "10 1 * * *".to_owned(), ..Default::default() };
        let entries = section.entries().unwrap();
        entries.into_iter().find(|(name, _)| *name == "report").unwrap().1
    }

    #[test]
    fn what_is_due_while_the_run_before_goes_on_is_passed_over() {
        let due = |day: &str| at(day, 70);
        let told = [
            at("2025-11-24", 700),
            due("2025-11-25") - 1_000,
            due("2025-11-25") + 1,
            // It has gone on over two nights.
            at("2025-11-27", 100),
            due("2025-11-28") + 1,
            // Where it ends at the very instant, that one is over, too.
            due("2025-11-29"),
            due("2025-11-30") + 1,
        ];
        let (clock, ran) = (Told(Mutex::new(told.into())), RefCell::new(Vec::new()));
        let runs = async |due: DateTime<Utc>| ran.borrow_mut().push(due.timestamp_micros());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let ended = runtime.block_on(repeat("report", &daily(), &clock, runs)).unwrap_err();
        assert!(ended.to_string().contains("the clock is wrong"), "{ended}");
        assert_eq!(*ran.borrow(), ["2025-11-25", "2025-11-28", "2025-11-30"].map(due));
    }

    #[test]
    fn every_run_that_was_passed_over_is_known() {
        let (cron, due) = (daily(), |day: &str| at(day, 70));
        let passed = |ran: Option<EventTime>, now: EventTime| {
            let ran = ran.map(|ran| instant(ran).unwrap());
            let passed = passed_over(&cron, ran, instant(now).unwrap()).unwrap();
            passed.iter().map(DateTime::timestamp_micros).collect::<Vec<_>>()
        };
        let two = ["2025-11-26", "2025-11-27"].map(due);
        assert_eq!(passed(Some(due("2025-11-25")), at("2025-11-27", 100)), two);
        // Where it ends at the very instant, that one is over, too.
        assert_eq!(passed(Some(due("2025-11-28")), due("2025-11-29")), [due("2025-11-29")]);
        assert_eq!(passed(Some(due("2025-11-25")), due("2025-11-25") + 1), Vec::<EventTime>::new());
        assert_eq!(passed(None, due("2025-11-25")), Vec::<EventTime>::new());
        // A clock that was set back, and one that was set years ahead.
        assert_eq!(passed(Some(due("2025-11-25")), due("2025-11-20")), Vec::<EventTime>::new());
        assert_eq!(passed(Some(due("2020-11-25")), due("2025-11-25")).len(), MOST_TOLD);
    }

    #[test]
    fn a_command_that_hangs_is_terminated() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended = |script: &str, limit: Duration| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            runtime.block_on(end_of(command, limit)).unwrap()
        };
        assert_eq!(ended("exec sleep 3600", Duration::from_millis(1)), Ended::TimedOut);
        for limit in [Duration::ZERO, Duration::from_hours(1)] {
            assert_eq!(ended("exit 3", limit), Ended::With(Some(3)));
            assert_eq!(ended("kill -9 $$", limit), Ended::With(None));
        }
    }

    #[test]
    fn whatever_did_not_go_well_is_told_unless_it_has_told_itself() {
        for command in ["maintain", "refresh", "quality", "report", "monitor"] {
            for well in [0, 99] {
                assert!(!Ended::With(Some(well)).is_told(command, || true), "{command}");
            }
            for ended in [Ended::With(Some(3)), Ended::With(None), Ended::TimedOut, Ended::NotRun] {
                assert!(ended.is_told(command, || true), "{command} {ended:?}");
            }
            for failed in [1, 2] {
                assert_eq!(
                    Ended::With(Some(failed)).is_told(command, || true),
                    command != "monitor"
                );
            }
            assert!(Ended::With(Some(2)).is_told(command, || false), "{command}");
        }
    }

    fn words(name: &'static str, config: Option<&str>, due: EventTime) -> String {
        let data = DataArgs {
            config: config.map(PathBuf::from),
            data_dir: Place::from(Path::new("hospital")),
        };
        let (program, out) = (PathBuf::from("healthcare"), PathBuf::from("pages"));
        let monitor = MonitorSection::default();
        let limit = Duration::ZERO;
        let run = Run { name, program: &program, data: &data, out: &out, limit, monitor: &monitor };
        let command = run.command(due).unwrap();
        let words = command.as_std().get_args().map(|word| word.to_string_lossy().into_owned());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn commands_about_a_day_get_the_day_before_and_those_that_write_get_a_folder() {
        let due = at("2025-11-25", 70);
        for (name, more) in [
            ("maintain", ""),
            ("monitor", ""),
            ("refresh", " --date 2025-11-24"),
            ("quality", " --date 2025-11-24 --out pages"),
            ("report", " --date 2025-11-24 --out pages"),
        ] {
            assert_eq!(words(name, None, due), format!("{name} --data-dir hospital{more}"));
            let settings = format!("{name} --data-dir hospital --config c.toml{more}");
            assert_eq!(words(name, Some("c.toml"), due), settings);
        }
        for (due, date) in [
            (at("2025-11-25", 0), "2025-11-24"),
            (at("2025-11-25", 0) - 1, "2025-11-23"),
            (at("2025-11-25", 1_439), "2025-11-24"),
            (at("2024-03-01", 10), "2024-02-29"),
            (at("2026-01-01", 10), "2025-12-31"),
        ] {
            assert!(words("refresh", None, due).ends_with(date), "{date}");
        }
    }
}
