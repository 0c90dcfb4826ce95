//! A reserve of the disk: a clear end while there still is room for what has begun, instead of a full disk's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use serde::Deserializer;
use thalweg_core::checkpoint::manifest::SinkSnapshot;
use thalweg_core::{Error, ErrorKind, Result, error};

use crate::checkpoint::finish::Committers;
use crate::checkpoint::storage::CheckpointStorage;
use crate::settings::size;

/// Reads a reserve, if there is one.
pub(crate) fn reserve<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ByteSize>, D::Error> {
    size(from, "disk_reserve", "10GiB")
}

/// The local folders that the targets of `sinks` are in.
pub(crate) fn folders(committers: &Committers, sinks: &[SinkSnapshot]) -> BTreeSet<PathBuf> {
    let folder = |sink: &SinkSnapshot| {
        committers.0.get(sink.target.kind.as_str())?.folder(&sink.target.path)
    };
    sinks.iter().filter_map(folder).collect()
}

/// Looks at every volume that the job writes to: that of its checkpoints, and those of the `folders` of its targets.
/// One that several share is looked at as often. Blocking.
///
/// # Errors
/// [`ErrorKind::ResourceExhausted`] when less than the reserve is left on one of them; [`ErrorKind::InvalidConfig`]
/// where there is none; transient when a volume does not tell.
pub(crate) fn look(
    storage: &dyn CheckpointStorage,
    folders: &BTreeSet<PathBuf>,
    reserve: ByteSize,
) -> Result<()> {
    let checkpoints = storage.describe();
    let mut volumes = Vec::new();
    if let Some(free) = storage.free_bytes()? {
        volumes.push(Volume { place: checkpoints.clone(), free });
    }
    for folder in folders {
        volumes.push(Volume { place: folder.display().to_string(), free: free_bytes(folder)? });
    }
    judge(&checkpoints, &volumes, reserve)
}

/// Bytes that are left for this process on the volume of a folder. Blocking.
///
/// # Errors
/// The volume does not tell.
pub(crate) fn free_bytes(folder: &Path) -> Result<u64> {
    let volume = rustix::fs::statvfs(folder)
        .map_err(|e| error::io(format!("look at the disk of {}", folder.display()), e.into()))?;
    Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
}

/// What a volume has left, by a place on it.
struct Volume {
    place: String,
    free: u64,
}

/// Judges by the fullest; of one volume under several names, by the first, the checkpoints'.
fn judge(checkpoints: &str, volumes: &[Volume], reserve: ByteSize) -> Result<()> {
    let Some(fullest) = volumes.iter().min_by_key(|volume| volume.free) else {
        return Err(Error::config(format!(
            "disk_reserve needs a folder for checkpoints or tables, and this job, whose checkpoints are in \
             {checkpoints}, has none: leave it out"
        )));
    };
    if fullest.free >= reserve.0 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ResourceExhausted,
        format!(
            "the disk of {} has {} MiB left, less than disk_reserve, {reserve}: free some space or lower it, then \
             run again; the job goes on from its last checkpoint",
            fullest.place,
            fullest.free >> 20
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::storage::{LocalStorage, MemoryStorage};

    fn volume(place: &str, free: u64) -> Volume {
        Volume { place: place.to_owned(), free }
    }

    #[test]
    fn less_than_the_reserve_ends_the_job_and_says_what_to_do() {
        let reserve = ByteSize::mib(2);
        judge("here", &[volume("here", 2 << 20)], reserve).unwrap();
        judge("here", &[volume("here", u64::MAX)], reserve).unwrap();
        for free in [0, 1 << 20, (2 << 20) - 1] {
            let error = judge("here", &[volume("here", free)], reserve).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
            assert!(!error.kind().is_retryable());
            let told = error.to_string();
            assert!(told.contains(&format!("has {} MiB left", free >> 20)), "{told}");
            assert!(told.contains("2.0 MiB: free some space"), "{told}");
        }
    }

    #[test]
    fn one_volume_below_the_reserve_is_enough_and_is_named() {
        let reserve = ByteSize::mib(2);
        let (much, little) = (3 << 20, 1 << 20);
        for (volumes, named) in [
            (
                [volume("checkpoints", much), volume("tables", little)],
                "the disk of tables has 1 MiB",
            ),
            (
                [volume("checkpoints", little), volume("tables", much)],
                "the disk of checkpoints has 1",
            ),
            // The same disk twice.
            (
                [volume("checkpoints", little), volume("tables", little)],
                "the disk of checkpoints has",
            ),
        ] {
            let told = judge("checkpoints", &volumes, reserve).unwrap_err().to_string();
            assert!(told.contains(named), "{told}");
        }
        judge("checkpoints", &[volume("checkpoints", much), volume("tables", much)], reserve)
            .unwrap();
    }

    #[test]
    fn a_job_without_a_folder_cannot_have_a_reserve() {
        let error = judge("s3://bucket/job", &[], ByteSize::b(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("s3://bucket/job, has none"), "{error}");
    }

    #[test]
    fn folders_of_checkpoints_and_of_tables_are_looked_at_and_one_of_them_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let (local, memory) =
            (LocalStorage::open(folder.path()).unwrap(), MemoryStorage::default());
        assert!(local.free_bytes().unwrap().is_some_and(|free| free > 0));
        let (none, tables) = (BTreeSet::new(), BTreeSet::from([folder.path().to_owned()]));
        let cases: [(&dyn CheckpointStorage, _); 3] =
            [(&local, &none), (&memory, &tables), (&local, &tables)];
        for (storage, folders) in cases {
            look(storage, folders, ByteSize::b(1)).unwrap();
            let error = look(storage, folders, ByteSize::eb(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
            let place = folder.path().display().to_string();
            assert!(error.to_string().contains(&place), "{error}");
        }
        let error = look(&memory, &none, ByteSize::b(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        let gone = BTreeSet::from([folder.path().join("gone")]);
        assert!(look(&memory, &gone, ByteSize::b(1)).unwrap_err().kind().is_retryable());
    }

    #[test]
    fn a_reserve_has_a_unit() {
        let read = |text: &str| reserve(serde_json::Value::from(text));
        assert_eq!(read("512MiB").unwrap(), Some(ByteSize::mib(512)));
        let told = read("512").unwrap_err().to_string();
        assert!(told.contains("disk_reserve is a number and a unit"), "{told}");
    }
}
