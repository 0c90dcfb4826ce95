//! Pages that nobody needs any more, for those that are copied next.
//!
//! A snapshot of much state leaves hundreds of thousands of copies behind at once. Given back to the allocator they keep
//! it sorting for a tenth of a second, which the next row waits for; taken anew, the kernel has to find and clear them.

use std::sync::{Arc, Mutex, PoisonError};

type Memory = Box<[u64]>;

/// Pages of one size.
#[derive(Debug, Default)]
pub(super) struct Spare {
    here: Vec<Memory>,
    /// What snapshots gave back, on whatever thread they ended.
    returned: Arc<Mutex<Vec<Memory>>>,
}

impl Spare {
    /// A page of `words`, with whatever is in it.
    fn take(&mut self, words: usize) -> Memory {
        if self.here.is_empty() {
            let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut self.here, &mut returned);
        }
        let page = self.here.pop().filter(|page| page.len() == words);
        page.unwrap_or_else(|| vec![0; words].into_boxed_slice())
    }

    pub(super) fn zeros(&mut self, words: usize) -> Memory {
        let mut page = self.take(words);
        page.fill(0);
        page
    }

    pub(super) fn copy(&mut self, page: &[u64]) -> Memory {
        let mut copy = self.take(page.len());
        copy.copy_from_slice(page);
        copy
    }

    /// For a snapshot: it has none, and returns them here.
    pub(super) fn of_snapshot(&self) -> Self {
        Self { here: Vec::new(), returned: Arc::clone(&self.returned) }
    }

    pub(super) fn give_back(&self, pages: impl Iterator<Item = Memory>) {
        let pages: Vec<_> = pages.collect();
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).extend(pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_snapshot_gives_back_is_used_again_and_hides_nothing() {
        let mut spare = Spare::default();
        let page = spare.copy(&[1, 2, 3]);
        let address = page.as_ptr();
        std::thread::scope(|scope| {
            let snapshot = spare.of_snapshot();
            scope.spawn(move || snapshot.give_back(std::iter::once(page)));
        });
        let zeros = spare.zeros(3);
        assert_eq!((zeros.as_ptr(), &*zeros), (address, &[0, 0, 0][..]));
        spare.give_back(std::iter::once(zeros));
        assert_eq!(*spare.copy(&[4, 5]), [4, 5]);
    }
}
