//! Maintenance beside the job, in its process, now and then.
//!
//! It has a thread and a runtime of its own and shares nothing with the job but the folder, so no checkpoint ever
//! waits for it. It may end at any point: a half-done merge is none, and the next run makes up for it.

use std::thread::JoinHandle;
use std::time::Duration;

use thalweg_connectors::delta::{Compaction, SAFE_RETENTION, Vacuum};
use thalweg_core::{Result, error};
use tokio::sync::oneshot;

use super::{DataArgs, checkpoints_beside};
use crate::healthcare::config::MaintenanceSection;
use crate::healthcare::maintain::{MaintainOptions, Maintained, maintain, tables};

/// Threads that may read and write logs at once.
const BLOCKING_THREADS: usize = 4;

/// A running schedule; it ends when dropped.
#[derive(Debug)]
pub struct Schedule {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Schedule {
    /// Starts it, unless the interval is zero. Small files are merged more often than the rest is done: readers open
    /// each. The first run comes after one interval: short runs never see it. `told` is what each run did.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        data: &DataArgs,
        settings: &MaintenanceSection,
        told: impl Fn(&Maintained) + Send + 'static,
    ) -> Result<Option<Self>> {
        if settings.interval.is_zero() {
            return Ok(None);
        }
        let options = MaintainOptions {
            compaction: Compaction { min_files: settings.min_files, ..Compaction::default() },
            vacuum: Some(Vacuum {
                retention: settings.retention.max(SAFE_RETENTION),
                ..Vacuum::default()
            }),
        };
        let (data, pace) = (data.clone(), Pace::of(settings));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("thalweg-maintain".to_owned())
            .spawn(move || run(&data, pace, &options, &told, stopped))
            .map_err(|e| error::io("start the maintenance thread", e))?;
        Ok(Some(Self { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It leaves at the next point where it waits. A panic of it was logged and concerns nobody else.
            drop(thread.join());
        }
    }
}

/// When what is done.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Time between two runs.
    step: Duration,
    /// One in so many does everything, the others merge.
    whole: u128,
}

impl Pace {
    fn of(settings: &MaintenanceSection) -> Self {
        let MaintenanceSection { interval, merge_interval, .. } = *settings;
        if merge_interval.is_zero() || merge_interval >= interval {
            return Self { step: interval, whole: 1 };
        }
        let whole = interval.as_nanos().div_ceil(merge_interval.as_nanos());
        Self { step: merge_interval, whole }
    }

    /// The one that comes after `before` others.
    fn is_whole(self, before: u128) -> bool {
        (before + 1).is_multiple_of(self.whole)
    }
}

fn run(
    data: &DataArgs,
    pace: Pace,
    options: &MaintainOptions,
    told: &dyn Fn(&Maintained),
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("thalweg-maintain")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(problem) => {
            tracing::warn!(error = %problem, "tables are not maintained: no threads");
            return;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            _ = stopped => {}
            () = repeat(data, pace, options, told) => {}
        }
    });
    // A log that is being read just now would panic if its runtime went. The process is about to end: leave it that.
    std::mem::forget(runtime);
}

async fn repeat(
    data: &DataArgs,
    pace: Pace,
    options: &MaintainOptions,
    told: &dyn Fn(&Maintained),
) {
    let merging = MaintainOptions { vacuum: None, ..options.clone() };
    for before in 0.. {
        tokio::time::sleep(pace.step).await;
        let options = if pace.is_whole(before) { options } else { &merging };
        let done = once(data, options).await.inspect(told);
        match done {
            Ok(done) if done.failed > 0 => tracing::warn!(
                failed = done.failed,
                tables = done.tables,
                "maintenance failed for some tables; `healthcare maintain` says why"
            ),
            Ok(done) => tracing::info!(
                files_before = done.files_before,
                files_after = done.files_after,
                vacuumed = done.vacuumed_files,
                "tables maintained"
            ),
            Err(problem) => {
                tracing::warn!(error = error::chain(&problem), "tables could not be maintained");
            }
        }
    }
}

async fn once(data: &DataArgs, options: &MaintainOptions) -> Result<Maintained> {
    let checkpoints = checkpoints_beside(&data.data_dir)?;
    let tell = |line: &str| tracing::debug!("{line}");
    let tables = tables(&data.data_dir, checkpoints.as_ref()).await?;
    maintain(&data.data_dir, checkpoints.as_ref(), &tables, options, &tell).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_in_an_interval_does_everything() {
        let pace = |interval, merge_interval| {
            let (interval, merge_interval) =
                (Duration::from_secs(interval), Duration::from_secs(merge_interval));
            Pace::of(&MaintenanceSection { interval, merge_interval, ..Default::default() })
        };
        let whole = |pace: Pace| (0..10).filter(|run| pace.is_whole(*run)).collect::<Vec<_>>();
        let often = pace(20, 5);
        assert_eq!((often.step, whole(often)), (Duration::from_secs(5), vec![3, 7]));
        for alike in [pace(20, 0), pace(20, 20), pace(20, 90)] {
            assert_eq!((alike.step, whole(alike).len()), (Duration::from_secs(20), 10));
        }
    }
}
