//! Runs a job in the foreground: signals, time limit, progress.

use std::time::Duration;

use thalweg_core::graph::{JobGraph, NodeKind};
use thalweg_core::time::Clock;
use thalweg_core::{Result, error};

use super::args::RunArgs;
use super::progress::{EVERY, Progress};
use super::signals::Signals;
use crate::clock::SystemClock;
use crate::job::{JobBuilder, JobHandle, JobStopper, JobSummary};
use crate::settings::Settings;

/// How often the job is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Runs `job` by `settings`, before which goes what was given on the command line: until it ends by itself, `--duration` has
/// passed, or Ctrl-C or SIGTERM asks for a stop with a checkpoint. A second Ctrl-C ends the process at once: nothing is lost
/// by it, the next run recovers.
///
/// ```no_run
/// use thalweg_runtime::cli::{RunArgs, run_job};
/// use thalweg_runtime::{JobBuilder, Settings};
///
/// #[derive(clap::Parser)]
/// struct Pipeline {
///     #[command(flatten)]
///     run: RunArgs,
/// }
///
/// fn run(job: JobBuilder) -> thalweg_core::Result<()> {
///     let arguments: Pipeline = clap::Parser::parse();
///     let summary = run_job(job, Settings::default(), &arguments.run)?;
///     assert!(summary.attempts > 0);
///     Ok(())
/// }
/// ```
///
/// # Errors
/// What ended the job.
pub fn run_job(job: JobBuilder, settings: Settings, args: &RunArgs) -> Result<JobSummary> {
    let job = args.configure(job, settings);
    let sources = source_names(job.graph());
    let drain = args.drain;
    let handle = job.start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| error::io("listen for signals", e))?;
    let progress = (!args.quiet).then(|| Progress::new(sources));
    runtime.block_on(watch(&handle, args.duration, drain, progress));
    handle.join()
}

fn source_names(graph: &JobGraph) -> Vec<String> {
    let sources = graph.nodes().iter().filter(|n| matches!(n.kind, NodeKind::Source(_)));
    sources.map(|n| n.uid.to_string()).collect()
}

async fn watch(
    handle: &JobHandle,
    limit: Option<Duration>,
    drain: bool,
    mut progress: Option<Progress>,
) {
    let clock = SystemClock::default();
    let stopper = handle.stopper();
    let mut look = tokio::time::interval(LOOK);
    let mut draw = tokio::time::interval(EVERY);
    let mut signals = Signals::new();
    let mut asked = 0;
    let mut expired = false;
    while !handle.is_finished() {
        tokio::select! {
            () = signals.next() => {
                asked += 1;
                if asked > 1 {
                    leave();
                }
                tracing::info!("stopping with a checkpoint (once more to leave at once)");
                end(&stopper, drain);
            }
            _ = look.tick() => {
                if !expired && limit.is_some_and(|l| clock.monotonic() >= l) {
                    expired = true;
                    end(&stopper, drain);
                }
            }
            _ = draw.tick() => {
                if let Some(progress) = &mut progress {
                    progress.update(handle.metrics(), &clock);
                }
            }
        }
    }
}

fn end(stopper: &JobStopper, drain: bool) {
    if drain {
        stopper.drain();
    } else {
        stopper.stop();
    }
}

#[expect(clippy::exit, reason = "asked for twice; recovery is the normal way back")]
fn leave() -> ! {
    std::process::exit(130)
}
