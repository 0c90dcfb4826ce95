use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

const AAD: &[u8] = b"chain/7/timers";

fn key() -> MasterKey {
    MasterKey::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[track_caller]
fn refused(aad: &[u8], bytes: &[u8]) -> String {
    let error = open(&key(), aad, bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    error.to_string()
}

#[test]
fn a_file_opens_again_at_every_length_around_a_segment() {
    for len in [0, 1, 15, 16, 17, SEGMENT_LEN - 1, SEGMENT_LEN, SEGMENT_LEN + 1, 3 * SEGMENT_LEN] {
        let file = seal(&key(), AAD, &text(len)).unwrap();
        let segments = len.div_ceil(SEGMENT_LEN).max(1);
        assert_eq!(file.len(), HEADER_LEN + len + segments * TAG_LEN);
        assert_eq!(file.len(), file.capacity(), "sealing allocates once");
        assert_eq!(open(&key(), AAD, &file).unwrap(), text(len), "{len} bytes");
    }
}

#[test]
fn a_file_cut_off_anywhere_does_not_open() {
    let file = seal(&key(), AAD, &text(300)).unwrap();
    for len in 0..file.len() {
        refused(AAD, &file[..len]);
    }
}

#[test]
fn a_file_cut_off_between_segments_does_not_open() {
    let file = seal(&key(), AAD, &text(3 * SEGMENT_LEN)).unwrap();
    for segments in 0..3 {
        refused(AAD, &file[..HEADER_LEN + segments * (SEGMENT_LEN + TAG_LEN)]);
    }
}

#[test]
fn swapped_repeated_and_foreign_segments_do_not_open() {
    let file = seal(&key(), AAD, &text(3 * SEGMENT_LEN)).unwrap();
    let other = seal(&key(), AAD, &text(3 * SEGMENT_LEN)).unwrap();
    let (header, body) = file.split_at(HEADER_LEN);
    let parts: Vec<&[u8]> = body.chunks(SEGMENT_LEN + TAG_LEN).collect();
    let foreign = &other[HEADER_LEN..HEADER_LEN + SEGMENT_LEN + TAG_LEN];
    for order in [
        vec![parts[1], parts[0], parts[2]],
        vec![parts[0], parts[0], parts[2]],
        vec![parts[0], parts[2]],
        vec![parts[0], parts[1], parts[2], parts[2]],
        vec![foreign, parts[1], parts[2]],
    ] {
        refused(AAD, &[header, &order.concat()].concat());
    }
    assert!(open(&key(), AAD, &[header, &parts.concat()].concat()).is_ok());
}

#[test]
fn a_file_under_another_name_does_not_open() {
    let file = seal(&key(), AAD, b"state").unwrap();
    for aad in [b"".as_slice(), b"chain/8/timers", b"chain/7/timers ", b"chain/7/timer"] {
        refused(aad, &file);
    }
}

#[test]
fn another_key_is_named() {
    let other = MasterKey::generate().unwrap();
    let file = seal(&other, AAD, b"state").unwrap();
    assert_eq!(key_id(&file).unwrap(), other.key_id());
    let message = refused(AAD, &file);
    assert_eq!(
        message,
        format!(
            "sealed with key {}, which is not the key in use ({}); give the key that was used",
            other.key_id(),
            key().key_id()
        )
    );
}

#[test]
fn a_newer_format_is_said_to_be_one() {
    let mut file = seal(&key(), AAD, b"state").unwrap();
    file[4] = 9;
    assert!(refused(AAD, &file).contains("format 9"));
    assert_eq!(refused(AAD, b"PAR1"), "not a sealed file");
}

#[test]
fn the_same_text_is_never_sealed_alike() {
    let (a, b) = (seal(&key(), AAD, b"state").unwrap(), seal(&key(), AAD, b"state").unwrap());
    assert_ne!(a[HEADER_LEN..], b[HEADER_LEN..]);
}

#[test]
fn a_file_of_format_1_opens_in_every_later_build() {
    let file = include_bytes!("fixture_v1.bin");
    assert_eq!(open(&key(), AAD, file).unwrap(), b"state of format 1");
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

proptest! {
    #[test]
    fn what_is_sealed_opens(text in bytes(2000), aad in bytes(50)) {
        let file = seal(&key(), &aad, &text).unwrap();
        prop_assert_eq!(open(&key(), &aad, &file).unwrap(), text);
    }

    #[test]
    fn a_flipped_bit_is_noticed(text in bytes(200), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut file = seal(&key(), AAD, &text).unwrap();
        let at = at.index(file.len());
        file[at] ^= 1u8 << bit;
        prop_assert_eq!(open(&key(), AAD, &file).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in bytes(200)) {
        prop_assert!(open(&key(), AAD, &bytes).is_err());
        let behind_a_header = [&seal(&key(), AAD, b"").unwrap()[..HEADER_LEN], &bytes].concat();
        prop_assert!(open(&key(), AAD, &behind_a_header).is_err());
    }
}
