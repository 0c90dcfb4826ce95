//! Maintenance beside the job, in its process, now and then.
//!
//! It has a thread and a runtime of its own and shares nothing with the job but the folder, so no checkpoint ever
//! waits for it. It may end at any point: a half-done merge is none, and the next run makes up for it.

use std::thread::JoinHandle;
use std::time::Duration;

use thalweg_connectors::delta::{Compaction, SAFE_RETENTION, Vacuum};
use thalweg_core::{Result, error};
use tokio::sync::oneshot;

use super::DataArgs;
use crate::healthcare::config::MaintenanceSection;
use crate::healthcare::maintain::{MaintainOptions, Maintained, maintain};

/// Threads that may read and write logs at once.
const BLOCKING_THREADS: usize = 4;

/// A running schedule; it ends when dropped.
#[derive(Debug)]
pub(super) struct Schedule {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Schedule {
    /// Starts it, unless the interval is zero. The first run comes after one interval: short runs never see it.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(data: &DataArgs, settings: &MaintenanceSection) -> Result<Option<Self>> {
        if settings.interval.is_zero() {
            return Ok(None);
        }
        let options = MaintainOptions {
            tables: Vec::new(),
            compaction: Compaction { min_files: settings.min_files, ..Compaction::default() },
            vacuum: Vacuum {
                retention: settings.retention.max(SAFE_RETENTION),
                ..Vacuum::default()
            },
        };
        let (data, interval) = (data.clone(), settings.interval);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("thalweg-maintain".to_owned())
            .spawn(move || run(&data, interval, &options, stopped))
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

fn run(
    data: &DataArgs,
    interval: Duration,
    options: &MaintainOptions,
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
            () = repeat(data, interval, options) => {}
        }
    });
    // A log that is being read just now would panic if its runtime went. The process is about to end: leave it that.
    std::mem::forget(runtime);
}

async fn repeat(data: &DataArgs, interval: Duration, options: &MaintainOptions) {
    loop {
        tokio::time::sleep(interval).await;
        match once(data, options).await {
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
    let checkpoints = data.checkpoints_read_only()?;
    let tell = |line: &str| tracing::debug!("{line}");
    maintain(&data.data_dir, checkpoints.as_ref(), options, &tell).await
}
