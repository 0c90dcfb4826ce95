//! What can be set about running a job. Settings are data; components are handed to the builder.

use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use thalweg_core::restart::RestartStrategy;

use crate::{disk, memory};

/// Whoever says less has left out the unit.
const LEAST: ByteSize = ByteSize::mib(1);

/// Reads the size of setting `name`, if there is one.
pub(crate) fn size<'de, D: Deserializer<'de>>(
    from: D,
    name: &str,
    example: &str,
) -> Result<Option<ByteSize>, D::Error> {
    let size = Option::<ByteSize>::deserialize(from)?;
    if size.is_some_and(|size| size < LEAST) {
        let shape = format!("{name} is a number and a unit, at least 1MiB: {example}");
        return Err(D::Error::custom(shape));
    }
    Ok(size)
}

/// How a job runs. None of it enters the graph's fingerprint: all may change between runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Subtasks per task. Default: the number of cores.
    pub parallelism: u32,
    /// Time between checkpoints. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub checkpoint_interval: Duration,
    /// Rows that may wait in one channel. Default 32768.
    pub channel_rows: u32,
    /// Manifests kept, at least 2. Default 20.
    pub keep_checkpoints: u64,
    /// Restarts in a row before giving up. Default 10.
    pub restart_attempts: u32,
    /// First pause before a restart; doubles each time up to 30 s. Default 200 ms.
    #[serde(with = "humantime_serde")]
    pub restart_delay: Duration,
    /// Threads for storage work. Default 2.
    pub io_threads: usize,
    /// Warn when a checkpoint takes longer than this. It is never skipped (P1). Default 30 s.
    #[serde(with = "humantime_serde")]
    pub slow_checkpoint: Duration,
    /// The job ends with [`thalweg_core::ErrorKind::ResourceExhausted`] when the process's resident memory stays above
    /// this, looked at once per checkpoint interval. Linux only. Default: no limit.
    #[serde(deserialize_with = "memory::limit", skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<ByteSize>,
    /// The job ends with [`thalweg_core::ErrorKind::ResourceExhausted`] when the volume that has its checkpoints has less
    /// than this left, looked at when an attempt begins and once per checkpoint interval. Default: no reserve.
    #[serde(deserialize_with = "disk::reserve", skip_serializing_if = "Option::is_none")]
    pub disk_reserve: Option<ByteSize>,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            parallelism: u32::try_from(cores).unwrap_or(1).min(32),
            checkpoint_interval: Duration::from_secs(1),
            channel_rows: 32_768,
            keep_checkpoints: 20,
            restart_attempts: 10,
            restart_delay: Duration::from_millis(200),
            io_threads: 2,
            slow_checkpoint: Duration::from_secs(30),
            memory_limit: None,
            disk_reserve: None,
        }
    }
}

impl Settings {
    /// The restart strategy that these settings ask for.
    pub fn restart_strategy(&self) -> RestartStrategy {
        if self.restart_attempts == 0 {
            return RestartStrategy::None;
        }
        RestartStrategy::ExponentialDelay {
            attempts: self.restart_attempts,
            initial: self.restart_delay,
            maximum: Duration::from_secs(30),
        }
    }
}
