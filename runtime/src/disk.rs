//! A reserve of the disk: a clear end while there still is room for what has begun, instead of a full disk's.

use bytesize::ByteSize;
use serde::Deserializer;
use thalweg_core::{Error, ErrorKind, Result};

use crate::checkpoint::storage::CheckpointStorage;
use crate::settings::size;

/// Reads a reserve, if there is one.
pub(crate) fn reserve<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ByteSize>, D::Error> {
    size(from, "disk_reserve", "10GiB")
}

/// Looks at the volume that has the checkpoints. Blocking.
///
/// # Errors
/// [`ErrorKind::ResourceExhausted`] when less than the reserve is left; [`ErrorKind::InvalidConfig`] where there is no
/// volume; transient when the volume does not tell.
pub(crate) fn look(storage: &dyn CheckpointStorage, reserve: ByteSize) -> Result<()> {
    let place = storage.describe();
    let free = storage.free_bytes()?.ok_or_else(|| {
        Error::config(format!(
            "disk_reserve needs a data folder, and {place} is none: leave it out"
        ))
    })?;
    judge(&place, free, reserve)
}

fn judge(place: &str, free: u64, reserve: ByteSize) -> Result<()> {
    if free >= reserve.0 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ResourceExhausted,
        format!(
            "the disk of {place} has {} MiB left, less than disk_reserve, {reserve}: free some space or lower it, then \
             run again; the job goes on from its last checkpoint",
            free >> 20
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::storage::{LocalStorage, MemoryStorage};

    #[test]
    fn less_than_the_reserve_ends_the_job_and_says_what_to_do() {
        let reserve = ByteSize::mib(2);
        judge("here", 2 << 20, reserve).unwrap();
        judge("here", u64::MAX, reserve).unwrap();
        for free in [0, 1 << 20, (2 << 20) - 1] {
            let error = judge("here", free, reserve).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
            assert!(!error.kind().is_retryable());
            let told = error.to_string();
            assert!(told.contains(&format!("has {} MiB left", free >> 20)), "{told}");
            assert!(told.contains("2.0 MiB: free some space"), "{told}");
        }
    }

    #[test]
    fn a_folder_has_a_disk_and_memory_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalStorage::open(folder.path()).unwrap();
        assert!(local.free_bytes().unwrap().is_some_and(|free| free > 0));
        look(&local, ByteSize::b(1)).unwrap();
        assert_eq!(look(&local, ByteSize::eb(1)).unwrap_err().kind(), ErrorKind::ResourceExhausted);
        let error = look(&MemoryStorage::default(), ByteSize::b(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }

    #[test]
    fn a_reserve_has_a_unit() {
        let read = |text: &str| reserve(serde_json::Value::from(text));
        assert_eq!(read("512MiB").unwrap(), Some(ByteSize::mib(512)));
        let told = read("512").unwrap_err().to_string();
        assert!(told.contains("disk_reserve is a number and a unit"), "{told}");
    }
}
