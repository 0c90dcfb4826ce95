//! The files beside the data: who may come in, and what they did.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_core::{Error, Result};
use thalweg_objects::Place;
use thalweg_runtime::SystemClock;
use thalweg_serving::audit::AuditLog;

use crate::healthcare::keys::beside;

/// The users file: `DIR.users.toml` beside the data folder when nothing else is said.
///
/// # Errors
/// [`thalweg_core::ErrorKind::InvalidConfig`]: there is no such folder, or nothing stands beside an object store.
pub fn users_file(data: &Place, named: Option<&Path>) -> Result<PathBuf> {
    file(data, named, ".users.toml", "users file", "--users-file")
}

/// The audit log's file: `DIR.audit.jsonl` beside the data folder when nothing else is said.
///
/// # Errors
/// As [`users_file`].
pub fn audit_file(data: &Place, named: Option<&Path>) -> Result<PathBuf> {
    file(data, named, ".audit.jsonl", "audit log", "--audit-log")
}

/// The audit log, opened.
///
/// # Errors
/// Those of [`audit_file`] and [`AuditLog::open`].
pub fn audit_log(data: &Place, named: Option<&Path>) -> Result<AuditLog> {
    AuditLog::open(audit_file(data, named)?, Arc::new(SystemClock::default()))
}

fn file(
    data: &Place,
    named: Option<&Path>,
    ending: &str,
    what: &str,
    option: &str,
) -> Result<PathBuf> {
    match (data, named) {
        // A mistyped name makes no files.
        (Place::Folder(folder), _) if !folder.is_dir() => Err(Error::config(format!(
            "there is no data folder {}: pass --data-dir",
            folder.display()
        ))),
        (_, Some(named)) => Ok(named.to_owned()),
        (Place::Folder(folder), None) => beside(folder, ending, what, option),
        (Place::Remote(remote), None) => {
            Err(Error::config(format!("no {what} can stand beside {remote}: pass {option}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_lie_beside_the_folder_or_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let place = Place::from(data.as_path());
        assert!(users_file(&place, None).unwrap_err().to_string().contains("no data folder"));
        std::fs::create_dir(&data).unwrap();
        assert_eq!(users_file(&place, None).unwrap(), folder.path().join("data.users.toml"));
        assert_eq!(audit_file(&place, None).unwrap(), folder.path().join("data.audit.jsonl"));
        let bucket: Place = "s3://bucket/data".parse().unwrap();
        assert!(audit_file(&bucket, None).unwrap_err().to_string().contains("--audit-log"));
        assert_eq!(audit_file(&bucket, Some(Path::new("a"))).unwrap(), Path::new("a"));
    }
}
