use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

const AAD: &[u8] = b"bronze/events/0/17";

fn key() -> Arc<MasterKey> {
    let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    Arc::new(MasterKey::from_base64(text).unwrap())
}

fn seal(aad: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ColumnSealer::new(&key()).unwrap().seal_into(aad, text, &mut out).unwrap();
    out
}

#[track_caller]
fn refused(aad: &[u8], bytes: &[u8]) -> String {
    let error = open_payload(&key(), aad, bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    error.to_string()
}

#[test]
fn a_value_opens_in_its_own_row_only() {
    let value = seal(AAD, b"text");
    assert_eq!(open_payload(&key(), AAD, &value).unwrap(), b"text");
    for aad in [b"".as_slice(), b"bronze/events/0/18", b"quarantine/events/0/17"] {
        refused(aad, &value);
    }
}

#[test]
fn a_value_cut_off_anywhere_does_not_open() {
    let value = seal(AAD, b"text");
    for len in 0..value.len() {
        refused(AAD, &value[..len]);
    }
}

#[test]
fn values_are_appended_to_what_is_there() {
    let mut sealer = ColumnSealer::new(&key()).unwrap();
    let mut out = b"before".to_vec();
    sealer.seal_into(AAD, b"one", &mut out).unwrap();
    let first = out.len();
    sealer.seal_into(AAD, b"", &mut out).unwrap();
    assert_eq!(&out[..6], b"before");
    assert_eq!(open_payload(&key(), AAD, &out[6..first]).unwrap(), b"one");
    assert_eq!(open_payload(&key(), AAD, &out[first..]).unwrap(), b"");
}

#[test]
fn another_key_is_named() {
    let other = Arc::new(MasterKey::generate().unwrap());
    let mut value = Vec::new();
    ColumnSealer::new(&other).unwrap().seal_into(AAD, b"text", &mut value).unwrap();
    assert_eq!(key_id(&value).unwrap(), other.key_id());
    assert!(refused(AAD, &value).starts_with(&format!("sealed with key {}", other.key_id())));
}

#[test]
fn a_newer_format_is_said_to_be_one() {
    let mut value = seal(AAD, b"text");
    value[0] = 2;
    assert!(refused(AAD, &value).contains("format 2"));
}

#[test]
fn no_nonce_is_used_twice_and_no_salt_by_two_sealers() {
    let mut seen = HashSet::new();
    let mut salts = HashSet::new();
    for _ in 0..4 {
        let mut sealer = ColumnSealer::new(&key()).unwrap();
        for _ in 0..500 {
            let mut value = Vec::new();
            sealer.seal_into(AAD, b"text", &mut value).unwrap();
            assert!(seen.insert(value[PREFIX_LEN..PREFIX_LEN + NONCE_LEN].to_vec()));
            salts.insert(value[9..PREFIX_LEN].to_vec());
        }
    }
    assert_eq!(salts.len(), 4);
}

#[test]
fn a_used_up_key_is_replaced() {
    let mut sealer = ColumnSealer::new(&key()).unwrap();
    let mut values = [Vec::new(), Vec::new(), Vec::new()];
    sealer.messages_left = 2;
    for value in &mut values {
        sealer.seal_into(AAD, b"text", value).unwrap();
        assert_eq!(open_payload(&key(), AAD, value).unwrap(), b"text");
    }
    assert_eq!(values[0][..PREFIX_LEN], values[1][..PREFIX_LEN]);
    assert_ne!(values[1][..PREFIX_LEN], values[2][..PREFIX_LEN]);
    assert_eq!(sealer.messages_left, MESSAGES_PER_KEY - 1);
}

#[test]
fn a_value_of_format_1_opens_in_every_later_build() {
    let value = include_bytes!("fixture_v1.bin");
    assert_eq!(open_payload(&key(), AAD, value).unwrap(), b"value of format 1");
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

proptest! {
    #[test]
    fn what_is_sealed_opens(text in bytes(500), aad in bytes(50)) {
        prop_assert_eq!(open_payload(&key(), &aad, &seal(&aad, &text)).unwrap(), text);
    }

    #[test]
    fn a_flipped_bit_is_noticed(text in bytes(100), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut value = seal(AAD, &text);
        let at = at.index(value.len());
        value[at] ^= 1u8 << bit;
        prop_assert_eq!(open_payload(&key(), AAD, &value).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in bytes(100)) {
        prop_assert!(open_payload(&key(), AAD, &bytes).is_err());
    }
}
