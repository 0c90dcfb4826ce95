//! Which seeds a simulation plays, what must be true of them, and how one is played again.

use std::fmt::Debug;
use std::ops::Range;

use super::Counted;

/// What one seed led to.
#[derive(Debug)]
pub struct Outcome<C> {
    /// What the auditor found wrong.
    pub violations: Vec<String>,
    /// What happened.
    pub counters: C,
    /// A hash of all steps.
    pub trace: u64,
}

/// The seeds of this run: `THALWEG_SIM_SEEDS` of them, 200 by default, from `THALWEG_SIM_FIRST`, 0 by default.
pub fn seeds() -> Range<u64> {
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
    };
    let first: u64 = number("THALWEG_SIM_FIRST", 0);
    first..first.saturating_add(number("THALWEG_SIM_SEEDS", 200))
}

/// Plays the [`seeds`] of this run up to the first that something is wrong by, and says how that one is played again:
/// `test` is what `cargo test` must be told for the caller.
///
/// # Panics
///
/// If something is wrong, or if some counter is no more than one for every `often` seeds.
pub fn assert_exact<C: Counted>(test: &str, often: u64, play: impl Fn(u64) -> Outcome<C>) {
    assert_one_in(1, test, often, play);
}

/// As [`assert_exact`], of one seed in `share`: where a seed takes long.
///
/// # Panics
///
/// As [`assert_exact`].
#[expect(clippy::print_stdout, reason = "how much happened is the result of a long run")]
pub fn assert_one_in<C: Counted>(
    share: usize,
    test: &str,
    often: u64,
    play: impl Fn(u64) -> Outcome<C>,
) {
    let (mut all, mut played) = (C::default(), 0);
    for seed in seeds().step_by(share) {
        played += 1;
        let Outcome { violations, counters, .. } = play(seed);
        all.add(counters);
        assert!(
            violations.is_empty(),
            "seed {seed}: {violations:#?}\nplay it again: THALWEG_SIM_FIRST={seed} THALWEG_SIM_SEEDS=1 \
             cargo test {test}"
        );
    }
    println!("{played} seeds, {test}: {all:?}");
    let enough = played < 100 || all.least() > played / often;
    assert!(enough, "too little happened: {all:?}");
}

/// The same seed takes the same steps.
///
/// # Panics
///
/// If it does not.
pub fn assert_repeated<C>(play: impl Fn(u64) -> Outcome<C>) {
    for seed in 0..5 {
        let (a, b) = (play(seed), play(seed));
        assert_eq!(a.trace, b.trace, "seed {seed}");
    }
}

/// Plays `seeds` with `mutation`, which breaks something on purpose, until the auditor notices.
///
/// # Panics
///
/// If it does not.
#[expect(clippy::print_stdout, reason = "by which seed is the result")]
pub fn assert_noticed<M: Copy + Debug, C>(
    seeds: Range<u64>,
    mutation: M,
    play: impl Fn(u64, M) -> Outcome<C>,
) {
    let mut played = seeds.map(|seed| (seed, play(seed, mutation).violations));
    let noticed = played.find(|(_, violations)| !violations.is_empty());
    println!("{mutation:?} is noticed by {noticed:?}");
    assert!(noticed.is_some(), "nobody noticed {mutation:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::counters! {
        struct Counters {
            kills,
        }
    }

    fn outcome(wrong: bool) -> Outcome<Counters> {
        let violations = if wrong { vec!["a row is lost".to_owned()] } else { Vec::new() };
        Outcome { violations, counters: Counters { kills: 1 }, trace: 0 }
    }

    #[test]
    #[should_panic(expected = "THALWEG_SIM_SEEDS=1 cargo test -p somewhere")]
    fn a_seed_that_fails_says_how_it_is_played_again() {
        assert_exact("-p somewhere", 10, |_| outcome(true));
    }

    #[test]
    fn the_first_seed_that_notices_ends_the_search() {
        assert_noticed(0..u64::MAX, "nothing", |seed, _| outcome(seed == 3));
    }

    #[test]
    #[should_panic(expected = "nobody noticed")]
    fn a_mutation_that_nobody_notices_is_told() {
        assert_noticed(0..9, "nothing", |_, _| outcome(false));
    }
}
