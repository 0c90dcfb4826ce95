//! The one file that knows bincode: how values of keyed state become bytes.
//!
//! Every stored value carries a version in front, so that a later release can migrate it. Decoding is limited, more
//! widely where there is much: a few damaged bytes cannot ask for all memory, and what could be stored comes back, however
//! large it is. Whole files are verified before.

use std::io::Write;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

const MIB: usize = 1 << 20;

/// `version` and the value.
///
/// ```
/// use thalweg_core::state::codec;
/// let bytes = codec::encode(1, &(7_i64, "x"))?;
/// assert_eq!(codec::decode::<(i64, String)>(1, &bytes)?, (7, "x".to_owned()));
/// assert!(codec::decode::<(i64, String)>(2, &bytes).is_err());
/// # Ok::<(), thalweg_core::Error>(())
/// ```
pub fn encode<T: Serialize + ?Sized>(version: u16, value: &T) -> Result<Vec<u8>> {
    let mut bytes = version.to_le_bytes().to_vec();
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .map_err(|_| Error::internal("a state value cannot be encoded"))?;
    Ok(bytes)
}

/// As [`encode`] of a vector of `items`, of which there are `count`, one at a time into `out`.
///
/// # Errors
/// Those of the items, and [`crate::ErrorKind::Internal`] when `out` takes no more or `count` is wrong.
pub fn encode_each<T: Serialize>(
    version: u16,
    count: usize,
    items: impl Iterator<Item = Result<T>>,
    out: &mut impl Write,
) -> Result<()> {
    let failed = || Error::internal("state values cannot be encoded");
    let config = bincode::config::standard();
    out.write_all(&version.to_le_bytes()).map_err(|_| failed())?;
    bincode::serde::encode_into_std_write(count as u64, out, config).map_err(|_| failed())?;
    let mut written = 0;
    for item in items {
        bincode::serde::encode_into_std_write(item?, out, config).map_err(|_| failed())?;
        written += 1;
    }
    if written == count { Ok(()) } else { Err(failed()) }
}

/// The value, if it is of this version and nothing is left over.
///
/// # Errors
/// [`crate::ErrorKind::IncompatibleState`] for another version, [`crate::ErrorKind::Corrupt`] for damaged bytes.
pub fn decode<T: DeserializeOwned>(version: u16, bytes: &[u8]) -> Result<T> {
    let corrupt = || Error::corrupt("a state value is damaged");
    let (head, body) = bytes.split_first_chunk::<2>().ok_or_else(corrupt)?;
    let found = u16::from_le_bytes(*head);
    if found != version {
        return Err(Error::incompatible(format!(
            "state of version {found} where {version} is known: use the release that wrote it"
        )));
    }
    // A limit is a constant to bincode, and counts what values take in memory, a byte of the input as sixteen at most.
    let (value, used) = match body.len() / MIB {
        0..16 => within::<T, { 1024 * MIB }>(body),
        16..1024 => within::<T, { 65_536 * MIB }>(body),
        _ => within::<T, { usize::MAX / 2 }>(body),
    }
    .map_err(|_| corrupt())?;
    if used == body.len() { Ok(value) } else { Err(corrupt()) }
}

fn within<T: DeserializeOwned, const LIMIT: usize>(
    body: &[u8],
) -> std::result::Result<(T, usize), bincode::error::DecodeError> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    bincode::serde::borrow_decode_from_slice(body, config)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde::de::{Deserializer, Visitor};

    use super::*;

    #[test]
    fn one_at_a_time_and_all_at_once_are_the_same_bytes() {
        for count in [0_u16, 1, 250, 251, 300] {
            let items: Vec<(u16, String)> = (0..count).map(|i| (i, i.to_string())).collect();
            let mut bytes = Vec::new();
            let each = items.iter().cloned().map(Ok);
            encode_each(3, items.len(), each, &mut bytes).unwrap();
            assert_eq!(bytes, encode(3, &items).unwrap());
        }
        let short = std::iter::once(Ok(1_u8));
        assert!(encode_each(3, 2, short, &mut Vec::new()).is_err());
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
        const EACH: usize = 300 * MIB;
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
