//! Which seeds a simulation plays, and which is the first that something is wrong by.

use std::ops::Range;

/// The seeds of this run: `THALWEG_SIM_SEEDS` of them, 200 by default, from `THALWEG_SIM_FIRST`, 0 by default.
pub fn seeds() -> Range<u64> {
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
    };
    let first: u64 = number("THALWEG_SIM_FIRST", 0);
    first..first.saturating_add(number("THALWEG_SIM_SEEDS", 200))
}

/// The first seed by which `play` finds something wrong, and what; none behind it is played.
///
/// ```
/// use thalweg_core::testing::first_wrong;
/// let play = |seed| if seed == 3 { vec!["a row is lost".to_owned()] } else { Vec::new() };
/// assert_eq!(first_wrong(0..3, play), None);
/// assert_eq!(first_wrong(0..9, play), Some((3, vec!["a row is lost".to_owned()])));
/// ```
pub fn first_wrong(
    seeds: Range<u64>,
    mut play: impl FnMut(u64) -> Vec<String>,
) -> Option<(u64, Vec<String>)> {
    seeds.map(|seed| (seed, play(seed))).find(|(_, wrong)| !wrong.is_empty())
}
