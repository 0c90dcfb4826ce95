//! A seed's dice, and a trace of what came of them.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What is thrown, and in which order, is all that a seed stands for.
#[derive(Debug)]
pub struct Dice {
    random: StdRng,
    /// Whether anything goes wrong, or is slow.
    pub faulty: bool,
    /// A hash of what happened: the same for the same seed.
    pub trace: u64,
}

impl Dice {
    /// Those of `seed`; `salt` tells simulations apart.
    pub fn new(seed: u64, salt: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed ^ salt), faulty: true, trace: seed }
    }

    /// A number below `below`, out of 64 bits.
    pub fn choose(&mut self, below: u64) -> u64 {
        self.random.random_range(0..below.max(1))
    }

    /// A number below `sides`, out of 32 bits: which fault it is. Nothing is thrown while there are none.
    pub fn fault(&mut self, sides: u32) -> Option<u32> {
        self.faulty.then(|| self.random.random_range(0..sides))
    }

    /// How long a request takes; one in `slow` hangs.
    pub fn delay(&mut self, slow: u64) -> Duration {
        if !self.faulty {
            return Duration::from_millis(1);
        }
        let millis = match self.random.random_range(0..slow) {
            0 => self.random.random_range(1_000..=30_000),
            1 => self.random.random_range(100..3_000),
            _ => self.random.random_range(0..20),
        };
        Duration::from_millis(millis)
    }

    /// A request enters the trace: when, by whom, what, and what comes of it.
    pub fn note(&mut self, now: Duration, process: u64, what: u64, fault: u64) {
        for part in [now.as_micros() as u64, process, what, fault] {
            self.trace = (self.trace ^ part).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds that found something are known by their numbers: nothing else may be thrown for them.
    #[test]
    fn what_is_thrown_for_a_seed_stays() {
        let (mut dice, mut random) = (Dice::new(7, 0x5eed), StdRng::seed_from_u64(7 ^ 0x5eed));
        for _ in 0..100 {
            assert_eq!(dice.choose(8_000), random.random_range(0..8_000_u64));
            assert_eq!(dice.fault(80), Some(random.random_range(0..80_i32) as u32));
            let millis = match random.random_range(0..3_u64) {
                0 => random.random_range(1_000..=30_000_u64),
                1 => random.random_range(100..3_000_u64),
                _ => random.random_range(0..20_u64),
            };
            assert_eq!(dice.delay(3), Duration::from_millis(millis));
            assert_eq!(100 + dice.choose(2_900), random.random_range(100..3_000_u64));
        }
    }

    #[test]
    fn nothing_is_thrown_without_faults() {
        let (mut dice, mut fresh) = (Dice::new(7, 0), Dice::new(7, 0));
        dice.faulty = false;
        assert_eq!((dice.fault(80), dice.delay(100)), (None, Duration::from_millis(1)));
        assert_eq!(dice.choose(u64::MAX), fresh.choose(u64::MAX));
    }
}
