//! Places as people write them.

use std::fmt;
use std::path::{Path as FsPath, PathBuf};
use std::str::FromStr;

use object_store::path::Path;
use thalweg_core::{Error, Result};
use url::Url;

/// Where data lives.
///
/// ```
/// use thalweg_objects::Place;
/// let place: Place = "s3://bucket/jobs/vitals/".parse()?;
/// assert_eq!(place.join("checkpoints").to_string(), "s3://bucket/jobs/vitals/checkpoints");
/// assert!(matches!("data".parse()?, Place::Folder(_)));
/// # Ok::<(), thalweg_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder on a local disk.
    Folder(PathBuf),
    /// A prefix of an object store.
    Remote(Remote),
}

/// A prefix of an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Without query, fragment, password and trailing slash.
    url: Url,
}

/// The services that are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    S3,
    Azure,
    Gcs,
}

impl Service {
    fn of(scheme: &str) -> Option<Self> {
        match scheme {
            "s3" | "s3a" => Some(Self::S3),
            "az" | "azure" | "abfs" | "abfss" => Some(Self::Azure),
            "gs" => Some(Self::Gcs),
            _ => None,
        }
    }
}

impl Place {
    /// A place below this one. `name` is made of plain characters.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Folder(folder) => Self::Folder(folder.join(name)),
            Self::Remote(remote) => Self::Remote(remote.join(name)),
        }
    }
}

impl Remote {
    /// The URL, without a slash at its end.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Where in the bucket or container.
    pub fn prefix(&self) -> Path {
        // Only plain characters pass `from_str`: nothing is encoded.
        Path::from(self.url.path())
    }

    /// A place below this one. `name` is made of plain characters.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{name}", url.path().trim_end_matches('/')));
        Self { url }
    }

    pub(crate) fn service(&self) -> Option<Service> {
        Service::of(self.url.scheme())
    }

    fn parse(scheme: &str, rest: &str, text: &str) -> Result<Self> {
        if Service::of(scheme).is_none() {
            return Err(Error::config(format!(
                "{scheme}:// is no place for data: give a folder, s3://bucket/prefix, az://container/prefix, \
                 abfss://container@account.dfs.core.windows.net/prefix or gs://bucket/prefix"
            )));
        }
        let (_, path) = rest.trim_end_matches('/').split_once('/').unwrap_or((rest, ""));
        if !path.is_empty() && !path.split('/').all(is_plain) {
            return Err(Error::config(format!(
                "the prefix in a {scheme}:// URL is made of names that hold only a-z A-Z 0-9 . _ = - and begin with a \
                 letter or digit"
            )));
        }
        let url = Url::parse(text.trim_end_matches('/')).ok().filter(Url::has_host);
        let url = url.filter(|url| {
            url.password().is_none() && url.query().is_none() && url.fragment().is_none()
        });
        url.map(|url| Self { url }).ok_or_else(|| {
            Error::config(format!(
                "a {scheme}:// URL is a bucket or container and a prefix, nothing more: credentials and endpoints are \
                 environment variables"
            ))
        })
    }
}

/// Characters that stand for themselves in URLs and object names.
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '='))
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once("://") {
            Some((scheme, rest)) => Remote::parse(scheme, rest, text).map(Self::Remote),
            None if text.is_empty() => Err(Error::config("the place for data has no name")),
            None => Ok(Self::Folder(PathBuf::from(text))),
        }
    }
}

impl From<&FsPath> for Place {
    fn from(folder: &FsPath) -> Self {
        Self::Folder(folder.to_owned())
    }
}

impl From<PathBuf> for Place {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> Remote {
        match text.parse().unwrap() {
            Place::Remote(remote) => remote,
            Place::Folder(_) => panic!("{text} is a URL"),
        }
    }

    #[test]
    fn urls_and_folders_are_told_apart_and_printed_as_written() {
        for text in ["data", "/var/data", "./s3:/odd"] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place, Place::Folder(PathBuf::from(text)));
            assert_eq!(place.to_string(), text);
        }
        for (text, prefix) in [
            ("s3://bucket/a/b", "a/b"),
            ("s3://bucket", ""),
            ("az://container/a.b/c_d", "a.b/c_d"),
            ("abfss://files@account.dfs.core.windows.net/jobs", "jobs"),
            ("gs://bucket/day=1", "day=1"),
        ] {
            assert_eq!(remote(text).to_string(), text);
            assert_eq!(remote(text).prefix().as_ref(), prefix);
            let below = remote(&format!("{text}/")).join("meta/checkpoints");
            assert_eq!(below.to_string(), format!("{text}/meta/checkpoints"));
        }
    }

    #[test]
    fn what_is_no_place_or_carries_a_secret_is_refused_without_quoting_it() {
        for text in [
            "",
            "ftp://host/data",
            "https://host/data",
            "s3://",
            "s3:///prefix",
            "s3://bucket/a/../b",
            "s3://bucket/_delta_log",
            "s3://bucket/a b",
            "s3://bucket/a%2fb",
            "s3://bucket/a?sig=secret",
            "s3://user:secret@bucket/a",
            "az://container/a#secret",
        ] {
            let error = text.parse::<Place>().unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
