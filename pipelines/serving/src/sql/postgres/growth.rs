//! Functions whose values can be much larger than what they are made of: `replace` of every letter by a page, nested in itself.
//! What a call of them makes is counted as memory of queries before it is made, and for as long as it is there. What one makes
//! of constants belongs to the query itself, and has an end.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, make_array};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::failure::Told;

/// Bytes of what a call makes of constants.
const LONGEST: usize = 1 << 20;
/// Rows are worked off in parts that may become so many bytes: what a row becomes at most is far more than it mostly does.
const PART: usize = 16 << 20;

/// As many bytes as one row's value may have, by how many each of its arguments has.
type Most = fn(&[usize]) -> usize;

const GROWING: [(&str, Most); 11] = [
    // Each value has a byte at least.
    ("array_to_string", |of| {
        at(of, 0).saturating_mul(at(of, 1).saturating_add(at(of, 2)).saturating_add(1))
    }),
    ("concat", sum),
    ("concat_ws", |of| sum(of).saturating_add(at(of, 0).saturating_mul(of.len()))),
    ("encode", doubled),
    // Each `%` may name the longest value, and each letter of that be doubled.
    ("format", |of| {
        let longest = of.iter().skip(1).max().copied().unwrap_or(0);
        at(of, 0).saturating_mul(longest.saturating_add(2))
    }),
    ("like_escape", doubled),
    // What stands behind comes again where the length is negative.
    ("overlay", |of| sum(of).saturating_add(at(of, 0))),
    ("quote_ident", doubled),
    // Around each letter there may be a match, and in its place all of itself as often as two letters name it.
    ("regexp_replace", |of| {
        at(of, 0).saturating_add(1).saturating_mul(at(of, 2).saturating_add(1)).saturating_mul(2)
    }),
    ("replace", |of| {
        let times = at(of, 0) / at(of, 1).max(1);
        at(of, 0).saturating_add(times.saturating_mul(at(of, 2)))
    }),
    // `Y` is a digit of a year, `DAY` is `WEDNESDAY`.
    ("to_char", |of| at(of, 1).saturating_mul(8)),
];

fn at(of: &[usize], place: usize) -> usize {
    of.get(place).copied().unwrap_or(0)
}

fn sum(of: &[usize]) -> usize {
    of.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
}

/// And in quotes.
fn doubled(of: &[usize]) -> usize {
    sum(of).saturating_mul(2).saturating_add(2)
}

/// The function, whose values count in this pool if it is one of these.
pub(super) fn counted(function: Arc<ScalarUDF>, pool: &Arc<dyn MemoryPool>) -> Arc<ScalarUDF> {
    match GROWING.iter().find(|(name, _)| *name == function.name()) {
        Some((_, most)) => {
            let pool = Arc::clone(pool);
            Arc::new(ScalarUDF::from(Growing { function, most: *most, pool }))
        }
        None => function,
    }
}

/// It is not simplified in the function's own way: what that makes would be the function itself.
#[derive(Debug)]
struct Growing {
    function: Arc<ScalarUDF>,
    most: Most,
    pool: Arc<dyn MemoryPool>,
}

impl PartialEq for Growing {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

impl Eq for Growing {}

impl Hash for Growing {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

impl ScalarUDFImpl for Growing {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.function.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.function.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let sizes = args.args.iter().map(Sizes::of).collect::<Result<Vec<_>>>()?;
        if sizes.iter().all(|one| matches!(one, Sizes::Constant(_))) {
            let of = row(&sizes, 0);
            return self.constant(args, &of);
        }
        let rows = args.number_rows;
        let mut made: Vec<(ArrayRef, MemoryReservation)> = Vec::new();
        let mut first = 0;
        while first < rows || made.is_empty() {
            let (behind, most) = self.part(&sizes, first, rows);
            let memory = self.reserve(most)?;
            let part = self.function.invoke_with_args(sliced(&args, first, behind))?;
            let part = part.into_array(behind - first)?;
            memory.resize(part.get_array_memory_size());
            made.push((part, memory));
            first = behind;
        }
        let (whole, memory) = self.joined(made)?;
        Ok(ColumnarValue::Array(kept(&whole, memory)?))
    }
}

impl Growing {
    fn reserve(&self, bytes: usize) -> Result<MemoryReservation> {
        let memory = MemoryConsumer::new(self.name()).register(&self.pool);
        if memory.try_grow(bytes).is_err() {
            let told = "the query needs more memory than this server gives: a function makes \
                        too long texts of its values";
            return Err(Told::new("53200", told).into());
        }
        Ok(memory)
    }

    fn constant(&self, args: ScalarFunctionArgs, of: &[usize]) -> Result<ColumnarValue> {
        let memory = self.reserve((self.most)(of))?;
        let made = self.function.invoke_with_args(args)?;
        drop(memory);
        let bytes = match &made {
            ColumnarValue::Scalar(_) => row(&[Sizes::of(&made)?], 0),
            ColumnarValue::Array(array) => vec![array.get_array_memory_size()],
        };
        if sum(&bytes) > LONGEST {
            let told = "a function would make a text of more than 1 MiB of constants";
            return Err(Told::new("54000", told).into());
        }
        Ok(made)
    }

    /// Behind which row a part ends that begins with `first`, and as many bytes as it may become. Constants count in each row,
    /// for functions lay them out.
    fn part(&self, sizes: &[Sizes<'_>], first: usize, rows: usize) -> (usize, usize) {
        let mut most = 0_usize;
        for at in first..rows {
            let of = row(sizes, at);
            let with = most.saturating_add(sum(&of)).saturating_add((self.most)(&of));
            if with > PART && at > first {
                return (at, most);
            }
            most = with;
        }
        (rows, most)
    }

    fn joined(
        &self,
        mut made: Vec<(ArrayRef, MemoryReservation)>,
    ) -> Result<(ArrayRef, MemoryReservation)> {
        if made.len() == 1
            && let Some(only) = made.pop()
        {
            return Ok(only);
        }
        let memory = self.reserve(made.iter().map(|(_, memory)| memory.size()).sum())?;
        let parts: Vec<&dyn Array> = made.iter().map(|(part, _)| part.as_ref()).collect();
        let whole = concat(&parts)?;
        memory.resize(whole.get_array_memory_size());
        Ok((whole, memory))
    }
}

/// How many bytes the values of an argument have.
enum Sizes<'a> {
    Constant(usize),
    Rows(&'a ArrayRef),
}

impl<'a> Sizes<'a> {
    fn of(argument: &'a ColumnarValue) -> Result<Self> {
        Ok(match argument {
            ColumnarValue::Scalar(value) => Self::Constant(bytes(&value.to_array()?, 0)),
            ColumnarValue::Array(array) => Self::Rows(array),
        })
    }
}

/// Those of one row.
fn row(sizes: &[Sizes<'_>], at: usize) -> Vec<usize> {
    let one = |size: &Sizes<'_>| match size {
        Sizes::Constant(bytes) => *bytes,
        Sizes::Rows(array) => bytes(array, at),
    };
    sizes.iter().map(one).collect()
}

fn bytes(array: &ArrayRef, row: usize) -> usize {
    if array.is_null(row) {
        return 0;
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).len(),
        DataType::Utf8View => array.as_string_view().value(row).len(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).len(),
        DataType::List(_) => {
            let inside = array.as_list::<i32>().value(row);
            (0..inside.len()).map(|row| bytes(&inside, row).max(1)).sum()
        }
        // As a text: a day of four bytes has ten letters, a boolean of one has five.
        _ => array.slice(row, 1).to_data().get_slice_memory_size().unwrap_or(0).saturating_mul(8),
    }
}

/// A call for some of the rows.
fn sliced(args: &ScalarFunctionArgs, first: usize, behind: usize) -> ScalarFunctionArgs {
    let values = args.args.iter().map(|argument| match argument {
        ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(first, behind - first)),
        constant @ ColumnarValue::Scalar(_) => constant.clone(),
    });
    ScalarFunctionArgs {
        args: values.collect(),
        arg_fields: args.arg_fields.clone(),
        number_rows: behind - first,
        return_field: Arc::clone(&args.return_field),
        config_options: Arc::clone(&args.config_options),
    }
}

/// Texts, and the memory that they take, which is given back when nobody has them any more.
struct Kept {
    texts: Buffer,
    _memory: MemoryReservation,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        self.texts.as_slice()
    }
}

fn kept(array: &ArrayRef, memory: MemoryReservation) -> Result<ArrayRef> {
    let data = array.to_data();
    let mut buffers = data.buffers().to_vec();
    let Some(texts) = buffers.pop() else { return Ok(Arc::clone(array)) };
    buffers.push(Buffer::from(Bytes::from_owner(Kept { texts, _memory: memory })));
    Ok(make_array(data.into_builder().buffers(buffers).build()?))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringArray;
    use datafusion::arrow::datatypes::Field;
    use datafusion::common::ScalarValue;
    use datafusion::config::ConfigOptions;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    fn pool(bytes: usize) -> Arc<dyn MemoryPool> {
        Arc::new(GreedyMemoryPool::new(bytes))
    }

    /// `replace` of a column, with constants.
    fn replaced(
        pool: &Arc<dyn MemoryPool>,
        texts: ColumnarValue,
        [from, to]: [&str; 2],
        rows: usize,
    ) -> Result<ColumnarValue> {
        let state = SessionStateBuilder::new().with_default_features().build();
        let function = counted(Arc::clone(&state.scalar_functions()["replace"]), pool);
        let field = || Arc::new(Field::new("text", DataType::Utf8, true));
        let constant = |text: &str| ColumnarValue::Scalar(ScalarValue::from(text));
        function.invoke_with_args(ScalarFunctionArgs {
            args: vec![texts, constant(from), constant(to)],
            arg_fields: vec![field(), field(), field()],
            number_rows: rows,
            return_field: field(),
            config_options: Arc::new(ConfigOptions::default()),
        })
    }

    fn column(text: &str, rows: usize) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(StringArray::from(vec![text; rows])))
    }

    fn code(refused: Result<ColumnarValue>) -> &'static str {
        Told::execution(&refused.unwrap_err()).code
    }

    #[test]
    fn what_a_call_makes_is_counted_for_as_long_as_it_is_there() {
        let enough = pool(512 << 20);
        let long = "x".repeat(1000);
        // 40 MB of 40 kB, in several parts.
        let made = replaced(&enough, column("aaaa", 10_000), ["a", &long], 10_000).unwrap();
        let ColumnarValue::Array(array) = made else { panic!("it is one value") };
        let texts = array.as_string::<i32>();
        assert_eq!(texts.len(), 10_000);
        assert!(texts.iter().all(|text| text.is_some_and(|text| text.len() == 4000)));
        assert!(enough.reserved() >= 40_000_000, "{}", enough.reserved());
        let few = array.slice(0, 10);
        drop(array);
        assert!(enough.reserved() >= 40_000_000, "it has them all");
        drop(few);
        assert_eq!(enough.reserved(), 0);
        let pool = pool(32 << 20);
        assert_eq!(code(replaced(&pool, column("aaaa", 10_000), ["a", &long], 10_000)), "53200");

        let none = replaced(&pool, column("a", 0), ["a", "b"], 0).unwrap();
        assert_eq!(none.into_array(0).unwrap().len(), 0);
        let one = replaced(&pool, column("aba", 1), ["b", "cc"], 1).unwrap();
        assert_eq!(one.into_array(1).unwrap().as_string::<i32>().value(0), "acca");
        // No memory is as much as this.
        let long = "a".repeat(1 << 20);
        assert_eq!(code(replaced(&pool, column(&long, 1), ["a", &long], 1)), "53200");
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn what_is_made_of_constants_has_an_end() {
        let pool = pool(64 << 20);
        let text = |text: &str| ColumnarValue::Scalar(ScalarValue::from(text));
        let (some, more) = ("a".repeat(1000), "b".repeat(1049));
        let made = replaced(&pool, text(&some), ["a", &more[1..]], 1).unwrap();
        assert!(matches!(made, ColumnarValue::Scalar(ScalarValue::Utf8(Some(_)))));
        assert_eq!(code(replaced(&pool, text(&some), ["a", &more], 1)), "54000");
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn bytes_of_values_are_told_by_their_type() {
        let list = |values: &[i64]| {
            let values: Vec<ScalarValue> = values.iter().map(|&value| value.into()).collect();
            ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Int64))
        };
        for (value, expected) in [
            (ScalarValue::from("four"), 4),
            (ScalarValue::Utf8View(Some("a text that is no part of its view".to_owned())), 34),
            (ScalarValue::LargeUtf8(Some("abc".to_owned())), 3),
            (ScalarValue::Utf8(None), 0),
            (ScalarValue::Int64(Some(7)), 64),
            (list(&[1, 2, 3]), 192),
        ] {
            let of = ColumnarValue::Scalar(value);
            assert_eq!(row(&[Sizes::of(&of).unwrap()], 0), [expected], "{of:?}");
        }
    }
}
