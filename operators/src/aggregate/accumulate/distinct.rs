//! How many distinct values, exactly: the set of values of each group.
//!
//! Most groups of most streams see a handful of values, so a set starts as a short vector and becomes a hash table of
//! the bare values once scanning would cost more than hashing.

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, ListArray, StringArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field};
use hashbrown::HashTable;
use thalweg_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_64;

use super::super::pages::Pages;
use super::{Accumulator, Rows, wrong_column};

/// Longest set that is scanned.
const SCANNED: usize = 8;

/// A kind of value that can be counted.
pub(in super::super) trait Value: Debug + Send + Sync + 'static {
    /// As it is kept.
    type Owned: Debug + Send + Sync + Ord + Clone;
    /// As a column hands it out.
    type Borrowed<'a>: Copy;
    /// The values of an array, nulls included.
    fn column<'a>(array: &'a ArrayRef) -> Option<impl Fn(usize) -> Self::Borrowed<'a>>;
    fn hash(value: Self::Borrowed<'_>) -> u64;
    fn hash_owned(value: &Self::Owned) -> u64;
    fn is(owned: &Self::Owned, value: Self::Borrowed<'_>) -> bool;
    fn own(value: Self::Borrowed<'_>) -> Self::Owned;
    /// Roughly the bytes that a value takes in a set: tables are between half and fully loaded.
    fn bytes(value: &Self::Owned) -> usize;
    fn data_type() -> DataType;
    /// The values as a column, if they fit one.
    fn array(values: Vec<Self::Owned>) -> Option<ArrayRef>;
}

/// 64-bit integers.
#[derive(Debug)]
pub(in super::super) struct Integers;

impl Value for Integers {
    type Owned = i64;
    type Borrowed<'a> = i64;

    fn column(array: &ArrayRef) -> Option<impl Fn(usize) -> i64> {
        let values = array.as_primitive_opt::<Int64Type>()?.values();
        Some(|row: usize| values.get(row).copied().unwrap_or_default())
    }

    #[inline]
    fn hash(value: i64) -> u64 {
        // Both halves of a product: consecutive identifiers spread over the whole table.
        let spread = u128::from(value.cast_unsigned() ^ 0x2d35_8dcc_aa6c_78a5)
            .wrapping_mul(0x8bb8_4b93_962e_acc9_9e37_79b9_7f4a_7c15);
        (spread as u64) ^ ((spread >> 64) as u64)
    }

    #[inline]
    fn hash_owned(value: &i64) -> u64 {
        Self::hash(*value)
    }

    #[inline]
    fn is(owned: &i64, value: i64) -> bool {
        *owned == value
    }

    fn own(value: i64) -> i64 {
        value
    }

    fn bytes(_value: &i64) -> usize {
        16
    }

    fn data_type() -> DataType {
        DataType::Int64
    }

    fn array(values: Vec<i64>) -> Option<ArrayRef> {
        Some(Arc::new(Int64Array::from(values)))
    }
}

/// Texts.
#[derive(Debug)]
pub(in super::super) struct Texts;

impl Value for Texts {
    type Owned = Box<str>;
    type Borrowed<'a> = &'a str;

    fn column<'a>(array: &'a ArrayRef) -> Option<impl Fn(usize) -> &'a str> {
        let values = array.as_string_opt::<i32>()?;
        Some(|row: usize| values.value(row))
    }

    fn hash(value: &str) -> u64 {
        xxh3_64(value.as_bytes())
    }

    fn hash_owned(value: &Box<str>) -> u64 {
        Self::hash(value)
    }

    fn is(owned: &Box<str>, value: &str) -> bool {
        **owned == *value
    }

    fn own(value: &str) -> Box<str> {
        value.into()
    }

    fn bytes(value: &Box<str>) -> usize {
        32 + value.len()
    }

    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn array(values: Vec<Box<str>>) -> Option<ArrayRef> {
        texts(values)
    }
}

/// Texts as a column, if its offsets, of 32 bits, reach to their end.
fn texts(values: Vec<impl AsRef<str>>) -> Option<ArrayRef> {
    let bytes: usize = values.iter().map(|text| text.as_ref().len()).sum();
    i32::try_from(bytes).ok()?;
    Some(Arc::new(StringArray::from_iter_values(values)))
}

#[derive(Debug)]
enum Set<V: Value> {
    Few(Vec<V::Owned>),
    /// Behind a reference, so that a snapshot copies no set that does not change.
    Many(Arc<HashTable<V::Owned>>),
}

impl<V: Value> Clone for Set<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Few(few) => Self::Few(few.clone()),
            Self::Many(many) => Self::Many(Arc::clone(many)),
        }
    }
}

impl<V: Value> Default for Set<V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<V: Value> Set<V> {
    /// Adds a value; returns roughly the bytes that this takes.
    #[inline]
    fn insert(&mut self, value: V::Borrowed<'_>) -> usize {
        match self {
            Self::Few(few) => {
                if few.iter().any(|own| V::is(own, value)) {
                    return 0;
                }
                let own = V::own(value);
                let bytes = V::bytes(&own);
                few.push(own);
                if few.len() > SCANNED {
                    let mut many = HashTable::with_capacity(4 * SCANNED);
                    for own in few.drain(..) {
                        many.insert_unique(V::hash_owned(&own), own, V::hash_owned);
                    }
                    *self = Self::Many(Arc::new(many));
                }
                bytes
            }
            Self::Many(many) => {
                let hash = V::hash(value);
                if many.find(hash, |own| V::is(own, value)).is_some() {
                    return 0;
                }
                let own = V::own(value);
                let bytes = V::bytes(&own);
                Arc::make_mut(many).insert_unique(hash, own, V::hash_owned);
                bytes
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Few(few) => few.iter().map(V::bytes).sum(),
            Self::Many(many) => many.iter().map(V::bytes).sum(),
        }
    }

    /// Adds the values to `all`, sorted: a set's inner order must not show.
    fn append_to(&self, all: &mut Vec<V::Owned>) {
        let from = all.len();
        match self {
            Self::Few(few) => all.extend_from_slice(few),
            Self::Many(many) => all.extend(many.iter().cloned()),
        }
        if let Some(own) = all.get_mut(from..) {
            own.sort_unstable();
        }
    }
}

/// The distinct values per group.
#[derive(Debug)]
pub(in super::super) struct Distinct<V: Value> {
    sets: Pages<Set<V>>,
    bytes: usize,
}

impl Distinct<Integers> {
    pub(in super::super) fn integers() -> Self {
        Self { sets: Pages::default(), bytes: 0 }
    }
}

impl Distinct<Texts> {
    pub(in super::super) fn texts() -> Self {
        Self { sets: Pages::default(), bytes: 0 }
    }
}

fn too_many() -> Error {
    Error::new(
        ErrorKind::ResourceExhausted,
        "a distinct count has more values than a batch can hold (2 GiB of text, or 2^31 of them): count over shorter \
         windows, or numbers instead of texts",
    )
}

/// The state column's item: values of a set are never null.
pub(in super::super) fn item(data_type: DataType) -> Field {
    Field::new("item", data_type, false)
}

impl<V: Value> Accumulator for Distinct<V> {
    fn grow(&mut self, groups: usize) {
        self.sets.grow(groups);
    }

    fn update(
        &mut self,
        _rows: &mut Rows,
        groups: &[u32],
        values: Option<&ArrayRef>,
    ) -> Result<()> {
        let array = values.ok_or_else(wrong_column)?;
        let value = V::column(array).ok_or_else(wrong_column)?;
        let mut bytes = 0;
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => self.sets.each_row(groups, |set, row| bytes += set.insert(value(row))),
            Some(nulls) => self.sets.each_row(groups, |set, row| {
                if nulls.is_valid(row) {
                    bytes += set.insert(value(row));
                }
            }),
        }
        self.bytes += bytes;
        Ok(())
    }

    fn merge(&mut self, _rows: &mut Rows, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let lists = state.first().and_then(|c| c.as_list_opt::<i32>()).ok_or_else(wrong_column)?;
        let value = V::column(lists.values()).ok_or_else(wrong_column)?;
        let offsets = lists.value_offsets();
        let mut bytes = 0;
        self.sets.each_row(groups, |set, row| {
            if let (Some(from), Some(to)) = (offsets.get(row), offsets.get(row + 1)) {
                bytes += (*from..*to).map(|at| set.insert(value(at as usize))).sum::<usize>();
            }
        });
        self.bytes += bytes;
        Ok(())
    }

    fn state(&self, _rows: &Rows, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let total: usize = self.sets.of(groups).map(Set::len).sum();
        i32::try_from(total).map_err(|_| too_many())?;
        let mut values = Vec::with_capacity(total);
        for set in self.sets.of(groups) {
            set.append_to(&mut values);
        }
        let offsets = OffsetBuffer::from_lengths(self.sets.of(groups).map(Set::len));
        let values = V::array(values).ok_or_else(too_many)?;
        let item = Arc::new(item(V::data_type()));
        let lists = ListArray::try_new(item, offsets, values, None);
        Ok(vec![Arc::new(lists.map_err(|_| wrong_column())?)])
    }

    fn evaluate(&self, _rows: &Rows, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(self.sets.of(groups).map(|s| s.len() as i64))))
    }

    fn clear(&mut self, groups: &[u32]) {
        self.bytes -= self.sets.of(groups).map(Set::bytes).sum::<usize>();
        self.sets.clear(groups);
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self { sets: self.sets.share(), bytes: self.bytes })
    }

    fn heap_bytes(&self) -> usize {
        self.bytes + size_of::<Set<V>>() * self.sets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layout;
    use super::*;

    #[test]
    fn texts_of_two_gibibytes_are_no_column() {
        let text = "x".repeat(1 << 20);
        assert!(texts(vec![text.as_str(); 2048]).is_none());
        assert_eq!(texts(vec!["a", ""]).unwrap().len(), 2);
    }

    /// Numbers of which no two fit a column.
    #[derive(Debug)]
    struct Long;

    impl Value for Long {
        type Owned = i64;
        type Borrowed<'a> = i64;

        fn column(array: &ArrayRef) -> Option<impl Fn(usize) -> i64> {
            Integers::column(array)
        }
        fn hash(value: i64) -> u64 {
            Integers::hash(value)
        }
        fn hash_owned(value: &i64) -> u64 {
            Integers::hash(*value)
        }
        fn is(owned: &i64, value: i64) -> bool {
            *owned == value
        }
        fn own(value: i64) -> i64 {
            value
        }
        fn bytes(value: &i64) -> usize {
            Integers::bytes(value)
        }
        fn data_type() -> DataType {
            DataType::Int64
        }
        fn array(values: Vec<i64>) -> Option<ArrayRef> {
            if values.len() > 1 { None } else { Integers::array(values) }
        }
    }

    #[test]
    fn values_that_do_not_fit_a_batch_are_a_limit_that_is_told() {
        let mut rows = Rows::new(&Layout::default());
        let mut sets: Distinct<Long> = Distinct { sets: Pages::default(), bytes: 0 };
        sets.grow(2);
        let values: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
        sets.update(&mut rows, &[0, 1], Some(&values)).unwrap();
        assert_eq!(sets.state(&rows, &[0]).unwrap().len(), 1);
        let error = sets.state(&rows, &[0, 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    }
}
