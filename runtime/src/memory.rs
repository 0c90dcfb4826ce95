//! A limit to the memory of the process: a clear end, from which the next run goes on, instead of the kernel's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thalweg_core::{Error, ErrorKind, Result};

/// Looks in a row that end the job: one peak is no reason to.
const LOOKS: u32 = 3;

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A number of bytes, more than none.
///
/// ```
/// use thalweg_runtime::memory::ByteSize;
/// let size: ByteSize = "512MiB".parse()?;
/// assert_eq!(size.bytes(), 512 << 20);
/// assert_eq!(size.to_string(), "512MiB");
/// assert!("512".parse::<ByteSize>().is_err(), "of what?");
/// # Ok::<(), thalweg_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(u64);

impl ByteSize {
    /// As a number.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::config("a size is a whole number above 0 and a unit: 512MiB, 4GiB");
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
        number.checked_mul(unit.1).filter(|bytes| *bytes > 0).map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for ByteSize {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, bytes)| self.0.is_multiple_of(*bytes));
        let (unit, bytes) = whole.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
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

    fn size(text: &str) -> ByteSize {
        text.parse().unwrap()
    }

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, bytes, shown) in [
            ("1B", 1, "1B"),
            (" 3 KiB ", 3 << 10, "3KiB"),
            ("2048MiB", 2 << 30, "2GiB"),
            ("10MB", 10_000_000, "10MB"),
            ("16777215TiB", 16_777_215 << 40, "16777215TiB"),
        ] {
            assert_eq!(size(text).bytes(), bytes, "{text}");
            assert_eq!(size(text).to_string(), shown);
            assert_eq!(size(shown), size(text));
        }
        for wrong in ["", "MiB", "0MiB", "5", "-1MiB", "1.5GiB", "4 gigs", "16777216TiB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_peak_is_let_pass_and_what_stays_ends_the_job() {
        let mut watch = MemoryWatch::new(size("2MiB"));
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
        assert!(error.to_string().contains("3 MiB") && error.to_string().contains("2MiB"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_is_looked_at() {
        let bytes = resident().unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
        let mut watch = MemoryWatch::new(size("1B"));
        assert!((1..LOOKS).all(|_| watch.look().is_ok()) && watch.look().is_err());
    }
}
