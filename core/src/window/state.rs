//! How the state of open windows becomes bytes: an Arrow IPC stream in a versioned, checksummed envelope.
//!
//! The one file that knows Arrow IPC for state. The checksum stands in front because Arrow's reader trusts more of
//! its input than a restore may: damaged bytes are refused before it sees them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::Schema;
use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, Result};

/// `version`, a checksum, and `batch` as an IPC stream with `notes` in its schema's metadata.
pub fn encode(
    version: u16,
    batch: &RecordBatch,
    notes: HashMap<String, String>,
) -> Result<Vec<u8>> {
    let failed = |_| Error::internal("the state of a window cannot be encoded");
    let mut schema = Schema::clone(batch.schema_ref());
    schema.metadata.extend(notes);
    let batch = batch.clone().with_schema(Arc::new(schema)).map_err(failed)?;
    let mut bytes = envelope(version);
    let mut writer = StreamWriter::try_new(&mut bytes, batch.schema_ref()).map_err(failed)?;
    writer.write(&batch).map_err(failed)?;
    writer.finish().map_err(failed)?;
    drop(writer);
    Ok(sealed(bytes))
}

/// `version`, a checksum, and `text` alone.
pub fn encode_text(version: u16, text: &str) -> Vec<u8> {
    let mut bytes = envelope(version);
    bytes.extend_from_slice(text.as_bytes());
    sealed(bytes)
}

/// Room for a checksum behind the version.
fn envelope(version: u16) -> Vec<u8> {
    let mut bytes = version.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[0; 8]);
    bytes
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = xxh3_64(bytes.get(10..).unwrap_or_default());
    if let Some(slot) = bytes.get_mut(2..10) {
        slot.copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

fn corrupt() -> Error {
    Error::corrupt("the stored state of a window is damaged")
}

/// Of what version stored state says that it is. A damaged one is found out when it is decoded.
pub fn version(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk::<2>().map(|head| u16::from_le_bytes(*head))
}

fn opened(version: u16, bytes: &[u8]) -> Result<&[u8]> {
    let (head, rest) = bytes.split_first_chunk::<2>().ok_or_else(corrupt)?;
    let found = u16::from_le_bytes(*head);
    let (sum, body) = rest.split_first_chunk::<8>().ok_or_else(corrupt)?;
    if u64::from_le_bytes(*sum) != xxh3_64(body) {
        return Err(corrupt());
    }
    if found != version {
        return Err(Error::incompatible(format!(
            "window state of version {found} where {version} is known: use the release that wrote it"
        )));
    }
    Ok(body)
}

/// What [`encode_text`] has stored.
///
/// # Errors
/// Those of [`decode`].
pub fn decode_text(version: u16, bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(opened(version, bytes)?).map_err(|_| corrupt())
}

/// The batch, its notes in the schema's metadata.
///
/// # Errors
/// [`crate::ErrorKind::IncompatibleState`] for another version, [`crate::ErrorKind::Corrupt`] for damaged bytes.
pub fn decode(version: u16, bytes: &[u8]) -> Result<RecordBatch> {
    let body = opened(version, bytes)?;
    let mut reader = StreamReader::try_new(body, None).map_err(|_| corrupt())?;
    let batch = reader.next().ok_or_else(corrupt)?.map_err(|_| corrupt())?;
    if reader.next().is_some() {
        return Err(corrupt());
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;
    use crate::ErrorKind;

    fn batch(rows: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let texts: StringArray = (0..rows).map(|i| (i % 3 != 0).then(|| i.to_string())).collect();
        let texts: ArrayRef = Arc::new(texts);
        RecordBatch::try_from_iter([("number", numbers), ("text", texts)]).unwrap()
    }

    fn notes() -> HashMap<String, String> {
        HashMap::from([("watermark".to_owned(), "7".to_owned())])
    }

    #[test]
    fn what_was_stored_comes_back_with_its_notes() {
        for rows in [0, 1, 1000] {
            let back =
                decode(1, &encode(1, &batch(rows).slice(0, rows as usize), notes()).unwrap())
                    .unwrap();
            assert_eq!(back.columns(), batch(rows).columns());
            assert_eq!(back.schema_ref().metadata(), &notes());
        }
    }

    #[test]
    fn another_version_is_incompatible() {
        let bytes = encode(2, &batch(3), notes()).unwrap();
        assert_eq!(decode(1, &bytes).unwrap_err().kind(), ErrorKind::IncompatibleState);
    }

    proptest! {
        #[test]
        fn damage_is_corruption_and_never_a_panic(at in 2usize..1000, flip in 1u8.., cut in 0usize..2000) {
            let good = encode(1, &batch(20), notes()).unwrap();
            let mut flipped = good.clone();
            let at = 2 + at % (good.len() - 2);
            flipped[at] ^= flip;
            prop_assert_eq!(decode(1, &flipped).unwrap_err().kind(), ErrorKind::Corrupt);
            let cut = good.get(..cut % good.len()).unwrap();
            prop_assert_eq!(decode(1, cut).unwrap_err().kind(), ErrorKind::Corrupt);
        }

        #[test]
        fn noise_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(1, &bytes).is_err());
        }
    }
}
