//! Pages that nobody needs any more, for those that are copied next.
//!
//! A snapshot of much state leaves hundreds of thousands of copies behind at once. Of pages that are taken anew the kernel has to
//! find and clear the memory, which takes several times as long as to copy them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Most pages that are freed at one snapshot; without snapshots, which an idle job does not take, none are.
const FREED: usize = 4096;

type Memory = Box<[u64]>;

/// Pages of one size.
#[derive(Debug, Default)]
pub(super) struct Spare {
    here: Vec<Memory>,
    /// The fewest that were here since the last snapshot: nobody needed them.
    unused: usize,
    returned: Arc<Mutex<Vec<Memory>>>,
}

impl Spare {
    /// A page of `words`, with whatever is in it.
    fn take(&mut self, words: usize) -> Option<Memory> {
        if self.here.is_empty() {
            self.fetch();
        }
        let page = self.here.pop();
        self.unused = self.unused.min(self.here.len());
        page.filter(|page| page.len() == words)
    }

    fn fetch(&mut self) {
        let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        self.here.append(&mut returned);
    }

    pub(super) fn zeros(&mut self, words: usize) -> Memory {
        match self.take(words) {
            Some(mut page) => {
                page.fill(0);
                page
            }
            None => vec![0; words].into_boxed_slice(),
        }
    }

    pub(super) fn copy(&mut self, page: &[u64]) -> Memory {
        match self.take(page.len()) {
            Some(mut copy) => {
                copy.copy_from_slice(page);
                copy
            }
            None => page.into(),
        }
    }

    /// Where a snapshot that is taken now returns its pages; some of those go that the last one left to nobody.
    pub(super) fn of_snapshot(&mut self) -> Returned {
        self.here.truncate(self.here.len() - self.unused.min(FREED));
        self.fetch();
        self.unused = self.here.len();
        Returned(Arc::downgrade(&self.returned))
    }
}

/// What snapshots give back, on whatever thread they end, as long as the pages' owner is there.
#[derive(Debug)]
pub(super) struct Returned(Weak<Mutex<Vec<Memory>>>);

impl Returned {
    pub(super) fn give_back(&self, pages: impl Iterator<Item = Memory>) {
        if let Some(returned) = self.0.upgrade() {
            let pages: Vec<_> = pages.collect();
            returned.lock().unwrap_or_else(PoisonError::into_inner).extend(pages);
        }
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
        let snapshot = spare.of_snapshot();
        std::thread::scope(|scope| {
            scope.spawn(|| snapshot.give_back(std::iter::once(page)));
        });
        let zeros = spare.zeros(3);
        assert_eq!((zeros.as_ptr(), &*zeros), (address, &[0, 0, 0][..]));
        snapshot.give_back(std::iter::once(zeros));
        assert_eq!(*spare.copy(&[4, 5]), [4, 5]);
        drop(spare);
        snapshot.give_back(std::iter::once(vec![0; 3].into_boxed_slice()));
    }

    #[test]
    fn pages_that_nobody_needs_go_some_at_a_time() {
        let mut spare = Spare::default();
        let snapshot = spare.of_snapshot();
        snapshot.give_back((0..2 * FREED + 10).map(|_| vec![0; 3].into_boxed_slice()));
        let mut left = Vec::new();
        for _ in 0..5 {
            drop(spare.of_snapshot());
            // Ten of them are needed each time.
            let used: Vec<_> = (0..10).map(|_| spare.zeros(3)).collect();
            snapshot.give_back(used.into_iter());
            left.push(spare.here.len());
        }
        assert_eq!(left, [2 * FREED, FREED, 0, 0, 0]);
    }
}
