//! A decoder of bincode's standard format that believes no length.
//!
//! Bincode's own reserves what a text or bytes are said to take before it looks whether they are there. What keeps damaged
//! bytes from asking for all memory is a limit that is a constant and counts over all of the input: it refuses large states
//! as well. Here a length is compared with what is left of the input, so that nothing needs a limit. Plain values are
//! bincode's.

use bincode::error::DecodeError;
use bincode::{BorrowDecode, config};
use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

type Result<T> = std::result::Result<T, DecodeError>;

/// What has not been decoded yet.
pub(super) struct Slice<'de>(pub(super) &'de [u8]);

impl<'de> Slice<'de> {
    /// A number, or a text or bytes where they lie: of these bincode takes no more than is there.
    fn plain<T: BorrowDecode<'de, ()>>(&mut self) -> Result<T> {
        let (value, used) = bincode::borrow_decode_from_slice(self.0, config::standard())?;
        self.0 = self.0.get(used..).unwrap_or_default();
        Ok(value)
    }

    /// What most texts and keys are made of.
    #[inline]
    fn byte(&mut self) -> Result<u8> {
        let (byte, rest) = self.0.split_first().ok_or(DecodeError::Other("cut off"))?;
        self.0 = rest;
        Ok(*byte)
    }

    fn length(&mut self) -> Result<usize> {
        let length = self.plain::<u64>()?;
        usize::try_from(length).map_err(|_| DecodeError::OutsideUsizeRange(length))
    }
}

macro_rules! plain {
    ($($deserialize:ident $visit:ident,)*) => {
        $(
            fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
                visitor.$visit(self.plain()?)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for &mut Slice<'de> {
    type Error = DecodeError;

    plain!(
        deserialize_bool visit_bool,
        deserialize_i8 visit_i8,
        deserialize_i16 visit_i16,
        deserialize_i32 visit_i32,
        deserialize_i64 visit_i64,
        deserialize_i128 visit_i128,
        deserialize_u16 visit_u16,
        deserialize_u32 visit_u32,
        deserialize_u64 visit_u64,
        deserialize_u128 visit_u128,
        deserialize_f32 visit_f32,
        deserialize_f64 visit_f64,
        deserialize_char visit_char,
        deserialize_str visit_borrowed_str,
        deserialize_bytes visit_borrowed_bytes,
    );

    #[inline]
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u8(self.byte()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let text: &'de str = self.plain()?;
        visitor.visit_string(text.to_owned())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let bytes: &'de [u8] = self.plain()?;
        visitor.visit_byte_buf(bytes.to_vec())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.byte()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => Err(DecodeError::Other("neither something nor nothing")),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let left = self.length()?;
        visitor.visit_seq(Items { of: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        visitor.visit_seq(Items { of: self, left: len })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_seq(Items { of: self, left: len })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let left = self.length()?;
        visitor.visit_map(Items { of: self, left })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_seq(Items { of: self, left: fields.len() })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value> {
        Err(DecodeError::Other("the format does not tell types"))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value> {
        Err(DecodeError::Other("the format has no names"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value> {
        Err(DecodeError::Other("the format does not tell types"))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Values beside each other: of a sequence or a struct, or keys each with its value.
struct Items<'a, 'de> {
    of: &'a mut Slice<'de>,
    left: usize,
}

impl<'de> Items<'_, 'de> {
    fn item<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.of).map(Some)
    }

    /// Whoever makes room for them makes it for no more than there are bytes.
    fn likely(&self) -> usize {
        self.left.min(self.of.0.len())
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        self.item(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.likely())
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.item(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(&mut *self.of)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.likely())
    }
}

impl<'de> EnumAccess<'de> for &mut Slice<'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        let variant: U32Deserializer<DecodeError> = self.plain::<u32>()?.into_deserializer();
        Ok((seed.deserialize(variant)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Slice<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        visitor.visit_seq(Items { of: self, left: len })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_seq(Items { of: self, left: fields.len() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::super::{decode, encode};
    use super::*;

    #[derive(Debug, Clone, Serialize, Deserialize)]
    enum Shape {
        Point,
        Line(i16),
        Square(u8, i128),
        Named { letter: Option<char>, name: Box<str> },
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Unit;

    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Wrapped(f32);

    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Pair(u16, u32);

    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct All {
        numbers: (bool, i8, i32, i64, u64, u128, f64),
        texts: BTreeMap<String, Vec<u8>>,
        shapes: Vec<Shape>,
        units: ((), Unit),
        wrapped: Wrapped,
        pair: Pair,
        nested: Option<Box<All>>,
    }

    fn all() -> impl Strategy<Value = All> {
        let numbers = any::<(bool, i8, i32, i64, u64, u128, f64)>();
        let letters = || proptest::collection::vec(any::<char>(), 0..6);
        let text = || letters().prop_map(|letters| letters.into_iter().collect::<String>());
        let bytes = proptest::collection::vec(any::<u8>(), 0..300);
        let shape = prop_oneof![
            Just(Shape::Point),
            any::<i16>().prop_map(Shape::Line),
            any::<(u8, i128)>().prop_map(|(a, b)| Shape::Square(a, b)),
            (any::<Option<char>>(), text())
                .prop_map(|(letter, name)| Shape::Named { letter, name: name.into_boxed_str() }),
        ];
        let texts = proptest::collection::btree_map(text(), bytes, 0..3);
        let shapes = proptest::collection::vec(shape, 0..5);
        let rest = any::<(f32, u16, u32, bool)>();
        (numbers, texts, shapes, rest).prop_map(|(numbers, texts, shapes, (f, a, b, nested))| {
            let one = All {
                numbers,
                texts,
                shapes,
                units: ((), Unit),
                wrapped: Wrapped(f),
                pair: Pair(a, b),
                nested: None,
            };
            if nested { All { nested: Some(Box::new(one.clone())), ..one } } else { one }
        })
    }

    proptest! {
        #[test]
        fn bytes_mean_what_they_mean_to_bincode_whole_or_damaged(
            value in all(),
            flips in proptest::collection::vec((0usize..2000, any::<u8>()), 0..3),
            cut in proptest::option::of(0usize..2000),
        ) {
            let mut bytes = encode(1, &value).unwrap();
            let body = bytes.len() - 2;
            for (at, flip) in flips {
                bytes[2 + at % body] ^= flip;
            }
            if let Some(cut) = cut {
                bytes.truncate(2 + cut % body);
            }
            let limited = config::standard().with_limit::<1_000_000>();
            let theirs = bincode::serde::decode_from_slice::<All, _>(&bytes[2..], limited);
            let theirs = theirs.ok().filter(|(_, used)| *used == bytes.len() - 2);
            let theirs = theirs.map(|(value, _)| encode(1, &value).unwrap());
            // Compared as bytes: a number that is none is not equal to itself.
            let ours = decode::<All>(1, &bytes).ok().map(|value| encode(1, &value).unwrap());
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_length_that_is_not_there_is_damage_and_reserves_nothing() {
        // 2^64 - 1, 2^62 and 2^40 of something, of which three bytes are there.
        for claimed in [u64::MAX, 1 << 62, 1 << 40] {
            let mut bytes = vec![1, 0, 253];
            bytes.extend_from_slice(&claimed.to_le_bytes());
            bytes.extend_from_slice(&[1, 2, 3]);
            assert!(decode::<String>(1, &bytes).is_err());
            assert!(decode::<Vec<u8>>(1, &bytes).is_err());
            assert!(decode::<Vec<[u64; 32]>>(1, &bytes).is_err());
            assert!(decode::<BTreeMap<String, u8>>(1, &bytes).is_err());
        }
    }

    /// How many bytes there are. They are not looked at.
    struct Length(usize);

    impl<'de> Deserialize<'de> for Length {
        fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
            struct Look;
            impl Visitor<'_> for Look {
                type Value = Length;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("bytes")
                }

                fn visit_bytes<E>(self, bytes: &[u8]) -> std::result::Result<Length, E> {
                    Ok(Length(bytes.len()))
                }
            }
            from.deserialize_bytes(Look)
        }
    }

    #[test]
    fn a_state_of_more_than_a_gibibyte_comes_back() {
        const EACH: usize = 300 << 20;
        const STORED: usize = 1 + 4 + EACH;
        // Memory of zeros that nobody touches is not there: these are a few pages.
        let mut bytes = vec![0_u8; 2 + 1 + 4 * STORED];
        bytes[0] = 1;
        bytes[2] = 4;
        for chunk in 0..4 {
            let length = &mut bytes[3 + chunk * STORED..][..5];
            length[0] = 252;
            length[1..].copy_from_slice(&(EACH as u32).to_le_bytes());
        }
        let chunks: Vec<Length> = decode(1, &bytes).unwrap();
        assert!(chunks.len() == 4 && chunks.iter().all(|length| length.0 == EACH));
    }
}
