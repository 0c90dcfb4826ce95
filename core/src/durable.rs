//! Create-if-absent on a local folder that survives a power cut (P20).
//!
//! `object_store` links files it has not synced; here a file is written under a temporary name, synced, hard-linked
//! to its name (which fails when the name exists), and every folder on the way that is new or changed is synced.
//! A failed sync is never retried on the same file: the kernel may have dropped the dirty pages already.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Prefix of temporary names; readers and listings skip them.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// Creates `path` with `bytes`, durably, only if nothing is there. Creates missing folders.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when the name is taken (what stands there is left as it is); anything else means
/// unknown: read the file and decide (P5).
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a/b");
/// thalweg_core::durable::create_new(&path, b"one")?;
/// let second = thalweg_core::durable::create_new(&path, b"two").unwrap_err();
/// assert_eq!(second.kind(), std::io::ErrorKind::AlreadyExists);
/// assert_eq!(std::fs::read(&path)?, b"one");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn create_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create_linked(path, bytes, hard_link)
}

fn hard_link(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(temporary, path)
}

/// `link` gives what stands under the first name the second one, if that is free.
fn create_linked(
    path: &Path,
    bytes: &[u8],
    link: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder_of(path);
    create_folders(folder)?;
    let (temporary, file) = open_beside(path)?;
    let result = write_synced(file, bytes)
        .and_then(|()| link(&temporary, path))
        .and_then(|()| sync_folder(folder));
    // The link is what counts; a leftover temporary name is swept at the next start.
    drop(fs::remove_file(&temporary));
    result
}

/// Writes `path` durably, replacing what is there at once (never half-written).
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    create_folders(folder)?;
    let (temporary, file) = open_beside(path)?;
    let result = write_synced(file, bytes).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        drop(fs::remove_file(&temporary));
    }
    result?;
    sync_folder(folder)
}

/// Syncs an existing file and the folders above it, up to and including `root`.
pub fn sync_file(path: &Path, root: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    let mut folder = folder_of(path);
    loop {
        sync_folder(folder)?;
        match folder.parent() {
            Some(parent) if folder != root && folder.starts_with(root) => folder = parent,
            _ => return Ok(()),
        }
    }
}

/// Creates a folder and its missing parents, each entry synced into its parent.
pub fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folders(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    folder.parent().map_or(Ok(()), |parent| {
        sync_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
    })
}

/// Syncs a folder's entries.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes temporary files that a crash left in `folder` (not below it).
pub fn sweep_temporaries(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A new file beside `path`, under a temporary name. Of several containers on one volume each may be process 1: what
/// tells their names apart is chosen at random.
fn open_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    static PROCESS: LazyLock<u64> = LazyLock::new(rand::random::<u64>);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unique = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{TEMPORARY_PREFIX}{:016x}-{unique}", *PROCESS);
    let temporary = folder_of(path).join(name);
    let file = open_new(&temporary)?;
    Ok((temporary, file))
}

/// Opens a file that is not there yet. That it is there is no word about the file that it is written for.
fn open_new(temporary: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(temporary).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => io::Error::other("a temporary name is taken"),
        _ => e,
    })
}

fn write_synced(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_file_of_another_is_never_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest");
        let (temporary, _file) = open_beside(&path).unwrap();
        fs::write(&temporary, b"another's").unwrap();
        let error = open_new(&temporary).unwrap_err();
        assert_ne!(error.kind(), io::ErrorKind::AlreadyExists, "that would be a word about `path`");
        assert_eq!(fs::read(&temporary).unwrap(), b"another's");
    }

    #[test]
    fn temporary_names_are_told_by_their_prefix_and_by_no_number_of_a_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest");
        let (first, _first) = open_beside(&path).unwrap();
        let (second, _second) = open_beside(&path).unwrap();
        assert_ne!(first, second);
        let own = format!("{TEMPORARY_PREFIX}{}-", std::process::id());
        for temporary in [&first, &second] {
            let name = temporary.file_name().unwrap().to_string_lossy().into_owned();
            assert!(name.starts_with(TEMPORARY_PREFIX) && !name.starts_with(&own), "{name}");
        }
        sweep_temporaries(folder.path()).unwrap();
        assert!(!first.exists() && !second.exists());
        create_new(&path, b"rows").unwrap();
        replace(&path, b"others").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"others");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary is left");
    }

    #[test]
    fn a_folder_without_hard_links_creates_nothing_and_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported] {
            let path = folder.path().join("manifest");
            let error = create_linked(&path, b"rows", |_, _| Err(kind.into())).unwrap_err();
            assert_eq!(error.kind(), kind, "what it is not: that the name is taken");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "not even a temporary");
    }
}
