//! The probe of conditional put (P9).

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use thalweg_core::{Error, Result};

use crate::failure::{failed, is_refusal};

/// Creates an object below `prefix` twice. The second must fail and the first must stand, be listed, and go when it is
/// deleted. `place` is for people.
///
/// # Errors
/// [`thalweg_core::ErrorKind::InvalidConfig`] when the store lacks one of these, or refuses access; transient when it
/// cannot be reached.
pub async fn probe(store: &dyn ObjectStore, prefix: &Path, place: &str) -> Result<()> {
    let folder = prefix.clone().join("probe");
    let name = folder.clone().join(uuid::Uuid::new_v4().simple().to_string());
    // The client may have repeated a request whose answer was lost: then our own object is in the way.
    match create(store, &name, "first").await {
        Ok(()) | Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {}
        Err(error) => return Err(told("create an object", place, &error)),
    }
    let second = create(store, &name, "second").await;
    let content = read(store, &name).await;
    let listed: Result<Vec<_>, _> = store.list(Some(&folder)).try_collect().await;
    let deleted = store.delete(&name).await;
    match second {
        Ok(()) => return Err(lax(place)),
        Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {}
        Err(error) => return Err(told("create an object only if it is absent", place, &error)),
    }
    if content.map_err(|e| told("read an object", place, &e))?.as_deref() != Some(b"first") {
        return Err(lax(place));
    }
    let listed = listed.map_err(|e| told("list objects", place, &e))?;
    if !listed.iter().any(|object| object.location == name) {
        return Err(Error::config(format!(
            "{place} does not list an object that was just created"
        )));
    }
    match deleted {
        // As above: the first of two requests has deleted it.
        Ok(()) | Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(told("delete an object", place, &error)),
    }
    match read(store, &name).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => {
            Err(Error::config(format!("{place} still has an object that was just deleted")))
        }
        Err(error) => Err(told("read an object", place, &error)),
    }
}

async fn create(
    store: &dyn ObjectStore,
    name: &Path,
    bytes: &'static str,
) -> Result<(), StoreError> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(name, bytes.into(), options).await.map(drop)
}

async fn read(store: &dyn ObjectStore, name: &Path) -> Result<Option<Bytes>, StoreError> {
    match store.get(name).await {
        Ok(found) => found.bytes().await.map(Some),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn lax(place: &str) -> Error {
    Error::config(format!(
        "{place} does not create an object only if it is absent (it ignores `If-None-Match: *`): two jobs could \
         overwrite each other; use a store that does"
    ))
}

fn told(what: &str, place: &str, error: &StoreError) -> Error {
    let told = failed(format!("{what} in {place}"), error);
    if is_refusal(error) { Error::config(told.to_string()) } else { told }
}
