//! `healthcare run`: the main job.

use std::sync::Arc;

use clap::Args;
use thalweg_core::{ErrorKind, Result};
use thalweg_runtime::cli::{RunArgs, init_logging, run_job};
use thalweg_runtime::{CheckpointStorage, JobSummary, LocalStorage};

use super::DataArgs;
use super::demo::Demo;
use super::input::{self, DEFAULT_TOPIC, InputArgs};

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

/// Runs until the input ends, a limit is reached, or someone asks to stop.
pub(super) fn execute(command: &RunCommand) -> Result<()> {
    init_logging(command.run.quiet);
    let config = command.data.load_config()?;
    let storage: Arc<dyn CheckpointStorage> =
        Arc::new(LocalStorage::open(command.data.checkpoint_dir())?);
    let mut run = command.run.clone();
    let mut demo = None;
    let source = match (&command.input.bootstrap_servers, &command.input.input) {
        (Some(servers), _) => {
            let topic = command.input.topic.as_deref().unwrap_or(DEFAULT_TOPIC);
            input::kafka(&config, servers, topic, command.input.start)
        }
        (None, Some(path)) => input::file(&config, path),
        (None, None) => {
            // The broker forgets everything at exit: each such run is a new chain over the same tables, and whatever
            // it has read it flushes (P29).
            run.fresh = true;
            run.drain = true;
            let started = Demo::start(&config, run.events)?;
            let source =
                input::kafka(&config, started.bootstrap_servers(), DEFAULT_TOPIC, None);
            demo = Some(started);
            source
        }
    };
    let job = input::job(&config, &command.data, source, storage)?;
    let job = run.configure(job, config.run.clone());
    let result = run_job(job, &run);
    drop(demo);
    let summary = result.map_err(explain)?;
    super::print(&render(&summary));
    Ok(())
}

/// Being fenced is no fault of this process; it still has to say why it stops.
fn explain(error: thalweg_core::Error) -> thalweg_core::Error {
    if error.kind() == ErrorKind::Fenced {
        tracing::debug!("fenced");
    }
    error
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
