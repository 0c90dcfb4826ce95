//! What long runs measure: how long commits take, and what the process holds.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "helpers of tests, of which each file uses a part"
)]

use std::fs;
use std::time::{Duration, Instant};

/// Whoever asks for so many commits gets a run that is long enough for narrow bounds: what the machine does besides evens
/// out.
const LONG: u64 = 10_000;

/// How many commits the environment asks for.
pub fn asked() -> Option<u64> {
    std::env::var("THALWEG_LONG_RUN").ok().map(|text| text.parse().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "the tests measure")]
pub fn now() -> Instant {
    Instant::now()
}

/// How long the commits of a while took.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub p50: Duration,
    pub p99: Duration,
}

impl Times {
    /// Takes the times of some commits out of `times`.
    pub fn take(times: &mut Vec<Duration>) -> Self {
        times.sort_unstable();
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        times.clear();
        Self { p50, p99 }
    }

    /// These took no longer than those of an earlier while did.
    pub fn assert_as_short_as(self, early: Self) {
        let millis = Duration::from_millis;
        let (p50, p99) = if asked().is_some_and(|commits| commits >= LONG) {
            (early.p50 * 2 + millis(5), early.p99 * 3 + millis(50))
        } else {
            // Few enough that whatever runs beside them shows.
            (early.p50 * 3 + millis(25), early.p99 * 4 + millis(400))
        };
        assert!(self.p50 < p50 && self.p99 < p99, "{early:?} became {self:?}");
    }
}

/// What the process holds.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub resident: u64,
    pub descriptors: usize,
    pub threads: usize,
}

impl Held {
    pub fn now() -> Self {
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
        let [descriptors, threads] =
            ["fd", "task"].map(|what| fs::read_dir(format!("/proc/self/{what}")).unwrap().count());
        Self { resident: pages * 4_096, descriptors, threads }
    }

    /// Allocators and thread pools take their share in the beginning, so `early` is not the very first.
    pub fn assert_resident_as_at(self, early: Self) {
        assert!(self.resident < early.resident * 3 / 2 + (64 << 20), "{early:?} became {self:?}");
    }
}
