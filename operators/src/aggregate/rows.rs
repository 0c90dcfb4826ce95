//! What the aggregates of a group count up, as a row of words in one place: a row of the input touches that place alone,
//! and when a snapshot shares it only few rows around it are copied.
//!
//! A row is all zeros until something is added to its group.

use std::marker::PhantomData;

use super::page::Page;
use super::spare::{Returned, Spare};

/// Words in a page, or one row if that is longer: few enough to copy between two batches, many enough to make the references few.
const PAGE_WORDS: usize = 1024;
/// Rows in a page at most.
const PAGE_ROWS: usize = 512;
/// Pages that are few: a loop over many rows looks at each of them only once.
const FEW: usize = 64;

/// A value that is kept as `N` words, which are zero for the one of an empty group.
pub(super) trait Kept<const N: usize>: Copy {
    fn from_words(words: [u64; N]) -> Self;
    fn into_words(self) -> [u64; N];
}

impl Kept<1> for i64 {
    #[inline]
    fn from_words([word]: [u64; 1]) -> Self {
        word.cast_signed()
    }

    #[inline]
    fn into_words(self) -> [u64; 1] {
        [self.cast_unsigned()]
    }
}

impl Kept<1> for i32 {
    #[inline]
    fn from_words([word]: [u64; 1]) -> Self {
        word as u32 as i32
    }

    #[inline]
    fn into_words(self) -> [u64; 1] {
        [self.cast_unsigned().into()]
    }
}

impl Kept<1> for f64 {
    #[inline]
    fn from_words([word]: [u64; 1]) -> Self {
        Self::from_bits(word)
    }

    #[inline]
    fn into_words(self) -> [u64; 1] {
        [self.to_bits()]
    }
}

impl<T: Kept<1>> Kept<2> for Option<T> {
    #[inline]
    fn from_words([is_some, word]: [u64; 2]) -> Self {
        (is_some != 0).then(|| T::from_words([word]))
    }

    #[inline]
    fn into_words(self) -> [u64; 2] {
        self.map_or([0, 0], |value| {
            let [word] = value.into_words();
            [1, word]
        })
    }
}

/// Where in each row one aggregate has its value.
#[derive(Debug)]
pub(super) struct Part<T, const N: usize> {
    at: usize,
    value: PhantomData<fn() -> T>,
}

impl<T, const N: usize> Clone for Part<T, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, const N: usize> Copy for Part<T, N> {}

/// How the parts of a row lie beside each other.
#[derive(Debug, Default)]
pub(super) struct Layout {
    width: usize,
}

impl Layout {
    /// The next part.
    pub(super) fn part<T: Kept<N>, const N: usize>(&mut self) -> Part<T, N> {
        let at = self.width;
        self.width += N;
        Part { at, value: PhantomData }
    }
}

/// A row per group.
#[derive(Debug)]
pub(super) struct Rows {
    pages: Vec<Page<[u64]>>,
    shape: Shape,
    spare: Spare,
}

/// The size of rows and pages.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Words in a row.
    width: usize,
    /// Rows in a page are two to the power of this.
    page_bits: u32,
}

impl Shape {
    fn of(layout: &Layout) -> Self {
        let rows = (PAGE_WORDS / layout.width.max(1)).clamp(1, PAGE_ROWS);
        Self { width: layout.width, page_bits: rows.ilog2() }
    }

    fn page_rows(self) -> usize {
        1 << self.page_bits
    }

    /// The page of a group, and where its row begins in it.
    #[inline]
    fn place(self, group: u32) -> (usize, usize) {
        let group = group as usize;
        (group >> self.page_bits, (group & (self.page_rows() - 1)) * self.width)
    }
}

impl Rows {
    pub(super) fn new(layout: &Layout) -> Self {
        Self { pages: Vec::new(), shape: Shape::of(layout), spare: Spare::default() }
    }

    /// Makes room for groups `0..groups`, new ones empty.
    #[inline]
    pub(super) fn grow(&mut self, groups: usize) {
        let Shape { width, .. } = self.shape;
        while self.pages.len() * self.shape.page_rows() < groups && width > 0 {
            let page = self.spare.zeros(self.shape.page_rows() * width);
            self.pages.push(Page::new(Some(page)));
        }
    }

    /// Empties `groups`.
    pub(super) fn clear(&mut self, groups: &[u32]) {
        for group in groups {
            let (page, at) = self.shape.place(*group);
            let page = self.pages.get_mut(page);
            let page = page.and_then(|page| page.own(|page| self.spare.copy(page)));
            // A loop: rows are too short to be worth a call for each.
            let words = page.into_iter().flat_map(|page| page.iter_mut().skip(at));
            words.take(self.shape.width).for_each(|word| *word = 0);
        }
    }

    /// The rows as they are now, whatever becomes of these.
    pub(super) fn share(&mut self) -> SharedRows {
        let back = self.spare.of_snapshot();
        let pages = self.pages.iter_mut().map(Page::share).collect();
        SharedRows { rows: Self { pages, shape: self.shape, spare: Spare::default() }, back }
    }

    /// Bytes of a group's row.
    pub(super) fn row_bytes(&self) -> usize {
        8 * self.shape.width
    }
}

/// The rows as of one instant.
#[derive(Debug)]
pub(super) struct SharedRows {
    pub(super) rows: Rows,
    back: Returned,
}

impl Drop for SharedRows {
    fn drop(&mut self) {
        self.back.give_back(self.rows.pages.drain(..).filter_map(Page::into_memory));
    }
}

impl<T: Kept<N>, const N: usize> Part<T, N> {
    #[inline]
    fn change(page: &mut [u64], at: usize, change: impl FnOnce(&mut T)) {
        if let Some(words) = page.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>()) {
            let mut value = T::from_words(*words);
            change(&mut value);
            *words = value.into_words();
        }
    }

    /// Calls `add` with the value of each group of the input and the number that comes with it.
    #[inline]
    pub(super) fn each(
        self,
        rows: &mut Rows,
        input: impl Iterator<Item = (u32, usize)>,
        mut add: impl FnMut(&mut T, usize),
    ) {
        let (shape, Rows { pages, spare, .. }) = (rows.shape, rows);
        let input_at_most = input.size_hint().1.unwrap_or(usize::MAX);
        if pages.len() > FEW.min(input_at_most) {
            input.for_each(|(group, row)| {
                let (page, at) = shape.place(group);
                let page = pages.get_mut(page);
                if let Some(page) = page.and_then(|page| page.own(|page| spare.copy(page))) {
                    Self::change(page, at + self.at, |value| add(value, row));
                }
            });
            return;
        }
        let own = pages.iter_mut().map(|page| page.own(|page| spare.copy(page)));
        let mut pages: Vec<&mut [u64]> = own.map(Option::unwrap_or_default).collect();
        input.for_each(|(group, row)| {
            let (page, at) = shape.place(group);
            if let Some(page) = pages.get_mut(page) {
                Self::change(page, at + self.at, |value| add(value, row));
            }
        });
    }

    /// The first of its words as a value by itself.
    pub(super) fn first_word<U: Kept<1>>(self) -> Part<U, 1> {
        Part { at: self.at, value: PhantomData }
    }

    /// The values of `groups`, in their order.
    pub(super) fn of(self, rows: &Rows, groups: &[u32]) -> impl Iterator<Item = T> {
        groups.iter().filter_map(move |group| {
            let (page, at) = rows.shape.place(*group);
            let words = rows.pages.get(page)?.values()?.get(at + self.at..)?.first_chunk::<N>()?;
            Some(T::from_words(*words))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_is_zero_for_the_value_of_an_empty_group() {
        assert_eq!(Option::<f64>::from_words([0, 0]), None);
        assert_eq!(Some(-0.0_f64).into_words(), [1, 1 << 63]);
        assert_eq!(i32::from_words((-7_i32).into_words()), -7);
        assert_eq!(i64::from_words(i64::MIN.into_words()), i64::MIN);
    }

    #[test]
    fn a_page_is_copied_only_while_a_snapshot_holds_it() {
        let mut layout = Layout::default();
        let part = layout.part::<i64, 1>();
        let mut rows = Rows::new(&layout);
        rows.grow(2 * PAGE_ROWS);
        let address = |rows: &Rows, page: usize| rows.pages[page].values().unwrap().as_ptr();
        let second = PAGE_ROWS as u32;
        let (first_page, second_page) = (address(&rows, 0), address(&rows, 1));
        let snapshot = rows.share();
        part.each(&mut rows, [(0, 0)].into_iter(), |value, _| *value = 7);
        assert_ne!(address(&rows, 0), first_page);
        assert_eq!(address(&snapshot.rows, 0), first_page);
        assert!(part.of(&snapshot.rows, &[0, second]).eq([0, 0]));
        drop(snapshot);
        part.each(&mut rows, [(second, 0)].into_iter(), |value, _| *value = 8);
        assert_eq!(address(&rows, 1), second_page);
        assert!(part.of(&rows, &[0, second]).eq([7, 8]));
    }

    proptest! {
        #[test]
        fn parts_are_vectors_and_a_snapshot_a_copy_of_them(
            steps in proptest::collection::vec((0u8..5, 0u32..10_000, any::<i64>()), 1..60),
        ) {
            let mut layout = Layout::default();
            let (counts, sums) = (layout.part::<i64, 1>(), layout.part::<Option<f64>, 2>());
            let mut rows = Rows::new(&layout);
            let mut model: Vec<(i64, Option<f64>)> = Vec::new();
            let mut snapshots = Vec::new();
            for (what, group, value) in steps {
                if group as usize >= model.len() {
                    model.resize(group as usize + 1, (0, None));
                    rows.grow(model.len());
                }
                let slot = &mut model[group as usize];
                let one = [(group, 0)].into_iter();
                match what {
                    0 => snapshots.push((rows.share(), model.clone())),
                    1 => {
                        rows.clear(&[group]);
                        *slot = (0, None);
                    }
                    2 => {
                        // Many rows, for which few pages are looked at once.
                        let many = (0..=group).rev().take(200).zip(0..);
                        counts.each(&mut rows, many, |count, row| {
                            *count = count.wrapping_add(value).wrapping_add(row as i64);
                        });
                        for (row, (count, _)) in model.iter_mut().take(group as usize + 1).rev().take(200).enumerate() {
                            *count = count.wrapping_add(value).wrapping_add(row as i64);
                        }
                    }
                    3 => {
                        sums.each(&mut rows, one, |sum, _| *sum = Some(value as f64));
                        slot.1 = Some(value as f64);
                    }
                    _ if !snapshots.is_empty() => {
                        snapshots.swap_remove(group as usize % snapshots.len());
                    }
                    _ => {}
                }
            }
            snapshots.push((rows.share(), model));
            for (SharedRows { rows, .. }, model) in &snapshots {
                let groups: Vec<u32> = (0..model.len() as u32).collect();
                let kept: Vec<_> = counts.of(rows, &groups).zip(sums.of(rows, &groups)).collect();
                prop_assert_eq!(&kept, model);
            }
        }
    }
}
