//! Finds the known fields of one JSON object as slices of its text.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use thalweg_connectors::json::{FieldName, read_object};

use super::scalar::Scalar;
use crate::healthcare::reason;

macro_rules! fields {
    ($($field:ident = $name:literal),* $(,)?) => {
        /// A field that is known here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Field {
            $($field),*
        }

        impl Field {
            /// How many there are.
            pub(super) const COUNT: usize = [$(Self::$field),*].len();

            /// Its name in a message.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name),*
                }
            }

            fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$field),)*
                    _ => None,
                }
            }
        }
    };
}

fields! {
    EventId = "event_id",
    PatientId = "patient_id",
    Name = "name",
    Ssn = "ssn",
    Phone = "phone",
    Dob = "dob",
    Address = "address",
    EventType = "event_type",
    HeartRate = "heart_rate",
    BloodPressure = "blood_pressure",
    Temperature = "temperature",
    Spo2 = "spo2",
    RespiratoryRate = "respiratory_rate",
    Medication = "medication",
    Timestamp = "timestamp",
    Consciousness = "consciousness",
    Oxygen = "oxygen",
    Unit = "unit",
    DeviceId = "device_id",
}

/// One message: the JSON text of each known field.
#[derive(Default)]
pub(super) struct Message<'a> {
    values: [Option<&'a RawValue>; Field::COUNT],
    /// Fields that are not known here.
    pub(super) unknown_fields: u64,
}

impl<'a> Message<'a> {
    /// Takes a message apart. Of a field that occurs twice the last one counts.
    ///
    /// # Errors
    /// The reason code of a message that cannot be read at all.
    pub(super) fn read(payload: Option<&'a [u8]>, limit: usize) -> Result<Self, &'static str> {
        let bytes = payload.filter(|p| !p.is_empty()).ok_or(reason::MESSAGE_EMPTY)?;
        if bytes.len() > limit {
            return Err(reason::MESSAGE_TOO_LARGE);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| reason::UTF8_INVALID)?;
        if is_object(text) {
            let read = |names_may_be_no_text| {
                let mut json = serde_json::Deserializer::from_str(text);
                let message = json.deserialize_map(Object { names_may_be_no_text })?;
                json.end().map(|()| message)
            };
            return read_object(text, read).map_err(|_| reason::JSON_MALFORMED);
        }
        // Skips values without recursion, so no depth of nesting is a danger to the stack.
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Err(reason::JSON_NOT_OBJECT),
            Err(_) => Err(reason::JSON_MALFORMED),
        }
    }

    /// What a field holds; null if the field is absent.
    pub(super) fn scalar(&self, field: Field) -> Scalar<'a> {
        let json = self.values.get(field as usize).copied().flatten();
        Scalar::of(json.map(RawValue::get))
    }
}

/// Whether the text, if it is JSON, is an object.
fn is_object(text: &str) -> bool {
    text.bytes().find(|b| !b.is_ascii_whitespace()) == Some(b'{')
}

struct Object {
    names_may_be_no_text: bool,
}

impl<'de> Visitor<'de> for Object {
    type Value = Message<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut message = Message::default();
        let name = FieldName::new(Known, self.names_may_be_no_text);
        while let Some(field) = map.next_key_seed(name)? {
            if let Some(slot) = field.and_then(|f| message.values.get_mut(f as usize)) {
                *slot = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
                message.unknown_fields += 1;
            }
        }
        Ok(message)
    }
}

/// Looks a name up where it stands.
#[derive(Clone, Copy)]
struct Known;

impl Visitor<'_> for Known {
    type Value = Option<Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Field::named(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_text_is_one_that_is_not_known() {
        let read = |text: &'static str| Message::read(Some(text.as_bytes()), 1 << 20);
        let message = read(r#"{"\ud800": {"\udc00": 1}, "uni\u0074": 7, "x\ud83d": []}"#).unwrap();
        assert_eq!(message.unknown_fields, 2);
        assert_eq!(message.values[Field::Unit as usize].map(RawValue::get), Some("7"));
        for text in [r#"{"\ud8": 1}"#, "{\"\\ud800\t\": 1}", r#"{"\ud800": 1"#] {
            assert_eq!(read(text).err(), Some(reason::JSON_MALFORMED));
        }
    }
}
