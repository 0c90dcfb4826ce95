//! `healthcare run`: the main job.

use std::sync::Arc;

use clap::Args;
use thalweg_core::Result;
use thalweg_runtime::cli::{RunArgs, run_job};
use thalweg_runtime::{CheckpointStorage, JobSummary, LocalStorage};

use super::DataArgs;
use super::demo::Demo;
use super::input::{self, InputArgs};
use super::schedule::Schedule;
use crate::healthcare::config::KafkaSection;

/// Arguments of `healthcare run`.
#[derive(Debug, Clone, Args)]
pub(super) struct RunCommand {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    input: InputArgs,
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
    let config = command.data.load_config()?;
    if let Some(path) = &command.input.input {
        input::check(path)?;
    }
    let storage: Arc<dyn CheckpointStorage> =
        Arc::new(LocalStorage::open(command.data.checkpoint_dir())?);
    let mut run = command.run.clone();
    let mut demo = None;
    let source = match (&command.input.bootstrap_servers, &command.input.input) {
        (Some(servers), _) => {
            input::kafka(&config, servers, command.input.topic.as_deref(), command.input.start)?
        }
        (None, Some(path)) => input::file(&config, path),
        (None, None) if config.kafka.bootstrap_servers.is_some() => {
            let servers = config.kafka.bootstrap_servers.as_deref().unwrap_or_default();
            input::kafka(&config, servers, None, None)?
        }
        (None, None) => {
            // The broker forgets everything at exit: each such run is a new chain over the same tables, and whatever
            // it has read it flushes (P29).
            run.fresh = true;
            run.drain = true;
            let started = Demo::start(run.events)?;
            let mut config = config.clone();
            // Settings for a real cluster, its logins say, mean nothing to this broker, and nobody looks at the lag
            // of a group in it.
            config.kafka = KafkaSection { group_id: None, ..KafkaSection::default() };
            let source = input::kafka(&config, started.bootstrap_servers(), None, None)?;
            demo = Some(started);
            source
        }
    };
    let job = input::job(&config, &command.data, source, storage)?;
    let job = run.configure(job, config.runtime.clone());
    let schedule = Schedule::start(&command.data.data_dir, &config.maintenance)?;
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
