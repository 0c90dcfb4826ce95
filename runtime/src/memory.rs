//! A limit to the memory of the process: a clear end, from which the next run goes on, instead of the kernel's.

use bytesize::ByteSize;
use serde::Deserializer;
use thalweg_core::{Error, ErrorKind, Result};

use crate::settings::size;

/// Looks in a row that end the job: one peak is no reason to.
const LOOKS: u32 = 3;

/// Reads a limit, if there is one.
pub(crate) fn limit<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ByteSize>, D::Error> {
    size(from, "memory_limit", "4GiB")
}

/// Watches the process for a job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryWatch {
    limit: ByteSize,
    above: u32,
}

impl MemoryWatch {
    pub(crate) fn new(limit: ByteSize) -> Self {
        Self { limit, above: 0 }
    }

    /// Looks at the process.
    ///
    /// # Errors
    /// As [`MemoryWatch::judge`]; [`ErrorKind::InvalidConfig`] where the system does not tell.
    pub(crate) fn look(&mut self) -> Result<()> {
        let resident = resident().ok_or_else(|| {
            Error::config(
                "memory_limit needs Linux's /proc, which cannot be read here: leave it out",
            )
        })?;
        self.judge(resident)
    }

    /// Takes note of the bytes in memory at one look.
    ///
    /// # Errors
    /// [`ErrorKind::ResourceExhausted`] once they have stayed above the limit.
    fn judge(&mut self, resident: u64) -> Result<()> {
        self.above = if resident > self.limit.0 { self.above + 1 } else { 0 };
        if self.above < LOOKS {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "the process holds {} MiB of memory, and has stayed above memory_limit, {}: raise it, or lower \
                 parallelism or channel_rows, then run again; the job goes on from its last checkpoint",
                resident >> 20,
                self.limit
            ),
        ))
    }
}

/// Bytes of this process in memory, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_a_unit_and_room_for_a_job() {
        let read = |text: &str| limit(serde_json::Value::from(text));
        assert_eq!(read("512MiB").unwrap(), Some(ByteSize::mib(512)));
        assert_eq!(read("4 GB").unwrap(), Some(ByteSize::gb(4)));
        for wrong in ["", "MiB", "0MiB", "512", "-1MiB", "1023KiB", "4 gigs", "1e99TiB"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_peak_is_let_pass_and_what_stays_ends_the_job() {
        let mut watch = MemoryWatch::new(ByteSize::mib(2));
        for _ in 0..10 {
            watch.judge(3 << 20).unwrap();
            watch.judge(5 << 20).unwrap();
            watch.judge(2 << 20).unwrap();
        }
        watch.judge(3 << 20).unwrap();
        watch.judge(3 << 20).unwrap();
        let error = watch.judge(3 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(!error.kind().is_retryable());
        assert!(error.to_string().contains("3 MiB") && error.to_string().contains("2.0 MiB"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_is_looked_at() {
        let bytes = resident().unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
        let mut watch = MemoryWatch::new(ByteSize::b(1));
        assert!((1..LOOKS).all(|_| watch.look().is_ok()) && watch.look().is_err());
    }
}
