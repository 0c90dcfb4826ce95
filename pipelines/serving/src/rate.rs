//! How often something may happen: a bucket that fills with time (that of a monotonic clock).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Addresses whose buckets are remembered.
const ADDRESSES: usize = 1_024;

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
        self.left = self.level(now);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.left) / self.per_second))
    }

    fn level(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        (self.left + passed * self.per_second).min(self.burst)
    }
}

/// A bucket for all, and a smaller one for each address: who has used up its own leaves the others theirs.
#[derive(Debug)]
pub(crate) struct Shares {
    all: Bucket,
    /// What an address begins with.
    fresh: Bucket,
    each: HashMap<IpAddr, Bucket>,
}

impl Shares {
    pub(crate) fn new(all: Bucket, each: Bucket) -> Self {
        Self { all, fresh: each, each: HashMap::new() }
    }

    /// Takes one for an address, or says how long until there is one.
    pub(crate) fn take(&mut self, from: IpAddr, now: Duration) -> Result<(), Duration> {
        if self.each.len() >= ADDRESSES && !self.each.contains_key(&from) {
            // A full bucket is as good as none.
            self.each.retain(|_, bucket| bucket.level(now) < bucket.burst);
        }
        if self.each.len() >= ADDRESSES && !self.each.contains_key(&from) {
            self.each.clear();
        }
        self.each.entry(from).or_insert_with(|| self.fresh.clone()).take(now)?;
        self.all.take(now)
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

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn who_has_used_up_its_share_leaves_the_others_theirs() {
        let start = Duration::from_secs(9);
        let mut shares = Shares::new(Bucket::new(2.0, 20.0, start), Bucket::new(1.0, 10.0, start));
        let mut taken = |from: u32, now: Duration| {
            (0..40).filter(|_| shares.take(address(from), now).is_ok()).count()
        };
        // The third finds nothing left of what there is for all.
        assert_eq!([1, 2, 3].map(|from| taken(from, start)), [10, 10, 0]);
        let later = start + Duration::from_secs(5);
        assert_eq!([1, 3, 4].map(|from| taken(from, later)), [5, 5, 0]);
    }

    #[test]
    fn addresses_that_are_remembered_have_an_end() {
        let start = Duration::from_secs(9);
        let plenty = Bucket::new(1e6, 1e6, start);
        let mut shares = Shares::new(plenty, Bucket::new(1.0, 2.0, start));
        let mut take = |from: u32, now: Duration| {
            let taken = shares.take(address(from), now).is_ok();
            (taken, shares.each.len())
        };
        for from in 0..1_024 {
            assert!(take(from, start).0);
        }
        assert_eq!(take(7, start), (true, 1_024));
        assert_eq!(take(7, start), (false, 1_024));
        // A second later the others have full ones again.
        let later = start + Duration::from_millis(1_001);
        assert_eq!(take(5_000, later), (true, 2));
        assert_eq!(take(7, later), (true, 2));
        assert_eq!(take(7, later), (false, 2));
        for from in 10_000..20_000 {
            let (taken, remembered) = take(from, later);
            assert!(taken && remembered <= 1_024, "{remembered}");
        }
    }
}
