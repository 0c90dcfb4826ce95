//! Where manifests and state files live. The one thing a store must be able to do is create-if-absent (P9).

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};

use thalweg_core::checkpoint::resolve::{Found, Resolution, resolve};
use thalweg_core::{Error, Result, durable, error, failpoint};

use crate::disk;

/// What came of an attempt to create an object.
#[derive(Debug)]
pub enum Created {
    /// It is stored and ours.
    Yes,
    /// Another object has the name.
    Exists,
    /// Unclear: read and decide.
    Unknown(Error),
    /// What stands there cannot be relied on, and trying again would not show it: a sync failed (P20).
    Failed(Error),
}

/// A store of small immutable objects. Blocking; called on the I/O runtime.
pub trait CheckpointStorage: Send + Sync + Debug {
    /// For people: where it is.
    fn describe(&self) -> String;
    /// Creates `name` durably if nothing has that name.
    fn create(&self, name: &str, bytes: &[u8]) -> Created;
    /// Makes sure that an object that can be read survives a power cut; of one that is gone its reader tells.
    fn sync(&self, name: &str) -> Result<()>;
    /// The object's bytes; `None` when there is none.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>>;
    /// All names below a folder (`""` for the top), without the folder's name; no order.
    fn list(&self, folder: &str) -> Result<Vec<String>>;
    /// Removes an object; gone already is fine.
    fn delete(&self, name: &str) -> Result<()>;
    /// Bytes that are left for this process on the volume; `None` where there is no volume.
    fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// How often an unclear outcome is read and put again before the attempt fails.
const TRIES: u32 = 4;

/// Creates `name`, resolving every unclear outcome by reading (P5).
///
/// # Errors
/// [`thalweg_core::ErrorKind::Fenced`] when another object has the name; transient when the store stays unclear.
pub fn create_resolved(storage: &dyn CheckpointStorage, name: &str, bytes: &[u8]) -> Result<()> {
    let mut last = None;
    for _ in 0..TRIES {
        match answered(storage, name, bytes) {
            Created::Yes => return Ok(()),
            Created::Exists => {}
            Created::Unknown(error) => {
                tracing::warn!(name, %error, "whether it was created is unclear; reading it");
                last = Some(error);
            }
            Created::Failed(error) => return Err(error),
        }
        let found = match storage.read(name) {
            Ok(found) => found,
            Err(error) => {
                last = Some(error);
                continue;
            }
        };
        match resolve(bytes, found.as_deref().map_or(Found::Absent, Found::Bytes)) {
            Resolution::Ours => return Ok(()),
            Resolution::PutAgain => {}
            Resolution::Fenced => {
                return Err(Error::fenced(format!(
                    "another process owns this job: {name} was written by it; this one stops"
                )));
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::transient(format!("{name} can neither be created nor read"))))
}

/// Creates `name`, unless a test loses the answer.
fn answered(storage: &dyn CheckpointStorage, name: &str, bytes: &[u8]) -> Created {
    let kind = name.split_once('/').map_or("manifest", |(folder, _)| folder);
    match storage.create(name, bytes) {
        Created::Yes => {
            failpoint::hit_at("put.answer", kind).map_or_else(Created::Unknown, |()| Created::Yes)
        }
        other => other,
    }
}

/// A folder on a local disk, locked for this process.
///
/// NFS, FUSE and replicated folders are unsupported: create-if-absent is a hard link here.
#[derive(Debug)]
pub struct LocalStorage {
    root: PathBuf,
    /// Held for its lock, which dies with the process. The lock is a courtesy, the manifests are the safety.
    _lock: File,
}

impl LocalStorage {
    /// Opens or creates the folder, takes its lock and probes create-if-absent (P9).
    ///
    /// # Errors
    /// Another process holds the lock, or the folder lacks hard links or cannot be written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let shown = root.display().to_string();
        durable::create_folders(&root).map_err(|e| error::io(format!("create {shown}"), e))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join(".lock"))
            .map_err(|e| error::io(format!("open the lock in {shown}"), e))?;
        if let Err(failure) = lock.try_lock() {
            return Err(match failure {
                fs::TryLockError::WouldBlock => Error::new(
                    thalweg_core::ErrorKind::InvalidConfig,
                    format!(
                        "another process is running on {shown}: stop it, or use another data folder"
                    ),
                ),
                fs::TryLockError::Error(e) => error::io(format!("lock {shown}"), e),
            });
        }
        let storage = Self { root, _lock: lock };
        storage.sweep()?;
        storage.probe()?;
        Ok(storage)
    }

    /// Opens an existing folder for reading, without the lock: for `checkpoints list` beside a running job.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn open_read_only(root: impl Into<PathBuf>) -> Result<ReadOnlyStorage> {
        let root = root.into();
        if !root.is_dir() {
            return Err(Error::config(format!(
                "there are no checkpoints in {}: name the data folder of a job that has run",
                root.display()
            )));
        }
        Ok(ReadOnlyStorage { root })
    }

    fn sweep(&self) -> Result<()> {
        for folder in [self.root.clone(), self.root.join("state")] {
            durable::sweep_temporaries(&folder)
                .map_err(|e| error::io(format!("clean up {}", folder.display()), e))?;
        }
        Ok(())
    }

    fn probe(&self) -> Result<()> {
        let name = format!("probe-{}", uuid::Uuid::new_v4());
        let first = self.create(&name, b"first");
        let second = self.create(&name, b"second");
        let content = self.read(&name);
        let path = self.root.join(&name);
        let judged = judged([first, second], content, &self.describe(), || {
            durable::replace(&path, b"third").is_ok()
        });
        self.delete(&name)?;
        judged
    }
}

/// What a folder showed when the same name was created twice there, by `first` and `second`. `writes`: whether a file can be
/// written that needs no link. Where it can, a creation that failed was the link's: what systems answer then, that it is not
/// permitted, says nothing of links.
fn judged(
    [first, second]: [Created; 2],
    content: Result<Option<Vec<u8>>>,
    shown: &str,
    writes: impl Fn() -> bool,
) -> Result<()> {
    let unfit = Error::config(format!(
        "{shown} cannot create a file only if it is absent (hard links are needed): use a local disk"
    ));
    match (first, second, content) {
        (Created::Yes, Created::Exists, Ok(Some(bytes))) if bytes == b"first" => Ok(()),
        (Created::Unknown(error) | Created::Failed(error), _, _) if writes() => {
            Err(unfit.with_source(error))
        }
        (Created::Unknown(error) | Created::Failed(error), _, _) => Err(error),
        _ => Err(unfit),
    }
}

fn read_at(root: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    match fs::read(root.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == Io::NotFound => Ok(None),
        Err(e) => Err(error::io(format!("read {}", root.join(name).display()), e)),
    }
}

fn list_at(root: &Path, folder: &str) -> Result<Vec<String>> {
    let path = root.join(folder);
    let failed = |e| error::io(format!("list {}", path.display()), e);
    let entries = match fs::read_dir(&path) {
        Err(e) if e.kind() == Io::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    Ok(names)
}

impl CheckpointStorage for LocalStorage {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Created {
        match durable::create_new(&self.root.join(name), bytes) {
            Ok(()) => Created::Yes,
            Err(e) if e.kind() == Io::AlreadyExists => Created::Exists,
            Err(e) => Created::Failed(error::io(format!("write {name} in {}", self.describe()), e)),
        }
    }

    fn sync(&self, name: &str) -> Result<()> {
        match durable::sync_file(&self.root.join(name), &self.root) {
            Err(e) if e.kind() != Io::NotFound => {
                Err(error::io(format!("sync {name} in {}", self.describe()), e))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        read_at(&self.root, name)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        list_at(&self.root, folder)
    }

    fn delete(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.root.join(name)) {
            Err(e) if e.kind() != Io::NotFound => {
                Err(error::io(format!("delete {name} in {}", self.describe()), e))
            }
            _ => Ok(()),
        }
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        disk::free_bytes(&self.root).map(Some)
    }
}

/// A checkpoint folder that is only looked at.
#[derive(Debug)]
pub struct ReadOnlyStorage {
    root: PathBuf,
}

impl CheckpointStorage for ReadOnlyStorage {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn create(&self, name: &str, _bytes: &[u8]) -> Created {
        Created::Failed(Error::internal(format!("{name}: this store is read-only")))
    }

    fn sync(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        read_at(&self.root, name)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        list_at(&self.root, folder)
    }

    fn delete(&self, name: &str) -> Result<()> {
        Err(Error::internal(format!("{name}: this store is read-only")))
    }
}

/// Keeps everything in memory: for examples and tests, whose chains end with the process.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    objects: dashmap::DashMap<String, Vec<u8>>,
}

impl CheckpointStorage for MemoryStorage {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Created {
        match self.objects.entry(name.to_owned()) {
            dashmap::Entry::Occupied(_) => Created::Exists,
            dashmap::Entry::Vacant(entry) => {
                entry.insert(bytes.to_vec());
                Created::Yes
            }
        }
    }

    fn sync(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.objects.get(name).map(|o| o.value().clone()))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        Ok(self
            .objects
            .iter()
            .filter_map(|o| o.key().strip_prefix(&prefix).map(str::to_owned))
            .filter(|name| !name.contains('/'))
            .collect())
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.objects.remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_second_process_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let _first = LocalStorage::open(folder.path()).unwrap();
        let second = LocalStorage::open(folder.path()).unwrap_err();
        assert!(second.to_string().contains("another process"), "{second}");
    }

    #[test]
    fn the_second_creator_of_a_name_is_fenced_and_the_first_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(folder.path()).unwrap();
        create_resolved(&storage, "state/m", b"one").unwrap();
        create_resolved(&storage, "state/m", b"one").unwrap();
        let other = create_resolved(&storage, "state/m", b"two").unwrap_err();
        assert_eq!(other.kind(), thalweg_core::ErrorKind::Fenced);
        assert_eq!(storage.list("state").unwrap(), ["m"]);
    }

    /// What systems say of a link where there are none, and of a folder that may not be written.
    fn not_permitted() -> Created {
        Created::Failed(error::io("write probe in here", Io::PermissionDenied.into()))
    }

    #[test]
    fn a_folder_without_hard_links_is_named_as_one() {
        let first = || Ok(Some(b"first".to_vec()));
        for (created, content) in [
            ([not_permitted(), not_permitted()], Ok(None)),
            // Nor may it create a name twice, or say that it has created what it has not.
            ([Created::Yes, Created::Yes], Ok(Some(b"second".to_vec()))),
            ([Created::Yes, Created::Exists], Ok(None)),
        ] {
            let error = judged(created, content, "here", || true).unwrap_err();
            assert_eq!(error.kind(), thalweg_core::ErrorKind::InvalidConfig, "{error}");
            assert!(error.to_string().contains("here") && !error.kind().is_retryable(), "{error}");
            assert!(error.to_string().contains("hard links are needed"), "{error}");
        }
        judged([Created::Yes, Created::Exists], first(), "here", || true).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_not_taken_for_one_without_hard_links() {
        let error =
            judged([not_permitted(), not_permitted()], Ok(None), "here", || false).unwrap_err();
        assert_eq!(error.kind(), thalweg_core::ErrorKind::Transient, "{error}");
        assert!(error.to_string().contains("owner and mode"), "{error}");
    }

    #[test]
    fn a_probe_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(folder.path()).unwrap();
        assert!(storage.list("").unwrap().is_empty());
    }

    /// Stores the object but answers with an error the first time, or says "exists" with nothing stored.
    #[derive(Debug)]
    struct Lying {
        store: Mutex<Option<Vec<u8>>>,
        lost_answers: Mutex<u32>,
        false_conflicts: Mutex<u32>,
    }

    impl CheckpointStorage for Lying {
        fn describe(&self) -> String {
            "lying".into()
        }
        fn create(&self, _: &str, bytes: &[u8]) -> Created {
            let mut conflicts = self.false_conflicts.lock().unwrap();
            if *conflicts > 0 {
                *conflicts -= 1;
                return Created::Exists;
            }
            let mut store = self.store.lock().unwrap();
            if store.is_some() {
                return Created::Exists;
            }
            *store = Some(bytes.to_vec());
            let mut lost = self.lost_answers.lock().unwrap();
            if *lost > 0 {
                *lost -= 1;
                return Created::Unknown(Error::transient("timeout"));
            }
            Created::Yes
        }
        fn sync(&self, _: &str) -> Result<()> {
            Ok(())
        }
        fn read(&self, _: &str) -> Result<Option<Vec<u8>>> {
            Ok(self.store.lock().unwrap().clone())
        }
        fn list(&self, _: &str) -> Result<Vec<String>> {
            Ok(Vec::new())
        }
        fn delete(&self, _: &str) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_lost_answer_and_a_conflict_with_nothing_stored_are_resolved_by_reading() {
        for (lost, conflicts) in [(1, 0), (0, 1), (1, 2)] {
            let storage = Lying {
                store: Mutex::new(None),
                lost_answers: Mutex::new(lost),
                false_conflicts: Mutex::new(conflicts),
            };
            create_resolved(&storage, "m", b"ours").unwrap();
            assert_eq!(storage.read("m").unwrap().as_deref(), Some(&b"ours"[..]));
        }
    }
}
