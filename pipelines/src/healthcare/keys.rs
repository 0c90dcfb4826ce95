//! Where the key comes from that encrypts payloads and state.

use std::path::{Component, Path, PathBuf};

use thalweg_core::crypto::{KeyOrigin, MasterKey};
use thalweg_core::{Error, Result};
use thalweg_objects::Place;

/// The environment variable that comes before every file: 32 bytes, base64.
pub const KEY_VARIABLE: &str = "THALWEG_PHI_KEY";

/// The key file of a data folder when nothing else is said: `DATA_DIR.key` beside it, so that a copy of the folder
/// holds no key.
///
/// # Errors
/// [`thalweg_core::ErrorKind::InvalidConfig`] when the folder has no name of its own.
pub fn default_key_file(data_dir: &Path) -> Result<PathBuf> {
    beside(data_dir, ".key", "key file", "--key-file")
}

/// The file whose name is the data folder's and `ending`, beside it. `what` it is, and the `option` that names another.
///
/// # Errors
/// [`thalweg_core::ErrorKind::InvalidConfig`] when the folder has no name of its own.
pub fn beside(data_dir: &Path, ending: &str, what: &str, option: &str) -> Result<PathBuf> {
    let refused = || {
        let shown = data_dir.display();
        Error::config(format!("no {what} can stand beside {shown}: pass {option}"))
    };
    let absolute = std::path::absolute(data_dir).map_err(|_| refused())?;
    let mut name = absolute.file_name().ok_or_else(refused)?.to_owned();
    name.push(ending);
    Ok(absolute.with_file_name(name))
}

/// The key of a job that writes: from the environment, else the file, which is made when it does not exist.
///
/// # Errors
/// Those of [`MasterKey::load_or_create`], and when the file would lie inside of the data folder.
pub fn load_or_create(data: &Place, key_file: Option<&Path>) -> Result<(MasterKey, KeyOrigin)> {
    let value = variable()?;
    let path = key_path(data, key_file, value.is_some())?;
    MasterKey::load_or_create(value.as_deref(), &path)
}

/// The key of a tool that reads what exists.
///
/// # Errors
/// Those of [`MasterKey::load`].
pub fn load(data: &Place, key_file: Option<&Path>) -> Result<(MasterKey, KeyOrigin)> {
    let value = variable()?;
    let path = key_path(data, key_file, value.is_some())?;
    MasterKey::load(value.as_deref(), &path)
}

/// Says at once, before anything is asked over a network, that nobody told where the key is.
///
/// # Errors
/// [`thalweg_core::ErrorKind::InvalidConfig`].
pub fn check(data: &Place, key_file: Option<&Path>) -> Result<()> {
    key_path(data, key_file, variable()?.is_some()).map(drop)
}

/// The file of the key. There is none beside a bucket: it is named, or the environment holds the key and no file is
/// looked at.
fn key_path(data: &Place, key_file: Option<&Path>, has_value: bool) -> Result<PathBuf> {
    let (data_dir, path) = match (data, key_file) {
        (Place::Folder(folder), Some(path)) => (folder, path),
        (Place::Folder(folder), None) => return default_key_file(folder),
        (Place::Remote(_), Some(path)) => return Ok(path.to_owned()),
        (Place::Remote(_), None) if has_value => return Ok(PathBuf::new()),
        (Place::Remote(remote), None) => {
            return Err(Error::config(format!(
                "no key file can stand beside {remote}: set {KEY_VARIABLE} or pass --key-file"
            )));
        }
    };
    if resolved(path).starts_with(resolved(data_dir)) {
        return Err(Error::config(format!(
            "the key file {} lies inside the data folder that it protects: choose another place",
            path.display()
        )));
    }
    Ok(path.to_owned())
}

/// Where a path leads: without links, `.` and `..` as far as it stands; what is not there yet is taken as it is written.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut found = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::CurDir => {}
            // What stands in front of it has no links any more: this is the folder that the system goes to.
            Component::ParentDir => {
                found.pop();
            }
            part => {
                found.push(part);
                if let Ok(real) = std::fs::canonicalize(&found) {
                    found = real;
                }
            }
        }
    }
    found
}

fn variable() -> Result<Option<String>> {
    match std::env::var(KEY_VARIABLE) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::config(format!("environment variable {KEY_VARIABLE} is no text")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_lies_beside_the_folder() {
        for (folder, file) in [("/a/data", "/a/data.key"), ("/a/data/", "/a/data.key")] {
            assert_eq!(default_key_file(Path::new(folder)).unwrap(), Path::new(file));
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(default_key_file(Path::new("data")).unwrap(), here.join("data.key"));
        assert_ne!(default_key_file(Path::new(".")).unwrap(), here.join(".key"));
        assert!(default_key_file(Path::new("/")).is_err());
    }

    #[test]
    fn a_key_inside_the_folder_is_refused() {
        let data = Place::from(Path::new("data"));
        let inside = key_path(&data, Some(Path::new("data/secret.key")), false);
        assert!(inside.unwrap_err().to_string().contains("inside the data folder"));
        assert!(key_path(&data, Some(Path::new("data.key")), false).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn what_lies_inside_is_told_by_where_paths_lead() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("data/keys")).unwrap();
        std::fs::create_dir(at("keys")).unwrap();
        symlink(at("data"), at("link")).unwrap();
        symlink(at("data/keys"), at("shortcut")).unwrap();
        for (data, key, is_inside) in [
            ("data", "data/x", true),
            ("data", "keys/../data/x", true),
            ("data", "./data/../data/none/../x", true),
            ("data", "link/x", true),
            ("data", "shortcut/x", true),
            // Behind a link the folder above is that of where it leads.
            ("data", "shortcut/../x", true),
            ("link", "data/x", true),
            ("keys/../data", "data/none/x", true),
            ("none", "keys/../none/x", true),
            ("data", "data/../keys/x", false),
            ("data", "link/../keys/x", false),
            ("link", "keys/x", false),
            ("none", "none/../x", false),
            ("data", "data.key", false),
        ] {
            let found = key_path(&Place::from(at(data).as_path()), Some(&at(key)), false);
            assert_eq!(found.is_err(), is_inside, "{key} and {data}");
        }
        // As they are typed, from where the program runs.
        let data = Place::from(Path::new("data"));
        assert!(key_path(&data, Some(Path::new("data/../keys/x")), false).is_ok());
        assert!(key_path(&data, Some(Path::new("keys/../data/x")), false).is_err());
    }

    #[test]
    fn the_key_of_a_bucket_is_named() {
        let data: Place = "s3://bucket/vitals".parse().unwrap();
        let unnamed = key_path(&data, None, false).unwrap_err();
        assert!(unnamed.to_string().contains("THALWEG_PHI_KEY or pass --key-file"), "{unnamed}");
        assert!(key_path(&data, None, true).is_ok());
        let file = Path::new("vitals.key");
        assert_eq!(key_path(&data, Some(file), false).unwrap(), file);
    }
}
