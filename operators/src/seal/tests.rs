use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::{Int32Array, Int64Array};
use thalweg_core::Sensitivity::PhiRaw;
use thalweg_core::crypto::open_payload;
use thalweg_core::sensitivity::sensitivities;

use super::*;
use crate::fixture::{Instance, apply, batch, names, refusal, texts, values};

const TABLE: &str = "bronze/events";

fn key() -> Arc<MasterKey> {
    Arc::new(MasterKey::generate().unwrap())
}

fn events(payloads: &[Option<&[u8]>]) -> RecordBatch {
    let rows = payloads.len();
    batch(&[
        ("topic", texts(&vec![Some("healthcare_events"); rows]), &[]),
        ("partition", values::<Int32Array>(vec![3; rows]), &[]),
        ("offset", values::<Int64Array>((100..100 + rows as i64).collect::<Vec<_>>()), &[]),
        ("payload", values::<BinaryArray>(payloads.to_vec()), &[PhiRaw]),
    ])
}

/// Opens every payload of a sealed batch the way `healthcare decrypt` does.
fn opened(key: &MasterKey, table: &str, sealed: &RecordBatch) -> Vec<Result<Option<Vec<u8>>>> {
    let mut aad = Vec::new();
    let offsets = sealed["offset"].as_primitive::<Int64Type>().values();
    let payloads = sealed["payload"].as_binary::<i32>().iter();
    payloads
        .zip(offsets)
        .map(|(payload, offset)| {
            payload_aad(table, "healthcare_events", 3, *offset, &mut aad);
            payload.map(|p| open_payload(key, &aad, p)).transpose()
        })
        .collect()
}

#[test]
fn payloads_open_again_and_a_null_stays_one() {
    let key = key();
    let payloads = [Some(b"{\"ssn\":1}".as_slice()), None, Some(b""), Some(b"\xff\x00")];
    let sealed = apply(&Seal::new(Arc::clone(&key), TABLE), &events(&payloads));
    assert_eq!(names(sealed.schema_ref()), ["topic", "partition", "offset", "key_id", "payload"]);
    let texts: Vec<_> = opened(&key, TABLE, &sealed).into_iter().map(Result::unwrap).collect();
    assert_eq!(texts, payloads.map(|p| p.map(<[u8]>::to_vec)));
    let id = key.key_id().to_string();
    assert!(sealed["key_id"].as_string::<i32>().iter().all(|found| found == Some(id.as_str())));
}

#[test]
fn a_payload_opens_in_its_own_table_and_row_only() {
    let key = key();
    let sealed = apply(&Seal::new(Arc::clone(&key), TABLE), &events(&[Some(b"text")]));
    assert!(opened(&key, "quarantine/events", &sealed)[0].is_err());
    let mut aad = Vec::new();
    for (topic, partition, offset) in
        [("other", 3, 100), ("healthcare_events", 2, 100), ("healthcare_events", 3, 101)]
    {
        payload_aad(TABLE, topic, partition, offset, &mut aad);
        assert!(open_payload(&key, &aad, sealed["payload"].as_binary::<i32>().value(0)).is_err());
    }
}

#[test]
fn what_is_sealed_shows_nothing_of_the_payload_and_is_no_longer_marked() {
    let sealed = apply(&Seal::new(key(), TABLE), &events(&[Some(b"John Doe"), Some(b"John Doe")]));
    let payloads = sealed["payload"].as_binary::<i32>();
    assert!(!payloads.values().as_slice().windows(4).any(|w| w == b"John"));
    assert_eq!(payloads.iter().collect::<HashSet<_>>().len(), 2, "equal texts are sealed unlike");
    assert!(sensitivities(sealed.schema().field(4)).is_empty());
}

#[test]
fn nulls_and_batches_cut_out_of_others_are_read_at_their_place() {
    let key = key();
    let whole = events(&[Some(b"a"), None, Some(b"cc"), None, Some(b"eee")]);
    let sealed = apply(&Seal::new(Arc::clone(&key), TABLE), &whole.slice(1, 3));
    let texts: Vec<_> = opened(&key, TABLE, &sealed).into_iter().map(Result::unwrap).collect();
    assert_eq!(texts, [None, Some(b"cc".to_vec()), None]);
}

#[test]
fn one_instance_seals_batches_of_any_size() {
    let key = key();
    let mut instance = Instance::new(&Seal::new(Arc::clone(&key), TABLE), &events(&[]).schema());
    for rows in [2, 5, 0, 1] {
        let emitted = instance.process(&events(&vec![Some(b"x".as_slice()); rows])).unwrap();
        assert_eq!(emitted.iter().map(|(_, b)| b.num_rows()).sum::<usize>(), rows);
    }
}

#[test]
fn a_batch_that_outgrows_a_column_is_cut_in_two() {
    let key = key();
    let input = events(&[Some(b"0123456789".as_slice()); 5]);
    let mut sealing = Seal::new(Arc::clone(&key), TABLE).sealing(&input.schema()).unwrap();
    sealing.max_column_len = 2 * (10 + ColumnSealer::OVERHEAD);
    let mut out = Collector::default();
    sealing.seal_batch(&input, &mut out).unwrap();
    let emitted: Vec<RecordBatch> = out.take().into_iter().map(|(_, batch)| batch).collect();
    assert_eq!(emitted.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [2, 1, 2]);
    assert!(emitted.iter().all(|b| opened(&key, TABLE, b).iter().all(Result::is_ok)));
    sealing.max_column_len = 9 + ColumnSealer::OVERHEAD;
    assert_eq!(sealing.seal_batch(&input, &mut out).unwrap_err().kind(), ErrorKind::InvalidRecord);
}

#[test]
fn provenance_is_required() {
    let seal = Seal::new(key(), TABLE);
    let input = events(&[]);
    for column in 0..4 {
        let mut rest = input.clone();
        let name = rest.schema().field(column).name().clone();
        rest.remove_column(column);
        assert!(refusal(&seal, &rest).contains(&format!("`{name}`")));
    }
    let text = batch(&[("payload", texts(&[]), &[])]);
    assert_eq!(refusal(&seal, &text), "column `topic` is not in the input (payload)");
    assert!(refusal(&seal, &apply(&seal, &events(&[None]))).contains("`key_id` already"));
}

#[test]
fn a_row_without_provenance_is_an_error() {
    let input = batch(&[
        ("topic", texts(&[None]), &[]),
        ("partition", values::<Int32Array>(vec![0]), &[]),
        ("offset", values::<Int64Array>(vec![0]), &[]),
        ("payload", values::<BinaryArray>(vec![Some(b"x".as_slice())]), &[]),
    ]);
    assert!(Instance::new(&Seal::new(key(), TABLE), &input.schema()).process(&input).is_err());
}
