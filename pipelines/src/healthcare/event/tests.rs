use std::collections::BTreeSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, BinaryArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use proptest::prelude::*;
use thalweg_connectors::json::parse_time;
use thalweg_connectors::provenance::{MessageBatcher, source_schema};
use thalweg_core::testing::OperatorHarness;
use thalweg_operators::REJECTED;

use super::*;
use crate::healthcare::hospital::{Hospital, HospitalSettings};
use crate::healthcare::reason;
use crate::healthcare::rules::{Ranges, validation};

/// 2025-11-24T21:00:00Z, when every message of these tests arrives.
const ARRIVAL: i64 = 1_764_018_000_000_000;

const GOOD: &str = r#"{"patient_id": 3428, "event_type": "vitals", "heart_rate": 95,
    "blood_pressure": "127/80", "temperature": 100.3, "timestamp": "2025-11-24T21:00:00.114316"}"#;

/// A batch as the source would hand it on.
fn batch_of(messages: &[Option<&[u8]>]) -> RecordBatch {
    let format = HealthcareFormat::default();
    let mut batcher = MessageBatcher::new("events", 0, source_schema(&format));
    for (offset, message) in (0..).zip(messages) {
        batcher.push(offset, offset + 1, Some(ARRIVAL), *message);
    }
    batcher.finish(format.decoder().as_mut(), ARRIVAL).unwrap().0
}

fn one(message: &str) -> RecordBatch {
    batch_of(&[Some(message.as_bytes())])
}

/// Valid rows, and the reason codes of each of the others.
fn judge(batch: &RecordBatch) -> (usize, Vec<Vec<String>>) {
    let rules = Arc::new(validation(&Ranges::default()));
    let mut harness = OperatorHarness::new(rules, batch.schema(), [], 1).unwrap();
    harness.push(batch).unwrap();
    let (mut valid, mut rejected) = (0, Vec::new());
    for (tag, batch) in harness.take() {
        if tag == Some(REJECTED.name()) {
            let lists = batch.column_by_name("reason_codes").unwrap().as_list::<i32>();
            for codes in lists.iter().flatten() {
                let codes = codes.as_string::<i32>();
                rejected.push(codes.iter().flatten().map(str::to_owned).collect());
            }
        } else {
            valid += batch.num_rows();
        }
    }
    (valid, rejected)
}

fn codes(message: Option<&[u8]>) -> Vec<String> {
    let (valid, mut rejected) = judge(&batch_of(&[message]));
    assert_eq!(valid + rejected.len(), 1);
    rejected.pop().unwrap_or_default()
}

fn text<'a>(batch: &'a RecordBatch, column: &str) -> Option<&'a str> {
    let texts: &StringArray = batch.column_by_name(column).unwrap().as_string();
    texts.is_valid(0).then(|| texts.value(0))
}

fn float(batch: &RecordBatch, column: &str) -> Option<f64> {
    batch.column_by_name(column).unwrap().as_primitive::<Float64Type>().iter().next().unwrap()
}

fn event_time(batch: &RecordBatch) -> Option<i64> {
    let times = batch.column_by_name("event_time").unwrap();
    times.as_primitive::<TimestampMicrosecondType>().iter().next().unwrap()
}

#[test]
fn a_source_of_this_format_emits_events() {
    assert_eq!(source_schema(&HealthcareFormat::default()), Event::schema());
}

#[test]
fn a_good_message_is_decoded_field_by_field() {
    let batch = one(GOOD);
    let int = |column| batch.column_by_name(column).unwrap().as_primitive::<Int32Type>().value(0);
    let id = batch.column_by_name("patient_id").unwrap().as_primitive::<Int64Type>().value(0);
    assert_eq!((id, int("systolic"), int("diastolic")), (3428, 127, 80));
    assert_eq!(
        (float(&batch, "heart_rate"), float(&batch, "temperature")),
        (Some(95.0), Some(100.3))
    );
    assert_eq!(text(&batch, "event_type"), Some("vitals"));
    assert_eq!(text(&batch, "bp_category"), Some("stage_1"));
    assert_eq!(event_time(&batch), Some(ARRIVAL + 114_316));
    assert!(batch.column_by_name("decode_errors").unwrap().is_null(0));
    assert_eq!(codes(Some(GOOD.as_bytes())), [""; 0]);
}

#[test]
fn the_events_that_the_project_was_given_are_valid() {
    for line in [
        r#"{"patient_id": 3428, "event_type": "vitals", "heart_rate": 95, "blood_pressure": "127/80", "temperature": 100.3, "timestamp": "2025-11-24T21:10:17.114316"}"#,
        r#"{"patient_id": 5526, "event_type": "lab_result", "heart_rate": 78, "blood_pressure": "138/79", "temperature": 97.2, "timestamp": "2025-11-24T21:10:18.157767"}"#,
        r#"{"patient_id": 7992, "event_type": "medication", "heart_rate": 89, "blood_pressure": "114/71", "temperature": 99.3, "timestamp": "2025-11-24T21:10:12.993301"}"#,
    ] {
        assert_eq!(codes(Some(line.as_bytes())), [""; 0]);
    }
}

#[test]
fn messages_that_cannot_be_read_have_one_code_and_no_columns() {
    let deep = "[".repeat(200_000);
    let nested = format!(r#"{{"x": {}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    for (message, code) in [
        (None, reason::MESSAGE_EMPTY),
        (Some(b"".as_slice()), reason::MESSAGE_EMPTY),
        (Some(b" "), reason::JSON_MALFORMED),
        (Some(b"\0"), reason::JSON_MALFORMED),
        (Some(b"{"), reason::JSON_MALFORMED),
        (Some(br#"{"event_id":1,"patient_id":"#), reason::JSON_MALFORMED),
        (Some(b"{\"name\":\"a\0b\"}"), reason::JSON_MALFORMED),
        (Some(br#"{"a":1} {"a":1}"#), reason::JSON_MALFORMED),
        (Some(br#"{"a":1,}"#), reason::JSON_MALFORMED),
        (Some(br#"{"a":01}"#), reason::JSON_MALFORMED),
        (Some(b"{a:1}"), reason::JSON_MALFORMED),
        (Some(b"\xef\xbb\xbf{}"), reason::JSON_MALFORMED),
        (Some(deep.as_bytes()), reason::JSON_MALFORMED),
        (Some(b"{\"name\":\"\xff\"}"), reason::UTF8_INVALID),
        (Some(b"\xff\xff"), reason::UTF8_INVALID),
        (Some(b"[]"), reason::JSON_NOT_OBJECT),
        (Some(b"[{\"a\":1}]"), reason::JSON_NOT_OBJECT),
        (Some(b" null "), reason::JSON_NOT_OBJECT),
        (Some(b"\"text\""), reason::JSON_NOT_OBJECT),
        (Some(b"17"), reason::JSON_NOT_OBJECT),
    ] {
        let shown =
            message.map(String::from_utf8_lossy).map(|m| m.chars().take(40).collect::<String>());
        assert_eq!(codes(message), [code], "{shown:?}");
        let batch = batch_of(&[message]);
        for column in batch.columns().iter().skip(FIRST_DECODED).rev().skip(1) {
            assert!(column.is_null(0), "{shown:?}");
        }
    }
    assert!(!codes(Some(nested.as_bytes())).contains(&reason::JSON_MALFORMED.to_owned()));
}

#[test]
fn a_message_over_the_limit_is_not_looked_into() {
    let long = |bytes: usize| format!("{}{}", GOOD, " ".repeat(bytes - GOOD.len()));
    assert_eq!(codes(Some(long(1 << 20).as_bytes())), [""; 0]);
    assert_eq!(codes(Some(long((1 << 20) + 1).as_bytes())), [reason::MESSAGE_TOO_LARGE]);
    assert_eq!(codes(Some(&vec![b'x'; 10 << 20])), [reason::MESSAGE_TOO_LARGE]);
}

/// The good message with these fields in place of its own.
fn with(fields: &str) -> String {
    GOOD.replacen('}', &format!(", {fields}}}"), 1)
}

#[test]
fn a_field_of_a_wrong_type_or_value_has_its_own_code_and_spoils_no_other() {
    for (field, expected) in [
        (r#""patient_id": null"#, &["patient_id.missing"] as &[&str]),
        (r#""patient_id": "3428""#, &["patient_id.type"]),
        (r#""patient_id": 1.0"#, &["patient_id.type"]),
        (r#""patient_id": 9223372036854775808"#, &["patient_id.type"]),
        (r#""patient_id": {"id": 1}"#, &["patient_id.type"]),
        (r#""event_type": null"#, &["event_type.missing"]),
        (r#""event_type": "???""#, &["event_type.unknown"]),
        (r#""event_type": "Vitals""#, &["event_type.unknown"]),
        (r#""event_type": """#, &["event_type.unknown"]),
        (r#""event_type": 3"#, &["event_type.unknown"]),
        (r#""event_type": "\ud800""#, &["event_type.unknown"]),
        (r#""timestamp": null"#, &["timestamp.missing"]),
        (r#""timestamp": "yesterday""#, &["timestamp.unparsable"]),
        (r#""timestamp": 1764018000"#, &["timestamp.unparsable"]),
        (r#""timestamp": "1764018000""#, &["timestamp.unparsable"]),
        (r#""timestamp": "2025-11-24""#, &["timestamp.unparsable"]),
        (r#""timestamp": "2025-11-25T21:00:00.000001Z""#, &["timestamp.future"]),
        (r#""timestamp": "2025-11-25T21:00:00Z""#, &[]),
        (r#""timestamp": "1970-01-01T00:00:00""#, &[]),
        (r#""timestamp": "1969-12-31T23:59:59.999999Z""#, &["timestamp.past"]),
        (r#""timestamp": "0001-01-01T00:00:00Z""#, &["timestamp.past"]),
        (r#""timestamp": "0000-01-01T00:00:00+01:00""#, &["timestamp.unparsable"]),
        (r#""heart_rate": "95""#, &["heart_rate.type"]),
        (r#""heart_rate": true"#, &["heart_rate.type"]),
        (r#""heart_rate": [95]"#, &["heart_rate.type"]),
        (r#""heart_rate": -5"#, &["heart_rate.range"]),
        (r#""heart_rate": 1e999"#, &["heart_rate.range"]),
        (r#""heart_rate": 300.5"#, &["heart_rate.range"]),
        (r#""heart_rate": 2e1"#, &[]),
        (r#""heart_rate": null"#, &[]),
        (r#""temperature": "98""#, &["temperature.type"]),
        (r#""temperature": 37.2"#, &["temperature.range"]),
        (r#""spo2": "97""#, &["spo2.type"]),
        (r#""spo2": 49.9"#, &["spo2.range"]),
        (r#""respiratory_rate": {}"#, &["respiratory_rate.type"]),
        (r#""respiratory_rate": 81"#, &["respiratory_rate.range"]),
        (r#""blood_pressure": 120"#, &["blood_pressure.type"]),
        (r#""blood_pressure": "120/""#, &["blood_pressure.unparsable"]),
        (r#""blood_pressure": "80/120""#, &["blood_pressure.order"]),
        (r#""blood_pressure": "120/120""#, &["blood_pressure.order"]),
        (r#""blood_pressure": "301/80""#, &["systolic.range"]),
        (r#""blood_pressure": "120/19""#, &["diastolic.range"]),
        (r#""blood_pressure": "39/10""#, &["systolic.range", "diastolic.range"]),
        (
            r#""heart_rate": "x", "blood_pressure": "abc", "timestamp": 1, "patient_id": null"#,
            &[
                "timestamp.unparsable",
                "blood_pressure.unparsable",
                "heart_rate.type",
                "patient_id.missing",
            ],
        ),
    ] {
        let message = with(field);
        assert_eq!(codes(Some(message.as_bytes())), expected, "{field}");
        if !field.contains("temperature") {
            assert_eq!(float(&one(&message), "temperature"), Some(100.3), "{field}");
        }
    }
}

#[test]
fn a_time_that_does_not_count_is_null_and_so_moves_no_watermark() {
    for field in [r#""timestamp": "2035-01-01T00:00:00""#, r#""timestamp": "soon""#] {
        assert_eq!(event_time(&one(&with(field))), None, "{field}");
    }
}

#[test]
fn nothing_required_is_taken_for_granted() {
    let expected = ["patient_id.missing", "event_type.missing", "timestamp.missing"];
    assert_eq!(codes(Some(b"{}")), expected);
    assert_eq!(codes(Some(b"  {\n}\t")), expected);
}

#[test]
fn optional_fields_are_text_whatever_the_sender_thinks() {
    let fields = r#""event_id": 18446744073709551616, "ssn": 123456789, "name": "Jos\u00e9 \"J\"",
        "phone": "", "dob": true, "address": {"city": "Boston"}, "consciousness": "X",
        "oxygen": false, "medication": null, "unit": "\ud800""#;
    let batch = one(&with(fields));
    assert_eq!(text(&batch, "event_id"), Some("18446744073709551616"));
    assert_eq!(text(&batch, "ssn"), Some("123456789"));
    assert_eq!(text(&batch, "name"), Some("José \"J\""));
    assert_eq!(text(&batch, "phone"), Some(""));
    for column in ["dob", "address", "consciousness", "medication", "unit", "device_id"] {
        assert_eq!(text(&batch, column), None, "{column}");
    }
    assert!(!batch.column_by_name("oxygen").unwrap().as_boolean().value(0));
    assert_eq!(codes(Some(with(fields).as_bytes())), [""; 0]);
}

#[test]
fn of_a_field_that_occurs_twice_the_last_one_counts() {
    let batch = one(&with(r#""heart_rate": "x", "h\u0065art_rate": 61"#));
    assert_eq!(float(&batch, "heart_rate"), Some(61.0));
    assert_eq!(
        codes(Some(with(r#""heart_rate": 61, "heart_rate": "x""#).as_bytes())),
        ["heart_rate.type"]
    );
}

#[test]
fn unknown_and_unusable_fields_are_counted_and_never_fatal() {
    let format = HealthcareFormat::default();
    let message =
        with(r#""mood": "good", "x": [{"y": 1}], "Heart_Rate": 1, "name": [], "oxygen": 2"#);
    let payloads = BinaryArray::from(vec![message.as_bytes(); 3]);
    let arrivals = TimestampMicrosecondArray::from(vec![ARRIVAL; 3]);
    let mut decoder = format.decoder();
    decoder.decode(Messages { payloads: &payloads, arrivals: &arrivals }).unwrap();
    assert_eq!(format.counters().unknown_fields(), 9);
    assert_eq!(format.counters().unusable_fields(), 6);
    assert_eq!(codes(Some(message.as_bytes())), [""; 0]);
}

#[test]
fn a_text_that_seems_to_hold_an_identifier_is_left_out_and_counted_and_the_event_is_valid() {
    let fields = r#""event_id": "pt-123-45-6789", "medication": "ask 555-123-78\u00390",
        "unit": "jane.doe@example.org", "device_id": "(555) 123-7890", "heart_rate": 61"#;
    let batch = one(&with(fields));
    for column in ["event_id", "medication", "unit", "device_id"] {
        assert_eq!(text(&batch, column), None, "{column}");
    }
    assert_eq!(float(&batch, "heart_rate"), Some(61.0));
    assert_eq!(codes(Some(with(fields).as_bytes())), [""; 0]);
    let format = HealthcareFormat::default();
    let message = with(fields);
    let payloads = BinaryArray::from(vec![message.as_bytes(); 2]);
    let arrivals = TimestampMicrosecondArray::from(vec![ARRIVAL; 2]);
    format.decoder().decode(Messages { payloads: &payloads, arrivals: &arrivals }).unwrap();
    let expected = [("event_id", 2), ("medication", 2), ("unit", 2), ("device_id", 2)];
    assert_eq!(format.counters().withheld(), expected);
    assert_eq!(format.counters().unusable_fields(), 0, "its senders spell nothing oddly");
}

#[test]
fn names_of_machines_and_what_no_mask_looks_at_stay_as_they_are() {
    let fields = r#""event_id": "2025-11-24-17", "medication": "Heparin 5000 U", "unit": "ICU-4B",
        "device_id": "123e4567-e89b-12d3-a456-426614174000", "phone": "555-123-7890""#;
    let batch = one(&with(fields));
    for (column, kept) in [
        ("event_id", "2025-11-24-17"),
        ("medication", "Heparin 5000 U"),
        ("unit", "ICU-4B"),
        ("device_id", "123e4567-e89b-12d3-a456-426614174000"),
        // Its mask is behind the decoder.
        ("phone", "555-123-7890"),
    ] {
        assert_eq!(text(&batch, column), Some(kept), "{column}");
    }
}

#[test]
fn every_optional_field_has_a_count_of_its_own() {
    let format = HealthcareFormat::default();
    let fields: Vec<String> =
        OPTIONAL.iter().map(|field| format!("\"{}\": []", field.name())).collect();
    let message = with(&fields.join(", "));
    let payloads = BinaryArray::from(vec![message.as_bytes(); 2]);
    let arrivals = TimestampMicrosecondArray::from(vec![ARRIVAL; 2]);
    format.decoder().decode(Messages { payloads: &payloads, arrivals: &arrivals }).unwrap();
    let counted = format.counters().unusable();
    assert_eq!(counted.len(), OPTIONAL.len());
    assert!(counted.iter().all(|(_, count)| *count == 2), "{counted:?}");
    assert!(format.counters().withheld().iter().all(|(_, count)| *count == 0));
}

#[test]
fn consciousness_and_oxygen_are_read_however_they_are_written() {
    let batch = one(&with(r#""consciousness": "New Confusion", "oxygen": "TRUE""#));
    assert_eq!(text(&batch, "consciousness"), Some("C"));
    assert!(batch.column_by_name("oxygen").unwrap().as_boolean().value(0));
    let batch = one(&with(r#""consciousness": "v", "oxygen": 0"#));
    assert_eq!(text(&batch, "consciousness"), Some("V"));
    let oxygen = batch.column_by_name("oxygen").unwrap().as_boolean();
    assert!(oxygen.is_valid(0) && !oxygen.value(0));
}

#[test]
fn a_decoder_starts_every_batch_afresh() {
    let format = HealthcareFormat::default();
    let mut decoder = format.decoder();
    let arrivals = TimestampMicrosecondArray::from(vec![ARRIVAL; 2]);
    let mut decode = |a: &[u8], b: &[u8]| {
        let payloads = BinaryArray::from(vec![a, b]);
        decoder.decode(Messages { payloads: &payloads, arrivals: &arrivals }).unwrap()
    };
    let first = decode(GOOD.as_bytes(), b"{");
    decode(b"", b"[]");
    assert_eq!(decode(GOOD.as_bytes(), b"{"), first);
    for (column, field) in first.iter().zip(format.fields().iter()) {
        assert_eq!(column.data_type(), field.data_type(), "{}", field.name());
    }
}

#[test]
fn the_simulated_hospital_is_valid_but_for_its_mistakes() {
    let good: Vec<_> = Hospital::new(HospitalSettings::default()).take(2_000).collect();
    let messages: Vec<_> = good.iter().map(|e| Some(e.payload.as_slice())).collect();
    assert_eq!(judge(&batch_of(&messages)), (2_000, Vec::new()));

    let bad = HospitalSettings { bad: 1.0, ..HospitalSettings::default() };
    let bad: Vec<_> = Hospital::new(bad).take(1_000).collect();
    let messages: Vec<_> = bad.iter().map(|e| Some(e.payload.as_slice())).collect();
    let (valid, rejected) = judge(&batch_of(&messages));
    assert_eq!((valid, rejected.len()), (0, 1_000));
    let codes: BTreeSet<_> = rejected.into_iter().flatten().collect();
    assert!(codes.len() >= 14, "{codes:?}");
    assert!(codes.iter().all(|code| reason::ALL.contains(&code.as_str())));
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<f64>().prop_filter("JSON has none other", |f| f.is_finite()).prop_map(|f| f.to_string()),
        any::<i64>().prop_map(|i| i.to_string()),
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        "[0-9]{1,3}/[0-9]{1,3}".prop_map(|s| format!("\"{s}\"")),
        "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](Z|[+-][0-1][0-9]:[0-5][0-9])?"
            .prop_map(|s| format!("\"{s}\"")),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        proptest::collection::vec(inner, 0..3).prop_map(|v| format!("[{}]", v.join(",")))
    })
}

fn object() -> impl Strategy<Value = String> {
    let names = [
        "event_id",
        "patient_id",
        "name",
        "ssn",
        "event_type",
        "heart_rate",
        "blood_pressure",
        "temperature",
        "spo2",
        "respiratory_rate",
        "timestamp",
        "consciousness",
        "oxygen",
        "other",
    ];
    let field = (proptest::sample::select(names.to_vec()), json());
    proptest::collection::vec(field, 0..20).prop_map(|fields| {
        let fields: Vec<_> =
            fields.iter().map(|(name, json)| format!("\"{name}\":{json}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}

/// Every message is either valid or has a reason, all of them known.
fn check_conserved(messages: &[Option<&[u8]>]) {
    let (valid, rejected) = judge(&batch_of(messages));
    assert_eq!(valid + rejected.len(), messages.len());
    for codes in rejected {
        assert!(!codes.is_empty());
        let distinct: BTreeSet<_> = codes.iter().collect();
        assert_eq!(distinct.len(), codes.len());
        assert!(codes.iter().all(|code| reason::ALL.contains(&code.as_str())), "{codes:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_decoded_to_reasons(
        messages in proptest::collection::vec(proptest::option::of(any::<Vec<u8>>()), 1..8)
    ) {
        let messages: Vec<_> = messages.iter().map(Option::as_deref).collect();
        check_conserved(&messages);
    }

    #[test]
    fn arbitrary_objects_are_decoded_to_events_or_reasons(
        objects in proptest::collection::vec(object(), 1..8)
    ) {
        let messages: Vec<_> = objects.iter().map(|o| Some(o.as_bytes())).collect();
        check_conserved(&messages);
        for codes in judge(&batch_of(&messages)).1 {
            prop_assert!(!codes.iter().any(|c| reason::UNREADABLE.contains(&c.as_str())), "{codes:?}");
        }
    }

    #[test]
    fn a_message_cut_off_anywhere_is_decoded_to_reasons(cut in 0usize..GOOD.len()) {
        check_conserved(&[GOOD.as_bytes().get(..cut)]);
        prop_assert!(!codes(GOOD.as_bytes().get(..cut)).is_empty());
    }

    #[test]
    fn timestamps_never_panic(text in any::<String>(), digits in "[0-9T:.Z+-]{0,40}") {
        let _ = (parse_time(&text), parse_time(&digits));
    }
}

/// The first cells of the tables that the guide has under a heading, one name each.
fn documented(heading: &str) -> Vec<&'static str> {
    let page = include_str!("../../../../docs/guide/data.md");
    let title = format!("\n### {heading}\n");
    let section = page.split(title.as_str()).nth(1).unwrap();
    let section = section.split("\n##").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    cells.flat_map(|cell| cell.trim().split(", ")).map(|name| name.trim_matches('`')).collect()
}

#[test]
fn the_guide_lists_every_field_and_every_code() {
    let fields = documented("Fields");
    let object: Vec<String> = fields.iter().map(|field| format!("\"{field}\": 1")).collect();
    let object = format!("{{{}}}", object.join(", "));
    assert_eq!(Message::read(Some(object.as_bytes()), 1 << 20).map(|m| m.unknown_fields), Ok(0));
    let fields: BTreeSet<&str> = fields.into_iter().collect();
    assert_eq!(fields.len(), Field::COUNT);
    let codes: BTreeSet<&str> = documented("Reason codes").into_iter().collect();
    assert_eq!(codes, BTreeSet::from(reason::ALL));
}

#[test]
fn the_example_of_the_guide_is_a_valid_event_with_every_field() {
    let page = include_str!("../../../../docs/guide/data.md");
    let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    let example = example.unwrap();
    assert_eq!(codes(Some(example.as_bytes())), [""; 0]);
    for field in documented("Fields") {
        assert!(example.contains(&format!("\"{field}\": ")), "{field}");
    }
    let format = HealthcareFormat::default();
    let payloads = BinaryArray::from(vec![example.as_bytes()]);
    let arrivals = TimestampMicrosecondArray::from(vec![ARRIVAL]);
    format.decoder().decode(Messages { payloads: &payloads, arrivals: &arrivals }).unwrap();
    let counters = format.counters();
    assert_eq!((counters.unknown_fields(), counters.unusable_fields()), (0, 0));
}
