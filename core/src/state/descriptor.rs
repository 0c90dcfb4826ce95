//! Names, types and handles of keyed state.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec;
use super::store::{Key, KeyedStore};
use crate::Result;

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
            /// Values of another version; state of a version that is not known is refused at restore.
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
        store.get(self.name, key).map(|bytes| codec::decode(self.version, bytes)).transpose()
    }

    fn put<T: Serialize + ?Sized>(&self, key: &Key, value: &T) -> Result<()> {
        let bytes = codec::encode(self.version, value)?;
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
        self.handle.put(key, &value)
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
        self.handle.put(key, &list)
    }

    /// Replaces it.
    pub fn put(&self, key: &Key, list: &[T]) -> Result<()> {
        self.handle.put(key, list)
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
    pub fn entries(&self, key: &Key) -> Result<std::collections::BTreeMap<K, V>> {
        Ok(self.handle.get(key)?.unwrap_or_default())
    }

    /// Sets one entry.
    pub fn insert(&self, key: &Key, name: K, value: V) -> Result<()> {
        let mut map = self.entries(key)?;
        map.insert(name, value);
        self.handle.put(key, &map)
    }

    /// Removes one entry.
    pub fn remove(&self, key: &Key, name: &K) -> Result<()> {
        let mut map = self.entries(key)?;
        if map.remove(name).is_some() {
            self.handle.put(key, &map)?;
        }
        Ok(())
    }

    /// Forgets the map.
    pub fn clear(&self, key: &Key) {
        self.handle.clear(key);
    }
}
