//! What seeded simulations share: dice, counters, which seeds are played and how, and who decides a checkpoint.
//!
//! What is played, what goes wrong in it and what an auditor finds is each simulation's own.

mod counters;
mod dice;
mod seeds;

pub use counters::Counted;
pub use dice::Dice;
pub use seeds::{Outcome, assert_exact, assert_noticed, assert_one_in, assert_repeated, seeds};

use crate::{Error, Result};

/// Puts a manifest behind the `decided` ones, if `number` is the next: whoever is first decides it.
pub fn decide<M>(decided: &mut Vec<M>, number: u64, manifest: M) -> Result<()> {
    if number != decided.len() as u64 + 1 {
        return Err(Error::fenced("another process has decided this checkpoint"));
    }
    decided.push(manifest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn the_first_decides_a_number() {
        let mut decided = Vec::new();
        decide(&mut decided, 1, "first").unwrap();
        assert_eq!(decide(&mut decided, 1, "second").unwrap_err().kind(), ErrorKind::Fenced);
        decide(&mut decided, 2, "third").unwrap();
        assert_eq!(decided, ["first", "third"]);
    }
}
