//! `healthcare run`: the main job.

use clap::Args;
use thalweg_core::Result;
use thalweg_runtime::JobSummary;
use thalweg_runtime::cli::{RunArgs, run_job};

use super::DataArgs;
use super::demo::Demo;
use super::input::{self, InputArgs};
use super::mirror::MirrorArgs;
use super::schedule::Schedule;
use crate::healthcare::config::KafkaSection;
use crate::healthcare::mirror::Mirror;

/// Arguments of `healthcare run`.
#[derive(Debug, Clone, Args)]
pub(super) struct RunCommand {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    mirror: MirrorArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl RunCommand {
    pub(super) fn is_quiet(&self) -> bool {
        self.run.quiet
    }
}

/// Runs until the input ends, a limit is reached, or someone asks to stop.
pub(super) fn execute(command: &RunCommand) -> Result<()> {
    let mut config = command.data.load_config()?;
    command.mirror.apply(&mut config.mirror);
    command.input.apply(&mut config.kafka);
    Mirror::of(&config.mirror, &config.kafka)?;
    if let Some(path) = &command.input.input {
        input::check(path)?;
    }
    let storage = command.data.checkpoints()?;
    let mut run = command.run.clone();
    let mut demo = None;
    let source = match &command.input.input {
        Some(path) => input::file(&config, path),
        None if config.kafka.bootstrap_servers.is_some() => input::kafka(&config)?,
        None => {
            // The broker forgets everything at exit: each such run is a new chain over the same tables, and whatever
            // it has read it flushes (P29).
            run.fresh = true;
            run.drain = true;
            let started = Demo::start(run.events)?;
            let mut config = config.clone();
            // Settings for a real cluster, its logins say, mean nothing to this broker, and nobody looks at the lag
            // of a group in it.
            let bootstrap_servers = Some(started.bootstrap_servers().to_owned());
            config.kafka = KafkaSection { bootstrap_servers, ..KafkaSection::default() };
            let source = input::kafka(&config)?;
            demo = Some(started);
            source
        }
    };
    let job = input::job(&config, &command.data, source, storage)?;
    let job = run.configure(job, config.runtime.clone());
    let schedule = Schedule::start(&command.data, &config.maintenance)?;
    let result = run_job(job, &run);
    drop(schedule);
    let fed = demo.map_or(Ok(()), Demo::stop);
    let summary = result?;
    fed?;
    super::print(&render(&summary));
    Ok(())
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
