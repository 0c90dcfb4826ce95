//! Names, types and handles of keyed state.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec;
use super::store::{Key, KeyedStore};
use crate::{Error, ErrorKind, Result};

/// What bincode cannot read, or not even write: it stores values without the names and types of their parts.
const UNREADABLE: &str = "keep `serde_json::Value`, and types with serde's `untagged`, `tag`, `flatten` or \
                          `skip_serializing_if`, out of state";

macro_rules! descriptor {
    ($(#[$doc:meta])* $name:ident<$($p:ident),*>) => {
        $(#[$doc])*
        pub struct $name<$($p),*> {
            pub(crate) name: &'static str,
            pub(crate) version: u16,
            types: PhantomData<fn() -> ($($p,)*)>,
        }
        impl<$($p),*> $name<$($p),*> {
            /// State called `name`, its values at version 1.
            pub const fn new(name: &'static str) -> Self {
                Self { name, version: 1, types: PhantomData }
            }
            /// Values of another version. A stored value of any other is refused as
            /// [`crate::ErrorKind::IncompatibleState`] by whatever reads it, key by key: not at the restore, and not at all
            /// where it is replaced or cleared unread. A descriptor of the same name and of the old version still reads it.
            #[must_use]
            pub const fn version(self, version: u16) -> Self {
                Self { name: self.name, version, types: PhantomData }
            }
        }
        impl<$($p),*> std::fmt::Debug for $name<$($p),*> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.name)
            }
        }
    };
}

descriptor!(
    /// One value per key.
    ValueStateDescriptor<T>
);
descriptor!(
    /// A list per key.
    ListStateDescriptor<T>
);
descriptor!(
    /// A map per key.
    MapStateDescriptor<K, V>
);

/// One value per key.
pub struct ValueState<T> {
    pub(crate) handle: Handle,
    pub(crate) types: PhantomData<fn() -> T>,
}

#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) store: Rc<RefCell<KeyedStore>>,
    pub(crate) name: &'static str,
    pub(crate) version: u16,
}

impl Handle {
    fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>> {
        let store = self.store.borrow();
        let value = store.get(self.name, key).map(|bytes| codec::decode(self.version, bytes));
        value.transpose().map_err(|error| self.named(&error))
    }

    /// Says of which state the codec, which knows of none, could not read a value.
    fn named(&self, error: &Error) -> Error {
        let name = self.name;
        if error.kind() == ErrorKind::Corrupt {
            return Error::corrupt(format!(
                "a value of state `{name}` is damaged, or was stored as another type: then raise its descriptor's version and \
                 read the old one first; or its type cannot be read back at all: {UNREADABLE}"
            ));
        }
        Error::new(error.kind(), format!("state `{name}`: {error}"))
    }

    /// Stores a value that is read as `R`. Without optimisations it is read at once: a type that cannot be would otherwise
    /// be told by the next row of its key.
    fn put<R: DeserializeOwned>(&self, key: &Key, value: &(impl Serialize + ?Sized)) -> Result<()> {
        let unreadable = || {
            let name = self.name;
            Error::graph(format!("values of state `{name}` cannot be read back: {UNREADABLE}"))
        };
        let bytes = codec::encode(self.version, value).map_err(|_| unreadable())?;
        if cfg!(debug_assertions) && codec::decode::<R>(self.version, &bytes).is_err() {
            return Err(unreadable());
        }
        self.store.borrow_mut().put(self.name, key, Some(bytes));
        Ok(())
    }

    fn clear(&self, key: &Key) {
        self.store.borrow_mut().put(self.name, key, None);
    }
}

impl<T> std::fmt::Debug for ValueState<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ValueState({})", self.handle.name)
    }
}

impl<T: Serialize + DeserializeOwned> ValueState<T> {
    /// The key's value.
    pub fn get(&self, key: &Key) -> Result<Option<T>> {
        self.handle.get(key)
    }

    /// Sets the key's value.
    #[expect(clippy::needless_pass_by_value, reason = "the state owns what it is given")]
    pub fn put(&self, key: &Key, value: T) -> Result<()> {
        self.handle.put::<T>(key, &value)
    }

    /// Forgets it.
    pub fn clear(&self, key: &Key) {
        self.handle.clear(key);
    }
}

/// A list per key. Reading or adding costs the list's length: keep lists short.
pub struct ListState<T> {
    pub(crate) handle: Handle,
    pub(crate) types: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for ListState<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ListState({})", self.handle.name)
    }
}

impl<T: Serialize + DeserializeOwned> ListState<T> {
    /// The key's list.
    pub fn get(&self, key: &Key) -> Result<Vec<T>> {
        Ok(self.handle.get(key)?.unwrap_or_default())
    }

    /// Adds to its end.
    pub fn push(&self, key: &Key, value: T) -> Result<()> {
        let mut list = self.get(key)?;
        list.push(value);
        self.handle.put::<Vec<T>>(key, &list)
    }

    /// Replaces it.
    pub fn put(&self, key: &Key, list: &[T]) -> Result<()> {
        self.handle.put::<Vec<T>>(key, list)
    }

    /// Forgets it.
    pub fn clear(&self, key: &Key) {
        self.handle.clear(key);
    }
}

/// A map per key, kept in key order. Reading or writing costs the map's size: keep maps small.
pub struct MapState<K, V> {
    pub(crate) handle: Handle,
    pub(crate) types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> std::fmt::Debug for MapState<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MapState({})", self.handle.name)
    }
}

impl<K, V> MapState<K, V>
where
    K: Serialize + DeserializeOwned + Ord,
    V: Serialize + DeserializeOwned,
{
    /// The key's map.
    pub fn entries(&self, key: &Key) -> Result<BTreeMap<K, V>> {
        Ok(self.handle.get(key)?.unwrap_or_default())
    }

    /// Sets one entry.
    pub fn insert(&self, key: &Key, name: K, value: V) -> Result<()> {
        let mut map = self.entries(key)?;
        map.insert(name, value);
        self.handle.put::<BTreeMap<K, V>>(key, &map)
    }

    /// Removes one entry.
    pub fn remove(&self, key: &Key, name: &K) -> Result<()> {
        let mut map = self.entries(key)?;
        if map.remove(name).is_some() {
            self.handle.put::<BTreeMap<K, V>>(key, &map)?;
        }
        Ok(())
    }

    /// Forgets the map.
    pub fn clear(&self, key: &Key) {
        self.handle.clear(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state<T>(
        store: &Rc<RefCell<KeyedStore>>,
        descriptor: &ValueStateDescriptor<T>,
    ) -> ValueState<T> {
        let (name, version) = (descriptor.name, descriptor.version);
        ValueState { handle: Handle { store: Rc::clone(store), name, version }, types: PhantomData }
    }

    #[test]
    fn a_value_of_another_version_is_refused_when_it_is_read_and_the_old_descriptor_reads_it() {
        let (first, second) = (Key::new(&[1], 16), Key::new(&[2], 16));
        let old = ValueStateDescriptor::<i64>::new("seen");
        let new = ValueStateDescriptor::<String>::new("seen").version(2);
        let before = Rc::new(RefCell::new(KeyedStore::default()));
        for key in [&first, &second] {
            state(&before, &old).put(key, 7).unwrap();
        }
        let chunks = before.borrow().snapshot();
        let blobs = chunks.iter().filter_map(|chunk| chunk.to_blob().unwrap()).collect();
        let after = Rc::new(RefCell::new(KeyedStore::default()));
        after.borrow_mut().restore(blobs).unwrap();
        let (old, new) = (state(&after, &old), state(&after, &new));

        let error = new.get(&first).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IncompatibleState);
        assert!(error.to_string().contains("state `seen`"), "{error}");
        let value = old.get(&first).unwrap().unwrap();
        new.put(&first, value.to_string()).unwrap();
        assert_eq!(new.get(&first).unwrap().as_deref(), Some("7"));
        assert_eq!(old.get(&first).unwrap_err().kind(), ErrorKind::IncompatibleState);
        new.clear(&second);
        assert!(new.get(&second).unwrap().is_none());
    }

    #[test]
    fn a_type_that_was_changed_without_the_version_is_told_with_the_state_and_what_to_do() {
        let key = Key::new(&[1], 16);
        let store = Rc::new(RefCell::new(KeyedStore::default()));
        state(&store, &ValueStateDescriptor::<i64>::new("last_bpm")).put(&key, 7).unwrap();
        let retyped = ValueStateDescriptor::<(i64, String)>::new("last_bpm");
        let error = state(&store, &retyped).get(&key).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let says = "state `last_bpm` is damaged, or was stored as another type";
        assert!(error.to_string().contains(says), "{error}");
    }

    #[derive(Serialize, serde::Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(i64),
    }

    #[derive(Serialize, serde::Deserialize)]
    struct Inner {
        number: i64,
    }

    #[derive(Serialize, serde::Deserialize)]
    struct Flat {
        #[serde(flatten)]
        inner: Inner,
    }

    #[derive(Serialize, serde::Deserialize)]
    struct Skips {
        #[serde(skip_serializing_if = "Option::is_none")]
        number: Option<i64>,
    }

    /// What is told when the value is put, or, at the latest, when it is read.
    fn refused<T: Serialize + DeserializeOwned>(value: T) -> Error {
        let key = Key::new(&[1], 16);
        let store = Rc::new(RefCell::new(KeyedStore::default()));
        let state = state(&store, &ValueStateDescriptor::<T>::new("last"));
        match state.put(&key, value) {
            Ok(()) if cfg!(debug_assertions) => panic!("it was taken"),
            Ok(()) => state.get(&key).err().unwrap(),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidGraph);
                error
            }
        }
    }

    #[test]
    fn a_type_that_cannot_be_read_back_is_told_with_the_state_and_what_not_to_keep() {
        for error in [
            refused(serde_json::json!({ "number": 7 })),
            refused(Untagged::Number(7)),
            refused(Flat { inner: Inner { number: 7 } }),
            refused(Skips { number: None }),
        ] {
            let text = error.to_string();
            assert!(text.contains("`last`") && text.contains("`untagged`"), "{text}");
        }
    }
}
