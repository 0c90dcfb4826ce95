//! One walk over a JSON object that keeps what the known fields hold.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::name::{FieldName, read_object};
use super::{EMPTY, MALFORMED, NOT_OBJECT};

/// What a field holds. Text without escapes is borrowed from the message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// Absent or null.
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    /// An array, an object, an integer beyond 64 bits.
    Other,
}

/// The values of one message, by column.
pub(super) struct Row<'a>(Vec<Value<'a>>);

impl<'a> Row<'a> {
    pub(super) fn values(&self) -> &[Value<'a>] {
        &self.0
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(Value::Null);
    }
}

/// A field that a column is filled from.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: String,
    /// Numbers are taken as floating point, to the last bit.
    pub(super) is_float: bool,
}

/// The known fields, by column.
#[derive(Debug)]
pub(super) struct Names(Vec<Option<Known>>);

impl Names {
    pub(super) fn new(names: Vec<Option<Known>>) -> Self {
        Self(names)
    }

    pub(super) fn row<'a>(&self) -> Row<'a> {
        Row(vec![Value::Null; self.0.len()])
    }

    /// Reads a message into `row`.
    ///
    /// # Errors
    /// The code of a message that cannot be read; `row` holds parts of it or of the one before then.
    pub(super) fn read<'a>(
        &self,
        payload: &'a [u8],
        row: &mut Row<'a>,
    ) -> Result<(), &'static str> {
        if payload.is_empty() {
            return Err(EMPTY);
        }
        let text = std::str::from_utf8(payload).map_err(|_| MALFORMED)?;
        let is_object = payload.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
        if !is_object {
            // Skips values without recursion: no depth of nesting is a danger to the stack.
            let any = serde_json::from_str::<IgnoredAny>(text);
            return Err(if any.is_ok() { NOT_OBJECT } else { MALFORMED });
        }
        let read = |names_may_be_no_text| {
            row.clear();
            let mut json = serde_json::Deserializer::from_str(text);
            let object = Object { names: &self.0, row: &mut row.0, names_may_be_no_text };
            json.deserialize_map(object).and_then(|()| json.end())
        };
        read_object(text, read).map_err(|_| MALFORMED)
    }
}

struct Object<'n, 'r, 'a> {
    names: &'n [Option<Known>],
    row: &'r mut Vec<Value<'a>>,
    names_may_be_no_text: bool,
}

impl<'a> Visitor<'a> for Object<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        // A producer writes its fields in the same order each time, and mostly in that of the record.
        let mut expected = 0;
        loop {
            let name = Name { names: self.names, expected };
            let name = FieldName::new(name, self.names_may_be_no_text);
            let Some(found) = map.next_key_seed(name)? else { return Ok(()) };
            let Some((at, is_float)) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            expected = at + 1;
            let value = if is_float {
                float(map.next_value::<&RawValue>()?.get())
            } else {
                map.next_value_seed(AnyValue)?
            };
            if let Some(slot) = self.row.get_mut(at) {
                *slot = value;
            }
        }
    }
}

/// The value of JSON text that is to be floating point. The parser's own conversion may be off by a last bit.
fn float<'a>(json: &str) -> Value<'a> {
    match json.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b'-' | b'0'..=b'9') => json.parse().map_or(Value::Other, Value::Float),
        _ => Value::Other,
    }
}

/// The column that a name belongs to, and whether that is floating point.
struct Name<'n> {
    names: &'n [Option<Known>],
    expected: usize,
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<(usize, bool)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let at = |at: usize, known: &Option<Known>| {
            known.as_ref().filter(|k| k.name == name).map(|k| (at, k.is_float))
        };
        if let Some(found) = self.names.get(self.expected).and_then(|k| at(self.expected, k)) {
            return Ok(Some(found));
        }
        Ok(self.names.iter().enumerate().find_map(|(i, known)| at(i, known)))
    }
}

struct AnyValue;

impl<'de> DeserializeSeed<'de> for AnyValue {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Value<'de>, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(i64::try_from(value).map_or(Value::Other, Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        // The parser makes one of `-0`, too, which is an integer, and does not tell how it was written.
        let is_negative_zero = value.to_bits() == (-0.0_f64).to_bits();
        Ok(if is_negative_zero { Value::Int(0) } else { Value::Float(value) })
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        // Its names need not be text.
        while map.next_entry::<&RawValue, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}
