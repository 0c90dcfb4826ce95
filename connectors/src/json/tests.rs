//! Against `serde_json::Value`, and message by message.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, BinaryArray, TimestampMicrosecondArray};
use thalweg_core::record::Micros;

use super::*;

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Reading {
    payload: Option<Vec<u8>>,
    id: Option<i64>,
    text: Option<String>,
    at: Option<Micros>,
    ratio: Option<f64>,
    small: Option<i32>,
    on: Option<bool>,
    decode_errors: Option<Vec<String>>,
}

fn decode(messages: &[&[u8]]) -> Vec<ArrayRef> {
    let format = JsonFormat::of::<Reading>().unwrap().from_field(Reading::AT, "time").unwrap();
    let payloads = BinaryArray::from(messages.to_vec());
    let arrivals = TimestampMicrosecondArray::from(vec![0; messages.len()]);
    format.decoder().decode(Messages { payloads: &payloads, arrivals: &arrivals }).unwrap()
}

fn codes(columns: &[ArrayRef], row: usize) -> Vec<String> {
    let list = columns[6].as_list::<i32>();
    if list.is_null(row) {
        return Vec::new();
    }
    let codes = list.value(row);
    codes.as_string::<i32>().iter().flatten().map(ToOwned::to_owned).collect()
}

#[test]
fn each_kind_of_value_enters_its_column_in_any_order_of_fields() {
    let columns = decode(&[
        br#"{"id":1,"text":"a","time":"1970-01-01T00:00:01Z","ratio":0.5,"small":2,"on":true}"#,
        br#" {"on" : false, "other": {"id": [9]}, "text" : "\u00e9\n", "id":-7, "ratio":3, "small":null} "#,
        br#"{"id":1,"id":2}"#,
    ]);
    assert_eq!(columns.len(), 7);
    let ids: Vec<_> = columns[0].as_primitive::<Int64Type>().iter().collect();
    assert_eq!(ids, [Some(1), Some(-7), Some(2)]);
    let texts: Vec<_> = columns[1].as_string::<i32>().iter().collect();
    assert_eq!(texts, [Some("a"), Some("é\n"), None]);
    let times: Vec<_> = columns[2].as_primitive::<TimestampMicrosecondType>().iter().collect();
    assert_eq!(times, [Some(1_000_000), None, None]);
    let ratios: Vec<_> = columns[3].as_primitive::<Float64Type>().iter().collect();
    assert_eq!(ratios, [Some(0.5), Some(3.0), None]);
    let small: Vec<_> = columns[4].as_primitive::<Int32Type>().iter().collect();
    assert_eq!(small, [Some(2), None, None]);
    let on: Vec<_> = columns[5].as_boolean().iter().collect();
    assert_eq!(on, [Some(true), Some(false), None]);
    assert_eq!(columns[6].null_count(), 3);
}

#[test]
fn a_field_of_a_wrong_type_spoils_itself_only() {
    let columns = decode(&[
        br#"{"id":"1","text":5,"time":"yesterday","ratio":"x","small":3000000000,"on":0}"#,
        br#"{"id":1.5,"text":{"a":[1,{}]},"time":7,"ratio":[],"small":4,"on":true}"#,
        br#"{"id":18446744073709551615,"text":"fine"}"#,
    ]);
    assert_eq!(
        codes(&columns, 0),
        ["id.type", "text.type", "time.type", "ratio.type", "small.type", "on.type"]
    );
    assert_eq!(codes(&columns, 1), ["id.type", "text.type", "time.type", "ratio.type"]);
    assert_eq!(codes(&columns, 2), ["id.type"]);
    assert_eq!(columns[4].as_primitive::<Int32Type>().value(1), 4);
    assert_eq!(columns[1].as_string::<i32>().value(2), "fine");
}

#[test]
fn a_zero_with_a_sign_is_an_integer() {
    let columns = decode(&[
        br#"{"id":-0,"small":-0,"ratio":-0}"#,
        br#"{"id":0.0,"small":-0.5}"#,
        br#"{"id":-0.0,"small":-0e3}"#,
    ]);
    assert_eq!(codes(&columns, 0), [""; 0]);
    assert_eq!(columns[0].as_primitive::<Int64Type>().value(0), 0);
    assert_eq!(columns[4].as_primitive::<Int32Type>().value(0), 0);
    assert!(columns[3].as_primitive::<Float64Type>().value(0).is_sign_negative());
    assert_eq!(codes(&columns, 1), ["id.type", "small.type"]);
    assert_eq!(codes(&columns, 2), [""; 0]);
}

#[test]
fn a_time_of_another_year_than_2_to_9998_is_of_a_wrong_type() {
    let columns = decode(&[
        br#"{"time":"9999-12-31T23:59:59Z"}"#,
        br#"{"time":"0001-01-01T00:00:00Z"}"#,
        br#"{"time":"0002-01-01T00:00:00Z"}"#,
    ]);
    assert_eq!(codes(&columns, 0), ["time.type"]);
    assert_eq!(codes(&columns, 1), ["time.type"]);
    assert_eq!(codes(&columns, 2), [""; 0]);
    assert_eq!(columns[2].null_count(), 2);
}

#[test]
fn a_message_that_cannot_be_read_is_a_row_of_nulls_and_leaves_its_neighbours_alone() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!("{{\"id\":3,\"text\":{deep}}}");
    let hostile: [(&[u8], &str); 10] = [
        (b"", EMPTY),
        (b" ", MALFORMED),
        (br#"{"id":1"#, MALFORMED),
        (br#"{"id":1}x"#, MALFORMED),
        (br#"{"id":1,}"#, MALFORMED),
        (br#"{"id":1,"text":"\ud83d"}"#, MALFORMED),
        (b"{\"id\":1,\"text\":\"\xff\"}", MALFORMED),
        (br#"{"id":1,"ratio":0x10}"#, MALFORMED),
        (b"[1]", NOT_OBJECT),
        (deep.as_bytes(), NOT_OBJECT),
    ];
    let good = br#"{"id":5}"#.as_slice();
    let messages: Vec<&[u8]> = hostile.iter().flat_map(|(m, _)| [*m, good]).collect();
    let columns = decode(&messages);
    for (row, (_, code)) in hostile.iter().enumerate() {
        assert_eq!(codes(&columns, 2 * row), [*code], "message {row}");
        for column in &columns[..6] {
            assert!(column.is_null(2 * row), "message {row}");
        }
        assert_eq!(columns[0].as_primitive::<Int64Type>().value(2 * row + 1), 5);
        assert!(codes(&columns, 2 * row + 1).is_empty());
    }
    assert_eq!(codes(&decode(&[nested.as_bytes()]), 0), ["text.type"]);
}

#[test]
fn a_name_that_is_no_text_is_one_that_is_not_known() {
    let columns = decode(&[
        br#"{"id":1,"\ud800":[2],"\udc00\ud83d":{"a":3},"te\u0078t":"x","small":4}"#,
        br#"{"other":{"\ud800":1},"id":2,"text":{"\ud800":1}}"#,
        br#"{"\ud800":1,"text":"\ud800"}"#,
        br#"{"\ud8":1}"#,
        b"{\"\\ud800\t\":1}",
    ]);
    assert_eq!(codes(&columns, 0), [""; 0]);
    assert_eq!(columns[0].as_primitive::<Int64Type>().values()[..2], [1, 2]);
    assert_eq!(columns[1].as_string::<i32>().value(0), "x");
    assert_eq!(columns[4].as_primitive::<Int32Type>().value(0), 4);
    assert_eq!(codes(&columns, 1), ["text.type"]);
    for row in 2..5 {
        assert_eq!(codes(&columns, row), [MALFORMED], "{row}");
        assert!(columns[0].is_null(row));
    }
}

#[test]
fn numbers_are_what_a_careful_parser_makes_of_them() {
    let numbers = [
        "0.1",
        "98.6",
        "1e22",
        "1e23",
        "5e-324",
        "1.7976931348623157e308",
        "9007199254740993",
        "0.30000000000000004",
        "123456789.123456789",
        "2.2250738585072011e-308",
    ];
    let messages: Vec<String> = numbers.iter().map(|n| format!("{{\"ratio\":{n}}}")).collect();
    let columns = decode(&messages.iter().map(String::as_bytes).collect::<Vec<_>>());
    let ratios = columns[3].as_primitive::<Float64Type>();
    for (number, found) in numbers.iter().zip(ratios.values()) {
        assert_eq!(found.to_bits(), number.parse::<f64>().unwrap().to_bits(), "{number}");
    }
}

#[test]
fn a_record_that_json_cannot_fill_is_refused() {
    #[derive(thalweg_core::Record)]
    #[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
    struct Required {
        id: i64,
    }
    #[derive(thalweg_core::Record)]
    #[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
    struct Bytes {
        blob: Option<Vec<u8>>,
    }
    let error = JsonFormat::of::<Required>().unwrap_err().to_string();
    assert!(error.contains("`id` must be optional"), "{error}");
    let error = JsonFormat::of::<Bytes>().unwrap_err().to_string();
    assert!(error.contains("`blob`"), "{error}");
}

#[test]
fn a_column_that_is_not_decoded_and_a_field_of_two_columns_are_refused() {
    #[derive(thalweg_core::Record)]
    #[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
    struct Other {
        elsewhere: Option<i64>,
    }
    let format = || JsonFormat::of::<Reading>().unwrap();
    for (refused, says) in [
        (format().from_field(Other::ELSEWHERE, "field"), "`elsewhere`"),
        (format().from_field(Reading::PAYLOAD, "field"), "`payload`"),
        (format().from_field(Reading::DECODE_ERRORS, "field"), "`decode_errors`"),
        (format().from_field(Reading::AT, "text"), "`text` and `at`"),
        (
            format().from_field(Reading::AT, "time").unwrap().from_field(Reading::ID, "time"),
            "`time`",
        ),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), thalweg_core::ErrorKind::InvalidGraph, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    // A column may take over the name of one that is taken from another field.
    let format = format().from_field(Reading::TEXT, "note").unwrap();
    let format = format.from_field(Reading::AT, "text").unwrap();
    // Of the column of codes nothing is read: a field may have its name. And a column keeps its own.
    let format = format.from_field(Reading::ID, "decode_errors").unwrap();
    assert!(format.from_field(Reading::RATIO, "ratio").is_ok());
}
