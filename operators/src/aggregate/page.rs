//! A page of values that a snapshot shares: copied when it changes while a snapshot still holds it.

use std::sync::Arc;

/// One of the two is there.
#[derive(Debug)]
pub(super) struct Page<V: ?Sized> {
    own: Option<Box<V>>,
    /// With a snapshot, or with what is left of one.
    shared: Option<Arc<Box<V>>>,
}

impl<V: ?Sized> Page<V> {
    pub(super) fn new(own: Option<Box<V>>) -> Self {
        Self { own, shared: None }
    }

    #[inline]
    pub(super) fn values(&self) -> Option<&V> {
        self.own.as_deref().or_else(|| self.shared.as_ref().map(|shared| &***shared))
    }

    /// Nobody else's: by `copy` if a snapshot needs it.
    #[inline]
    pub(super) fn own(&mut self, copy: impl FnOnce(&V) -> Box<V>) -> Option<&mut V> {
        if self.own.is_none() {
            self.unshare(copy);
        }
        self.own.as_deref_mut()
    }

    #[cold]
    fn unshare(&mut self, copy: impl FnOnce(&V) -> Box<V>) {
        let shared = self.shared.take().map(Arc::try_unwrap);
        self.own = shared.map(|own| own.unwrap_or_else(|shared| copy(&shared)));
    }

    /// The page as it is now, whatever becomes of this.
    pub(super) fn share(&mut self) -> Self {
        if let Some(own) = self.own.take() {
            self.shared = Some(Arc::new(own));
        }
        Self { own: None, shared: self.shared.clone() }
    }

    /// Its memory, if nobody else has it.
    pub(super) fn into_memory(self) -> Option<Box<V>> {
        self.own.or_else(|| self.shared.and_then(Arc::into_inner))
    }
}
