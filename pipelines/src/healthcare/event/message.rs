//! Finds the known fields of one JSON object as slices of its text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

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
            return serde_json::from_str(text).map_err(|_| reason::JSON_MALFORMED);
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

impl<'de: 'a, 'a> Deserialize<'de> for Message<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Message<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut message = Message::default();
                while let Some(Name(field)) = map.next_key()? {
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

        input.deserialize_map(Object)
    }
}

/// The name of a field, looked up where it stands.
struct Name(Option<Field>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Known;

        impl Visitor<'_> for Known {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(Name(Field::named(name)))
            }
        }

        input.deserialize_str(Known)
    }
}
