//! Shared by the pipeline's tests: made-up events, running the real binary, and reading tables without delta-rs.
#![allow(dead_code, reason = "each test binary uses a part")]

mod commands;
mod compare;
mod cuts;
pub(crate) mod days;
mod listener;
mod mirror;
pub(crate) mod rewrite;
pub(crate) mod serving;
mod started;
pub(crate) mod table_log;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[allow(unused_imports, reason = "each test binary uses a part")]
pub(crate) use commands::{ends_with, last_line, operator};
#[allow(unused_imports, reason = "each test binary uses a part")]
pub(crate) use compare::{AllRows, assert_same_tables};
#[allow(unused_imports, reason = "each test binary uses a part")]
pub(crate) use cuts::CutReader;
#[allow(unused_imports, reason = "each test binary uses a part")]
pub(crate) use listener::Listener;
#[allow(unused_imports, reason = "each test binary uses a part")]
pub(crate) use mirror::{assert_dead_letters, assert_mirrored};
#[allow(unused_imports, reason = "each test binary uses a part")]
pub(crate) use started::{Started, ended_within, output, start, unless_killed, wait_until};
#[allow(unused_imports, reason = "each test binary uses a part")]
pub(crate) use table_log::{data_files, data_files_at};

/// Every table of the pipeline but `meta/checkpoints`, whose rows depend on timing, and alerts, which only inputs have
/// that keep the order of a patient's events.
pub(crate) const TABLES: [&str; 9] = [
    "bronze/events",
    "silver/events",
    "quarantine/events",
    "late/events",
    "gold/vitals_by_minute",
    "gold/vitals_by_bp_category",
    "gold/patient_vitals",
    "gold/medications",
    "gold/kpis",
];

/// Absent where the input does not keep the order of a patient's events.
pub(crate) const ALERTS: &str = "alerts/events";

/// Columns that an undisturbed run may have other values in: the time of reading, and ciphertext.
pub(crate) const VOLATILE: [&str; 2] = ["ingested_at", "payload"];

/// A key for tests: 32 bytes, base64.
pub(crate) const KEY: &str = "dGhhbHdlZy10ZXN0cy1vbmx5LTMyLWJ5dGVzLWtleSE=";

/// Patients who are ill again and again, see [`is_ill`].
const ILL: Range<i32> = 1150..1160;

/// For 20 of every 60 seconds of event time: long enough that `heart-rate-high` fires, which takes 10 s, and so that it is
/// resolved afterwards. Each patient begins 6 s before the next one, so that alerts change all the time.
fn is_ill(patient: i32, ms: u64) -> bool {
    ILL.contains(&patient) && (ms / 1_000 + 6 * (patient - ILL.start) as u64) % 60 < 20
}

/// The folder has the alerts of so many events of [`write_events`], or nearly: in a minute, which is 12,000 events, each of
/// the ten patients who are ill has one that fires and is resolved. At both ends some are cut off: of a thousand inputs
/// that were simulated, of 16,000 to 60,000 events, none had less than this.
pub(crate) fn assert_alerts(data: &Path, events: u64) {
    let (found, least) = (count(data, ALERTS), events / 600 - 10);
    assert!(found >= least, "{found} changes of alerts to compare, less than {least}");
}

/// Writes `count` events; about one in fifty is broken, one in ten late by up to two minutes, and some of the patients are
/// ill for a while.
pub(crate) fn write_events(path: &Path, count: u64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut out = BufWriter::new(File::create(path).unwrap());
    for i in 0..count {
        let late = if random.random_bool(0.1) { random.random_range(0..120_000) } else { 0 };
        let ms = (i * 5).saturating_sub(late);
        let at = format!(
            "2025-11-24T{:02}:{:02}:{:02}.{:03}",
            21 + ms / 3_600_000 % 3,
            ms / 60_000 % 60,
            ms / 1000 % 60,
            ms % 1000
        );
        let patient = 1000 + random.random_range(0..200);
        let kind = ["vitals", "vitals", "medication", "lab_result"][random.random_range(0..4)];
        let medication = if kind == "medication" { "\"Heparin\"" } else { "null" };
        let (systolic, diastolic) = (random.random_range(95..190), random.random_range(55..94));
        let heart_rate = random.random_range(40..140);
        let heart_rate = if is_ill(patient, ms) { 180 } else { heart_rate };
        let line = match random.random_range(0..400) {
            0 => "{\"patient_id\":".to_owned(),
            1 => "[1,2]".to_owned(),
            2 => {
                format!("{{\"patient_id\":{patient},\"event_type\":\"x\",\"timestamp\":\"{at}\"}}")
            }
            3 => format!(
                "{{\"patient_id\":{patient},\"event_type\":\"vitals\",\"timestamp\":\"soon\"}}"
            ),
            4 => format!(
                "{{\"patient_id\":{patient},\"event_type\":\"vitals\",\"timestamp\":\"{at}\",\"heart_rate\":-5}}"
            ),
            5 => format!(
                "{{\"patient_id\":\"{patient}\",\"event_type\":\"vitals\",\"timestamp\":\"{at}\"}}"
            ),
            6 => format!(
                "{{\"patient_id\":{patient},\"event_type\":\"vitals\",\"timestamp\":\"{at}\",\"blood_pressure\":\"abc\"}}"
            ),
            _ => format!(
                "{{\"event_id\":{i},\"patient_id\":{patient},\"name\":\"Zoë Quimby-Test{patient}\",\"ssn\":\"123-45-{patient}\",\
                 \"phone\":\"(555) 867-{patient}\",\"dob\":\"1961-07-13\",\"address\":\"742 Evergreen Ter, Boston, MA 02118\",\
                 \"event_type\":\"{kind}\",\"heart_rate\":{heart_rate},\"blood_pressure\":\"{systolic}/{diastolic}\",\
                 \"temperature\":98.{},\"spo2\":97,\"respiratory_rate\":16,\"medication\":{medication},\"timestamp\":\"{at}\"}}",
                random.random_range(0..10)
            ),
        };
        writeln!(out, "{line}").unwrap();
    }
    out.flush().unwrap();
}

/// The binary under test.
pub(crate) fn healthcare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_healthcare"));
    // One key for all folders, so that their tables can be compared.
    command.env("THALWEG_PHI_KEY", KEY).env_remove("THALWEG_LOG").stdin(Stdio::null());
    command
}

/// `healthcare run` over a file.
pub(crate) fn run_file(data: &Path, input: &Path) -> Command {
    let mut command = healthcare();
    command.args(["run", "--quiet", "--data-dir"]).arg(data).arg("--input").arg(input);
    command
}

/// Runs to the end and expects success.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{}", shown(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs to the end and expects exit code 1 and one line on standard error.
pub(crate) fn fail(command: &mut Command) -> String {
    error_line(command, 1)
}

/// The same for wrong usage: exit code 2.
pub(crate) fn misuse(command: &mut Command) -> String {
    error_line(command, 2)
}

fn error_line(command: &mut Command, code: i32) -> String {
    let output = ends_with(command, code);
    let text = String::from_utf8(output.stderr).unwrap();
    let errors: Vec<&str> = text.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    errors[0].to_owned()
}

/// Both outputs, for a failed assertion.
pub(crate) fn shown(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Bytes of the process in memory; `None` once it has ended.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

/// Every batch of a table.
pub(crate) fn batches(table: &Path) -> Vec<RecordBatch> {
    let mut all = Vec::new();
    for file in data_files(table) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&file).unwrap()).unwrap();
        all.extend(reader.build().unwrap().map(Result::unwrap));
    }
    all
}

/// The rows of a table as text, each with how often it occurs. Floating point is rounded to nine digits: the order in
/// which means are summed is not promised.
pub(crate) fn rows(data: &Path, table: &str) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    let options = FormatOptions::default().with_null("∅");
    for batch in batches(&data.join(table)) {
        let schema = batch.schema();
        let columns: Vec<usize> = (0..batch.num_columns())
            .filter(|i| !VOLATILE.contains(&schema.field(*i).name().as_str()))
            .collect();
        let formatters: Vec<ArrayFormatter<'_>> = columns
            .iter()
            .map(|i| ArrayFormatter::try_new(batch.column(*i).as_ref(), &options).unwrap())
            .collect();
        let floating = |column: &usize| schema.field(*column).data_type().is_floating();
        let floats: Vec<bool> = columns.iter().map(floating).collect();
        for row in 0..batch.num_rows() {
            let mut text = String::new();
            for (float, formatter) in floats.iter().zip(&formatters) {
                let begun = text.len();
                write!(text, "{}", formatter.value(row)).unwrap();
                if *float && let Ok(number) = text[begun..].parse::<f64>() {
                    text.truncate(begun);
                    write!(text, "{number:.9e}").unwrap();
                }
                text.push('|');
            }
            *counted.entry(text).or_default() += 1;
        }
    }
    counted
}

/// Rows of a table.
pub(crate) fn count(data: &Path, table: &str) -> u64 {
    batches(&data.join(table)).iter().map(|b| b.num_rows() as u64).sum()
}
