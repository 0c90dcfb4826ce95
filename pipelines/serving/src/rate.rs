//! How often something may happen: a bucket that fills with time (that of a monotonic clock).

use std::time::Duration;

/// Tokens come back at a steady rate, up to a burst.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    left: f64,
    burst: f64,
    per_second: f64,
    at: Duration,
}

impl Bucket {
    pub(crate) fn new(per_second: f64, burst: f64, now: Duration) -> Self {
        Self { left: burst, burst, per_second, at: now }
    }

    /// Takes one, or says how long until there is one.
    pub(crate) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.burst);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.left) / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_per_interval() {
        let start = Duration::from_secs(9);
        let mut bucket = Bucket::new(2.0, 3.0, start);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(Duration::from_millis(500)));
        assert_eq!(bucket.take(start + Duration::from_millis(500)), Ok(()));
        assert!(bucket.take(start + Duration::from_millis(500)).is_err());
    }
}
