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

    /// These took no longer than those of an earlier while did. Few are no measure, since whatever runs beside them shows:
    /// of shorter runs [`Turns`] tells.
    pub fn assert_as_short_as(self, early: Self) {
        if asked().is_none_or(|commits| commits < LONG) {
            return;
        }
        let millis = Duration::from_millis;
        let (p50, p99) = (early.p50 * 2 + millis(5), early.p99 * 3 + millis(50));
        assert!(self.p50 < p50 && self.p99 < p99, "{early:?} became {self:?}");
    }
}

/// How long commits took to what has many behind it and to what has none, in turns: a busy machine slows both.
#[derive(Debug, Default)]
pub struct Turns {
    pub old: Vec<Duration>,
    pub new: Vec<Duration>,
}

impl Turns {
    /// Those to what is old took no longer than the others.
    #[expect(clippy::print_stdout, reason = "the times are what a run of its own is for")]
    pub fn assert_as_short(mut self) {
        let (old, new) = (Times::take(&mut self.old), Times::take(&mut self.new));
        println!("in turns: old {old:?}, new {new:?}");
        assert!(old.p50 < new.p50 * 3 + Duration::from_millis(25), "old {old:?}, new {new:?}");
    }
}

/// Waits until something is so, a minute at most.
pub fn comes_true(is_so: impl Fn() -> bool) -> bool {
    (0..600).any(|_| {
        is_so() || {
            std::thread::park_timeout(Duration::from_millis(100));
            false
        }
    })
}

/// What the process holds.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub resident: u64,
    /// The most that was resident at any moment since [`Held::forget_peak`].
    pub peak: u64,
    pub descriptors: usize,
    pub threads: usize,
}

impl Held {
    pub fn now() -> Self {
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
        let [descriptors, threads] =
            ["fd", "task"].map(|what| fs::read_dir(format!("/proc/self/{what}")).unwrap().count());
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: u64 = peak.trim().trim_end_matches("kB").trim_end().parse().unwrap();
        Self { resident: pages * 4_096, peak: kilobytes << 10, descriptors, threads }
    }

    /// Counts the peak from now on. Where the system does not allow it, the peak only shows what goes beyond earlier ones.
    pub fn forget_peak() {
        drop(fs::write("/proc/self/clear_refs", "5"));
    }

    /// Whatever ran since `early`, no moment of it took a multiple of what is held at rest.
    pub fn assert_no_spike_since(self, early: Self) {
        assert!(self.peak < early.resident * 2 + (128 << 20), "{early:?} became {self:?}");
    }

    /// Allocators and thread pools take their share in the beginning, so `early` is not the very first.
    pub fn assert_resident_as_at(self, early: Self) {
        assert!(self.resident < early.resident * 3 / 2 + (64 << 20), "{early:?} became {self:?}");
    }
}
