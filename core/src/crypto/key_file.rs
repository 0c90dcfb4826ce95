//! Where the master key comes from: the environment, else a file that only its owner may read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use super::MasterKey;
use crate::durable::{TEMPORARY_PREFIX, create_folders, folder_of, sync_folder};
use crate::error::io as io_error;
use crate::{Error, Result};

/// The environment variable that holds the key, named in messages. Reading it is the caller's business.
const VARIABLE: &str = "THALWEG_PHI_KEY";

/// Longest key file worth reading, in bytes.
const MAX_FILE: u64 = 1024;

/// Where a key was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrigin {
    /// In the environment.
    Environment,
    /// In the key file.
    File,
    /// Nowhere: it was made and written to the key file. Whoever runs the job must be told to keep that file.
    Created,
}

impl MasterKey {
    /// The key that the environment variable `THALWEG_PHI_KEY` holds (its value is handed in), else the one in the
    /// file `path`, else a new one, which is written there.
    ///
    /// The file is created durably, readable by its owner alone, and never replaced; of two processes that try at
    /// once, both get the key of the first.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidConfig`] when the value or the file holds no key, or when others may read the
    /// file; [`crate::ErrorKind::Transient`] when the file cannot be read or written.
    pub fn load_or_create(value: Option<&str>, path: &Path) -> Result<(Self, KeyOrigin)> {
        if let Some(found) = Self::find(value, path)? {
            return Ok(found);
        }
        let key = Self::generate()?;
        match write_new(path, &key) {
            Ok(()) => Ok((key, KeyOrigin::Created)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::find(None, path)?.ok_or_else(|| missing(path))
            }
            Err(error) => Err(io_error(format!("write key file {}", path.display()), error)),
        }
    }

    /// As [`MasterKey::load_or_create`], for tools that only read what exists: makes no key.
    ///
    /// # Errors
    /// Also [`crate::ErrorKind::InvalidConfig`] when there is neither a value nor a file.
    pub fn load(value: Option<&str>, path: &Path) -> Result<(Self, KeyOrigin)> {
        Self::find(value, path)?.ok_or_else(|| missing(path))
    }

    fn find(value: Option<&str>, path: &Path) -> Result<Option<(Self, KeyOrigin)>> {
        if let Some(text) = value {
            // An empty value is a mistake in somebody's set-up; a new key would be the worst answer to it.
            let key = Self::from_base64(text)
                .map_err(|e| Error::config(format!("environment variable {VARIABLE}: {e}")))?;
            return Ok(Some((key, KeyOrigin::Environment)));
        }
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(format!("read key file {}", path.display()), error)),
            Ok(file) => file,
        };
        #[cfg(unix)]
        remove_other_names(&file, path);
        let text = read(file, path)?;
        let key = Self::from_base64(&text)
            .map_err(|e| Error::config(format!("key file {}: {e}", path.display())))?;
        Ok(Some((key, KeyOrigin::File)))
    }
}

/// What a process that died behind its link has left ([`write_new`]): who deletes the key deletes all of it.
#[cfg(unix)]
fn remove_other_names(file: &File, path: &Path) {
    use std::os::unix::fs::MetadataExt;
    let Ok(key) = file.metadata() else { return };
    if key.nlink() < 2 {
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder_of(path)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_temporary = name.to_string_lossy().starts_with(&temporary_prefix())
            && Some(name.as_os_str()) != path.file_name();
        let is_key =
            |other: std::fs::Metadata| (other.dev(), other.ino()) == (key.dev(), key.ino());
        if is_temporary && entry.metadata().is_ok_and(is_key) {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

fn temporary_prefix() -> String {
    format!("{TEMPORARY_PREFIX}key-")
}

fn missing(path: &Path) -> Error {
    Error::config(format!(
        "no key: set {VARIABLE} or give a key file ({} does not exist)",
        path.display()
    ))
}

fn read(file: File, path: &Path) -> Result<Zeroizing<String>> {
    let failed = |error| io_error(format!("read key file {}", path.display()), error);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::config(format!("key file {} is not a file", path.display())));
    }
    if others_may_read(&metadata) {
        return Err(Error::config(format!(
            "key file {path} can be read by others than its owner; run `chmod 600 {path}`",
            path = path.display()
        )));
    }
    // With its final capacity from the start, so that growing leaves no copy of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    // Bytes that are no text become an empty text, which is refused as a key.
    Ok(Zeroizing::new(std::str::from_utf8(&bytes).unwrap_or_default().to_owned()))
}

#[cfg(unix)]
fn others_may_read(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn others_may_read(_metadata: &std::fs::Metadata) -> bool {
    false
}

/// As [`crate::durable::create_new`], but with a mode that shuts others out from the first byte on.
fn write_new(path: &Path, key: &MasterKey) -> io::Result<()> {
    let folder = folder_of(path);
    create_folders(folder)?;
    let name = format!("{}{}-{}", temporary_prefix(), std::process::id(), key.key_id());
    let temporary = folder.join(name);
    let result = write_private(&temporary, key)
        .and_then(|()| std::fs::hard_link(&temporary, path))
        .and_then(|()| sync_folder(folder));
    drop(std::fs::remove_file(&temporary));
    result
}

fn write_private(path: &Path, key: &MasterKey) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(key.to_base64().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::ErrorKind;

    const VALUE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn the_first_run_makes_a_key_and_the_next_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/yet/data.key");
        let (made, origin) = MasterKey::load_or_create(None, &path).unwrap();
        assert_eq!(origin, KeyOrigin::Created);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (found, origin) = MasterKey::load_or_create(None, &path).unwrap();
        assert_eq!(origin, KeyOrigin::File);
        assert_eq!(made.key_id(), found.key_id());
        let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "no temporary file is left");
    }

    #[test]
    fn a_name_that_a_crash_has_left_of_the_key_is_removed_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let (made, _) = MasterKey::load_or_create(None, &path).unwrap();
        let [left, others, copy] =
            [".tmp-key-1-a", ".tmp-key-2-b", "copy"].map(|name| folder.path().join(name));
        fs::hard_link(&path, &left).unwrap();
        fs::hard_link(&path, &copy).unwrap();
        // That of a process which is about to link it.
        fs::write(&others, VALUE).unwrap();
        let (found, _) = MasterKey::load(None, &path).unwrap();
        assert_eq!(found.key_id(), made.key_id());
        assert!(!left.exists());
        assert!(path.exists() && others.exists() && copy.exists());
    }

    #[test]
    fn the_environment_comes_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let (_, origin) = MasterKey::load_or_create(Some(VALUE), &path).unwrap();
        assert_eq!(origin, KeyOrigin::Environment);
        assert!(!path.exists(), "nothing is written when the environment has a key");
    }

    #[test]
    fn an_empty_or_wrong_value_is_an_error_and_never_a_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for value in ["", "short"] {
            let error = MasterKey::load_or_create(Some(value), &path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(VARIABLE), "{error}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        MasterKey::load_or_create(None, &path).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = MasterKey::load_or_create(None, &path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(MasterKey::load_or_create(None, &path).is_ok());
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let long = VALUE.repeat(100);
        for content in [b"".as_slice(), b"\xff\xfe", b"hello", long.as_bytes()] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = MasterKey::load_or_create(None, &path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        let error = MasterKey::load_or_create(None, folder.path()).unwrap_err();
        assert!(error.to_string().contains("is not a file"), "{error}");
    }

    #[test]
    fn a_tool_that_only_reads_makes_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let error = MasterKey::load(None, &path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(!path.exists());
    }

    #[test]
    fn processes_that_start_at_once_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let make = || MasterKey::load_or_create(None, &path).map(|(k, o)| (k.key_id(), o));
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|t| t.join().unwrap().unwrap()).collect()
        });
        assert!(ids.iter().all(|(id, _)| *id == ids[0].0));
        assert_eq!(ids.iter().filter(|(_, o)| *o == KeyOrigin::Created).count(), 1);
    }
}
