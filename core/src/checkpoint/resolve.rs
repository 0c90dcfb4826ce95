//! What an attempt to create an object means, and what a set of found manifests means.

use crate::{CheckpointId, Error, Result};

/// What was found under the name after an attempt to create it ended in `AlreadyExists`, a timeout or an error (P5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// Nothing.
    Absent,
    /// These bytes.
    Bytes(&'a [u8]),
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Ours is stored.
    Ours,
    /// Put the same bytes again.
    PutAgain,
    /// Another's is stored: we are fenced.
    Fenced,
}

/// Decides by what is stored, never by what the store answered.
pub fn resolve(ours: &[u8], found: Found<'_>) -> Resolution {
    match found {
        Found::Absent => Resolution::PutAgain,
        Found::Bytes(bytes) if bytes == ours => Resolution::Ours,
        Found::Bytes(_) => Resolution::Fenced,
    }
}

/// The newest manifest of a listing. Its parent is always retained (P1, P7). What lies further below, behind a hole, was
/// created where garbage had been collected, by a copy that woke up late and was fenced: the next collection takes it.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] when the newest one's parent is missing and an older one is there.
pub fn newest(numbers: &mut [CheckpointId]) -> Result<Option<CheckpointId>> {
    numbers.sort_unstable();
    match numbers {
        [.., low, high] if high.0 != low.0 + 1 => Err(Error::corrupt(format!(
            "checkpoint {} is missing between {low} and {high}: restore the folder from a backup",
            low.next()
        ))),
        _ => Ok(numbers.last().copied()),
    }
}

/// Which manifests may be deleted after `head` has passed its check: all but the newest `keep`, ascending (P7).
pub fn expired(numbers: &[CheckpointId], head: CheckpointId, keep: u64) -> Vec<CheckpointId> {
    let keep = keep.max(2);
    let mut old: Vec<CheckpointId> =
        numbers.iter().copied().filter(|n| n.0 + keep <= head.0).collect();
    old.sort_unstable();
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_bytes_are_ours() {
        assert_eq!(resolve(b"a", Found::Absent), Resolution::PutAgain);
        assert_eq!(resolve(b"a", Found::Bytes(b"a")), Resolution::Ours);
        assert_eq!(resolve(b"a", Found::Bytes(b"b")), Resolution::Fenced);
    }

    #[test]
    fn a_hole_between_manifests_is_corruption() {
        let mut holed = [CheckpointId(5), CheckpointId(2), CheckpointId(3)];
        assert!(newest(&mut holed).is_err());
        let mut left_over = [CheckpointId(6), CheckpointId(5), CheckpointId(2)];
        assert_eq!(newest(&mut left_over).unwrap(), Some(CheckpointId(6)));
        let mut dense = [CheckpointId(5), CheckpointId(4)];
        assert_eq!(newest(&mut dense).unwrap(), Some(CheckpointId(5)));
    }

    #[test]
    fn the_newest_two_are_always_kept() {
        let numbers: Vec<CheckpointId> = (0..6).map(CheckpointId).collect();
        let gone: Vec<u64> = expired(&numbers, CheckpointId(5), 0).iter().map(|n| n.0).collect();
        assert_eq!(gone, [0, 1, 2, 3]);
    }
}
