//! `healthcare run`: the main job.

use std::sync::Arc;

use clap::Args;
use thalweg_connectors::file::JsonLinesSource;
use thalweg_core::Result;
use thalweg_runtime::JobSummary;
use thalweg_runtime::cli::{RunArgs, run_job};
use thalweg_serving::audit::Action;

use super::JobArgs;
use super::act::Act;
use super::audit::Deed;
use super::dashboard::{self, DashboardArgs};
use super::demo::{self, Demo};
use super::input::{self, InputArgs};
use super::mirror::MirrorArgs;
use super::outcome::{Failure, usage};
use super::schedule::Schedule;
use crate::healthcare::alerts::rules::Rules;
use crate::healthcare::commands::DEFAULT_COMMANDS_TOPIC;
use crate::healthcare::config::{HealthcareConfig, KafkaSection};
use crate::healthcare::dashboard::Observed;
use crate::healthcare::dashboard::tap::Tap;
use crate::healthcare::graph::Sources;
use crate::healthcare::topics::Topics;

/// Arguments of `healthcare run`.
#[derive(Debug, Clone, Args)]
pub(super) struct RunCommand {
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    mirror: MirrorArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    dashboard: DashboardArgs,
}

impl RunCommand {
    pub(super) fn is_quiet(&self) -> bool {
        self.run.quiet
    }
}

/// Runs until the input ends, a limit is reached, or someone asks to stop.
pub(super) fn execute(command: &RunCommand) -> Result<(), Failure> {
    let mut config = command.job.data.load_config()?;
    command.mirror.apply(&mut config.mirror);
    command.input.apply(&mut config.kafka);
    config.runtime = command.run.apply(config.runtime);
    // What the file says was checked when it was read: what is wrong now was given here.
    let given = command.input.check(&config.kafka).and_then(|()| config.check());
    given.map_err(Failure::Usage)?;
    Topics::of(&config).map_err(usage)?;
    command.dashboard.check(&command.job.data.data_dir, command.run.quiet)?;
    if let Some(path) = &command.input.input {
        // At once, and before anything is created.
        JsonLinesSource::check(path).map_err(usage)?;
    }
    let is_demo = command.input.input.is_none() && config.kafka.bootstrap_servers.is_none();
    if is_demo {
        demo::check(&command.job)?;
    }
    let storage = command.job.checkpoints()?;
    let place = &command.job.data.data_dir;
    // What a demo does by itself is no deed of anybody.
    let act = Act::new(deed(&command.run), place, command.dashboard.audit_log())?;
    let mut run = command.run.clone();
    let mut demo = None;
    // Where events and commands come from: the brokers of the settings, or the demo's.
    let mut brokers = config.clone();
    if is_demo {
        // The broker forgets everything at exit: each such run is a new chain over the same tables, and whatever
        // it has read it flushes (P29).
        run.fresh = true;
        run.drain = true;
        // Its alerts can be answered, too, whatever the file says.
        let topic =
            brokers.alerts.commands_topic.get_or_insert_with(|| DEFAULT_COMMANDS_TOPIC.to_owned());
        let commands = config.alerts.enabled.then_some(topic.as_str());
        let started = Demo::start(run.events, commands, place)?;
        // Settings for a real cluster, its logins say, mean nothing to this broker, and nobody looks at the lag
        // of a group in it.
        let bootstrap_servers = Some(started.bootstrap_servers().to_owned());
        brokers.kafka = KafkaSection { bootstrap_servers, ..KafkaSection::default() };
        demo = Some(started);
    }
    let commands = input::commands(&brokers, command.input.input.is_none()).map_err(usage)?;
    let format = input::format(&config);
    let decoded = format.counters();
    let source = match &command.input.input {
        Some(path) => {
            let file = input::file(path, format, &config);
            if config.alerts.enabled && !input::is_one_piece(file.as_ref())? {
                tracing::warn!(
                    "no alerts are raised: a file of more than 16 MiB is read in pieces, side by side; split it, or send it to a topic"
                );
                config.alerts.enabled = false;
            }
            file
        }
        None => input::kafka(&brokers, format)?,
    };
    // With --fresh somebody has said that the demo's tables are theirs to go on with.
    if !run.fresh {
        demo::check_other(place, storage.as_ref(), source.as_ref()).map_err(Failure::Usage)?;
    }
    warn_of_ranges(&config)?;
    let wanted = command.dashboard.is_wanted(run.quiet);
    let tap = wanted.then(|| Tap::new(config.time.window));
    let sources = Sources { events: source, commands };
    let mut job = input::job(&config, &command.job, sources, storage, tap.as_ref())?;
    let mut served = None;
    if let Some(tap) = &tap {
        let metrics = Arc::default();
        let observed = Observed::graph(job.graph()).running(&metrics, tap).decoding(&decoded);
        let observed = observed.ahead(config.time.ahead);
        let answers = dashboard::answers(&brokers);
        served = command.dashboard.beside_job(place, observed, answers);
        job = job.metrics(metrics);
    }
    let schedule = Schedule::start(&command.job.data, &config.maintenance, |_| {})?;
    let result = act.perform(|| run_job(job, config.runtime.clone(), &run));
    drop(schedule);
    drop(served);
    let fed = demo.map_or(Ok(()), Demo::stop);
    let summary = result?;
    fed?;
    super::print(&render(&summary));
    Ok(())
}

/// The score cannot be as high as it should be where `[ranges]` take an end of a chart for impossible.
fn warn_of_ranges(config: &HealthcareConfig) -> Result<()> {
    let cut = Rules::new(config)?.cut_off(&config.ranges);
    if config.alerts.enabled && !cut.is_empty() {
        tracing::warn!(
            vitals = cut.join(", "),
            "[ranges] cut off an end of the chart of NEWS2: what lies there is not scored"
        );
    }
    Ok(())
}

/// What the audit log tells of a run that does not go on as the one before it.
fn deed(run: &RunArgs) -> Option<Deed> {
    let kind = match (run.fresh, run.adopt_tables) {
        (false, false) => return None,
        (true, false) => "fresh",
        (false, true) => "adopt",
        (true, true) => "fresh_adopt",
    };
    let mut deed = Deed::by_operator(Action::Chain);
    kind.clone_into(&mut deed.event.kind);
    Some(deed)
}

fn render(summary: &JobSummary) -> String {
    let read: u64 = summary.read.values().sum();
    let state = if summary.finished { "finished" } else { "stopped; run again to go on" };
    let mut text = format!(
        "{state}: {read} events, checkpoint {}, {:.1} s\n",
        summary.checkpoint,
        summary.elapsed.as_secs_f64()
    );
    for (sink, rows) in &summary.written {
        text.push_str(&format!("  {sink:<28} {rows:>12} rows\n"));
    }
    text
}
