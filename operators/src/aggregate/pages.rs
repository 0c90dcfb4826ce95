//! Values by group, in pages that a snapshot shares.
//!
//! Sharing costs a reference per page, however much the pages hold; a page that changes while a snapshot still holds it
//! is copied then, alone. Growing never moves a value.

use super::page::Page;

/// Groups in a page: few enough to copy between two rows, many enough to make the references few.
const GROUPS: usize = 512;

/// Of a known number, so that no access within them is checked.
type Values<T> = [T; GROUPS];

fn empty<T: Clone + Default>() -> Page<Values<T>> {
    let values: Box<[T]> = std::iter::repeat_with(T::default).take(GROUPS).collect();
    Page::new(values.try_into().ok())
}

/// A value per group.
#[derive(Debug)]
pub(super) struct Pages<T> {
    pages: Vec<Page<Values<T>>>,
    len: usize,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<T: Clone + Default> Pages<T> {
    /// Groups that have a value.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Makes room for groups `0..groups`, new ones with the default value.
    #[inline]
    pub(super) fn grow(&mut self, groups: usize) {
        while self.pages.len() * GROUPS < groups {
            self.pages.push(empty());
        }
        self.len = self.len.max(groups);
    }

    #[inline]
    pub(super) fn get(&self, group: usize) -> Option<&T> {
        self.pages.get(group / GROUPS)?.values()?.get(group % GROUPS)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, group: usize) -> Option<&mut T> {
        self.pages
            .get_mut(group / GROUPS)?
            .own(|values| Box::new(values.clone()))?
            .get_mut(group % GROUPS)
    }

    /// Sets the value of a group, which may be the first without one.
    #[inline]
    pub(super) fn set(&mut self, group: usize, value: T) {
        self.grow(group + 1);
        if let Some(slot) = self.get_mut(group) {
            *slot = value;
        }
    }

    /// Calls `change` with the value and the number of every row.
    #[inline]
    pub(super) fn each_row(&mut self, groups: &[u32], mut change: impl FnMut(&mut T, usize)) {
        for (row, group) in groups.iter().enumerate() {
            if let Some(value) = self.get_mut(*group as usize) {
                change(value, row);
            }
        }
    }

    /// Gives `groups` the default value.
    pub(super) fn clear(&mut self, groups: &[u32]) {
        self.each_row(groups, |value, _| *value = T::default());
    }

    /// The values of `groups`, in their order.
    pub(super) fn of<'a>(&'a self, groups: &'a [u32]) -> impl Iterator<Item = &'a T> {
        groups.iter().filter_map(|group| self.get(*group as usize))
    }

    /// All values, by group.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().filter_map(Page::values).flatten().take(self.len)
    }

    /// The values as they are now, whatever becomes of these.
    pub(super) fn share(&mut self) -> Self {
        Self { pages: self.pages.iter_mut().map(Page::share).collect(), len: self.len }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(pages: &Pages<u64>) -> Vec<u64> {
        pages.iter().copied().collect()
    }

    #[test]
    fn a_page_is_copied_only_while_a_snapshot_holds_it() {
        let mut pages = Pages::default();
        pages.grow(2 * GROUPS);
        let address =
            |pages: &Pages<u64>, group: usize| std::ptr::from_ref(pages.get(group).unwrap());
        let (first, second) = (address(&pages, 0), address(&pages, GROUPS));
        let snapshot = pages.share();
        *pages.get_mut(0).unwrap() = 7;
        assert_ne!(address(&pages, 0), first);
        assert_eq!((address(&snapshot, 0), snapshot.get(0)), (first, Some(&0)));
        drop(snapshot);
        *pages.get_mut(GROUPS).unwrap() = 7;
        assert_eq!(address(&pages, GROUPS), second);
    }

    proptest! {
        #[test]
        fn it_is_a_vector_and_a_snapshot_a_copy_of_it(
            steps in proptest::collection::vec((0u8..4, 0usize..2000, any::<u64>()), 1..60),
        ) {
            let (mut pages, mut model) = (Pages::default(), Vec::new());
            let mut snapshots = Vec::new();
            for (what, group, value) in steps {
                match what {
                    0 => {
                        pages.grow(group);
                        model.resize(model.len().max(group), 0);
                    }
                    1 if group < model.len() => {
                        *pages.get_mut(group).unwrap() = value;
                        model[group] = value;
                    }
                    2 => snapshots.push((pages.share(), model.clone())),
                    _ => {
                        pages.set(model.len(), value);
                        model.push(value);
                        snapshots.truncate(3);
                    }
                }
                prop_assert_eq!(pages.len(), model.len());
                prop_assert_eq!(pages.get(group).filter(|_| group < model.len()), model.get(group));
            }
            snapshots.push((pages, model));
            for (pages, model) in &snapshots {
                prop_assert_eq!(&all(pages), model);
            }
        }
    }
}
