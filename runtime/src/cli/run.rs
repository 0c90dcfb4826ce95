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

/// How often the job is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Runs until the job ends by itself, `--duration` has passed, or Ctrl-C or SIGTERM asks for a stop with a checkpoint.
/// A second Ctrl-C ends the process at once: nothing is lost by it, the next run recovers.
///
/// # Errors
/// What ended the job.
pub fn run_job(job: JobBuilder, args: &RunArgs) -> Result<JobSummary> {
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
