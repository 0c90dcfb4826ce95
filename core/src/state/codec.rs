//! The one place that knows bincode: how values of keyed state become bytes.
//!
//! Every stored value carries a version in front, so that a later release can migrate it. Decoding believes no length:
//! damaged bytes cannot ask for all memory, and what could be stored comes back, however large it is.

mod slice;

use std::io::Write;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::slice::Slice;
use crate::{Error, Result};

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
    let mut body = Slice(body);
    let value = T::deserialize(&mut body).map_err(|_| corrupt())?;
    if body.0.is_empty() { Ok(value) } else { Err(corrupt()) }
}

#[cfg(test)]
mod tests {
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
}
