//! What a target's memory of the newest checkpoint says about another one. Pure.

use crate::CheckpointId;

/// How a checkpoint stands to the newest one that its target remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not in yet: commit.
    Missing,
    /// In: nothing to do.
    Done,
    /// A later one is in: another instance owns the job.
    Fenced,
}

/// Where checkpoint `n` stands against the newest one that its target remembers, if it remembers any (P12).
pub fn standing(newest: Option<CheckpointId>, n: CheckpointId) -> Standing {
    match newest {
        Some(newest) if newest > n => Standing::Fenced,
        Some(newest) if newest == n => Standing::Done,
        _ => Standing::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_number_is_done() {
        let (one, two) = (CheckpointId(1), CheckpointId(2));
        assert_eq!(standing(None, one), Standing::Missing);
        assert_eq!(standing(Some(one), one), Standing::Done);
        assert_eq!(standing(Some(one), two), Standing::Missing);
        assert_eq!(standing(Some(two), one), Standing::Fenced);
    }
}
