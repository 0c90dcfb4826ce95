//! What can be set about running a job. Settings are data; components are handed to the builder.

use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use thalweg_core::restart::RestartStrategy;
use thalweg_core::{Error, Result};

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

/// The coordinator's timers are no finer.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// How a job runs. None of it enters the graph's fingerprint: all may change between runs. What is out of range is refused,
/// by [`Settings::check`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Subtasks per task, 1 to the graph's number of key groups (128 unless it says otherwise). Default: the number of
    /// cores, 32 at most.
    pub parallelism: u32,
    /// Time between checkpoints, at least 1 ms. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub checkpoint_interval: Duration,
    /// Time from one checkpoint to the next while nothing happens, looked at once per `checkpoint_interval`: sinks then write
    /// again what their targets would forget of the job. Together with a Kafka sink's `marker_refresh` it must be less than
    /// the brokers' `offsets.retention.minutes`, which nobody compares. Default 1 h.
    #[serde(with = "humantime_serde")]
    pub idle_checkpoint_interval: Duration,
    /// Rows that may wait in one channel, at least 1, and as many KiB: a batch whose rows have more than 1 KiB on average counts
    /// as more of them. Default 32768.
    pub channel_rows: u32,
    /// Manifests kept, at least 2. Default 20.
    pub keep_checkpoints: u64,
    /// Restarts in a row before giving up; 0: none. Default 10.
    pub restart_attempts: u32,
    /// First pause before a restart; doubles each time up to 30 s. Default 200 ms.
    #[serde(with = "humantime_serde")]
    pub restart_delay: Duration,
    /// Threads for storage work, 2 to 256. Default 2.
    pub io_threads: usize,
    /// Warn when a checkpoint takes longer than this. It is never skipped (P1). Default 30 s.
    #[serde(with = "humantime_serde")]
    pub slow_checkpoint: Duration,
    /// The job ends with [`thalweg_core::ErrorKind::ResourceExhausted`] when the process's resident memory stays above
    /// this, looked at once per checkpoint interval. Linux only. Default: no limit.
    #[serde(deserialize_with = "memory::limit", skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<ByteSize>,
    /// The job ends with [`thalweg_core::ErrorKind::ResourceExhausted`] when a volume that has its checkpoints or one of
    /// its tables has less than this left, looked at when an attempt begins and once per checkpoint interval. Default: no
    /// reserve.
    #[serde(deserialize_with = "disk::reserve", skip_serializing_if = "Option::is_none")]
    pub disk_reserve: Option<ByteSize>,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            parallelism: u32::try_from(cores).unwrap_or(1).min(32),
            checkpoint_interval: Duration::from_secs(1),
            idle_checkpoint_interval: Duration::from_hours(1),
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
    /// Refuses what cannot work, and what would be something else without a word. `max_parallelism` is the graph's number
    /// of key groups, [`thalweg_core::graph::DEFAULT_MAX_PARALLELISM`] unless it says otherwise.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: one line with the setting and its range.
    pub fn check(&self, max_parallelism: u16) -> Result<()> {
        let wrong = |what: String| Err(Error::config(what));
        if !(1..=u32::from(max_parallelism)).contains(&self.parallelism) {
            return wrong(format!("parallelism must be 1 to {max_parallelism}"));
        }
        if self.checkpoint_interval < SHORTEST_INTERVAL {
            return wrong("checkpoint_interval must be at least 1ms".to_owned());
        }
        if self.channel_rows == 0 {
            return wrong("channel_rows must be at least 1".to_owned());
        }
        if self.keep_checkpoints < 2 {
            return wrong("keep_checkpoints must be at least 2".to_owned());
        }
        if !(2..=256).contains(&self.io_threads) {
            return wrong("io_threads must be 2 to 256".to_owned());
        }
        Ok(())
    }

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

#[cfg(test)]
mod tests {
    use thalweg_core::ErrorKind;

    use super::*;

    #[test]
    fn what_is_out_of_range_is_refused_by_name_and_range() {
        let usual = Settings::default;
        let brief = Duration::from_micros(999);
        for (wrong, told) in [
            (Settings { parallelism: 0, ..usual() }, "parallelism must be 1 to 128"),
            (Settings { parallelism: 129, ..usual() }, "parallelism must be 1 to 128"),
            (
                Settings { checkpoint_interval: brief, ..usual() },
                "checkpoint_interval must be at least 1ms",
            ),
            (Settings { channel_rows: 0, ..usual() }, "channel_rows must be at least 1"),
            (Settings { keep_checkpoints: 1, ..usual() }, "keep_checkpoints must be at least 2"),
            (Settings { io_threads: 1, ..usual() }, "io_threads must be 2 to 256"),
            (Settings { io_threads: 257, ..usual() }, "io_threads must be 2 to 256"),
        ] {
            let error = wrong.check(128).unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (ErrorKind::InvalidConfig, told)
            );
        }
        usual().check(128).unwrap();
        let least = Settings {
            parallelism: 1,
            checkpoint_interval: SHORTEST_INTERVAL,
            channel_rows: 1,
            keep_checkpoints: 2,
            ..usual()
        };
        least.check(128).unwrap();
        Settings { parallelism: 200, io_threads: 256, ..usual() }.check(200).unwrap();
    }
}
