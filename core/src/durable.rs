//! Create-if-absent on a local folder that survives a power cut (P20).
//!
//! `object_store` links files it has not synced; here a file is written under a temporary name, synced, hard-linked
//! to its name (which fails when the name exists), and every folder on the way that is new or changed is synced.
//! A failed sync is never retried on the same file: the kernel may have dropped the dirty pages already.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
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
    let folder = folder_of(path);
    create_folders(folder)?;
    let temporary = temporary_beside(path);
    let result = write_synced(&temporary, bytes)
        .and_then(|()| fs::hard_link(&temporary, path))
        .and_then(|()| sync_folder(folder));
    // The link is what counts; a leftover temporary name is swept at the next start.
    drop(fs::remove_file(&temporary));
    result
}

/// Writes `path` durably, replacing what is there at once (never half-written).
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    create_folders(folder)?;
    let temporary = temporary_beside(path);
    let result = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
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

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn temporary_beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unique = NEXT.fetch_add(1, Ordering::Relaxed);
    folder_of(path).join(format!("{TEMPORARY_PREFIX}{}-{unique}", std::process::id()))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
