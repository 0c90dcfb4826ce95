//! Names of fields, which JSON lets be no text: half a surrogate pair may be in one.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Visitor};
use serde_json::value::RawValue;

/// The name of a field, for [`serde::de::MapAccess::next_key_seed`]: what a visitor of texts makes of it.
#[derive(Debug, Clone, Copy)]
pub struct FieldName<V> {
    visitor: V,
    may_be_no_text: bool,
}

impl<V> FieldName<V> {
    /// Read by `visitor`. Where it `may_be_no_text`, such a name is the value's default; elsewhere it is an error, which reads
    /// faster: [`read_object`] tells when which.
    pub fn new(visitor: V, may_be_no_text: bool) -> Self {
        Self { visitor, may_be_no_text }
    }
}

impl<'de, V> DeserializeSeed<'de> for FieldName<V>
where
    V: Visitor<'de>,
    V::Value: Default,
{
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<V::Value, D::Error> {
        if !self.may_be_no_text {
            return input.deserialize_str(self.visitor);
        }
        // It is well-formed, or this is the error; what is no text all the same is no name that anybody looks for.
        let raw = <&RawValue>::deserialize(input)?;
        let mut name = serde_json::Deserializer::from_str(raw.get());
        Ok(name.deserialize_str(self.visitor).unwrap_or_default())
    }
}

/// Reads `text` by `read`, which is told whether a [`FieldName`] may be no text: first that none is, since hardly one ever is,
/// and once more where that may be why it could not be read.
///
/// # Errors
/// Those of `read`.
pub fn read_object<T, E>(text: &str, mut read: impl FnMut(bool) -> Result<T, E>) -> Result<T, E> {
    match read(false) {
        Err(_) if text.contains("\\u") => read(true),
        first => first,
    }
}
