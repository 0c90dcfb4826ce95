//! The whole path over a real Apache Kafka: while messages are produced, the pipeline is killed with -9 and the broker
//! is killed and started again; each message is in the tables once. And so it is whatever becomes of the positions that a
//! consumer group is told.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thalweg_connectors::testing::kafka_server::{KafkaServer, Record, or_skip, unique_topic};

use crate::support::{
    assert_alerts, assert_dead_letters, assert_mirrored, assert_same_tables, count, ended_within,
    healthcare, output, shown, start, succeed, write_events,
};

const EVENTS: u64 = 60_000;
pub(crate) const PARTITIONS: i32 = 4;
const CHUNKS: usize = 12;
/// At least.
const KILLS: u32 = 3;
/// Events whose positions a group is told.
const GROUPED: u64 = 16_000;
/// Milliseconds by which each look at the topic is slowed down, so that there are several checkpoints: on a busy machine they
/// take longer, and a step that was not passed is tried again.
const PACES: [u32; 3] = [120, 600, 2_000];

fn run(kafka: &KafkaServer, topic: &str, data: &Path) -> Command {
    let mut command = healthcare();
    command.args(["run", "--quiet", "--bootstrap-servers", kafka.bootstrap_servers()]);
    command.args(["--topic", topic, "--checkpoint-interval", "50ms", "--data-dir"]).arg(data);
    command.args(["--mirror-topic", &mirror_of(topic, data)]);
    let (config, dead_letters) = (data.with_extension("toml"), dead_letters_of(topic, data));
    let settings = format!("[quarantine]\non_rejected = \"topic\"\ntopic = \"{dead_letters}\"\n");
    fs::write(&config, settings).unwrap();
    command.arg("--config").arg(config);
    command
}

/// And a topic of dead letters of its own.
fn dead_letters_of(topic: &str, data: &Path) -> String {
    format!("{}-dead", mirror_of(topic, data))
}

/// Each data folder has a mirror of its own.
fn mirror_of(topic: &str, data: &Path) -> String {
    format!("{topic}-{}", data.file_name().unwrap().to_str().unwrap())
}

/// A patient's events have one partition, or the order among them, and so its alerts, would not be the same twice.
fn partition_of(line: &str) -> i32 {
    let digits = line.split("\"patient_id\":").nth(1).unwrap_or_default().trim_start_matches('"');
    let digits = digits.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse::<i32>().unwrap_or_default() % PARTITIONS
}

pub(crate) fn send(kafka: &KafkaServer, topic: &str, lines: &[&str]) {
    let records = lines.iter().map(|line| Record {
        partition: partition_of(line),
        key: None,
        payload: Some(line.as_bytes()),
        timestamp_ms: None,
    });
    kafka.produce_all(topic, records).unwrap();
}

/// Sends the lines to their partitions; in between the broker dies twice.
fn produce(kafka: &KafkaServer, topic: &str, lines: &[&str]) {
    for (number, chunk) in lines.chunks(lines.len().div_ceil(CHUNKS)).enumerate() {
        send(kafka, topic, chunk);
        if number % 5 == 3 {
            kafka.kill9().unwrap();
            kafka.start_again().unwrap();
        }
    }
}

#[test]
fn each_message_is_in_the_tables_once_whatever_is_killed() {
    let Some(kafka) = or_skip(KafkaServer::start_own(1)) else { return };
    let topic = unique_topic("healthcare");
    kafka.create_topic(&topic, PARTITIONS, &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, EVENTS, 41);
    let text = fs::read_to_string(&input).unwrap();
    let lines: Vec<&str> = text.lines().collect();

    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let data = folder.path().join("killed");
    let mut kills = 0;
    std::thread::scope(|scope| {
        let producing = scope.spawn(|| produce(&kafka, &topic, &lines));
        // The topic has no end: the job does not end by itself once all is produced either.
        while kills < KILLS || !producing.is_finished() {
            let mut child = start(&mut run(&kafka, &topic, &data));
            let ended =
                ended_within(&mut child, Duration::from_millis(random.random_range(200..2_500)));
            assert!(ended.is_none(), "the job ended by itself: {ended:?}");
            kills += 1;
        }
    });
    println!("{kills} kills");
    let all = EVENTS.to_string();
    succeed(run(&kafka, &topic, &data).args(["--events", &all, "--drain"]));

    let calm = folder.path().join("calm");
    succeed(run(&kafka, &topic, &calm).args(["--events", &all, "--drain"]));
    assert_eq!(count(&calm, "bronze/events"), EVENTS);
    assert_eq!(count(&calm, "silver/events") + count(&calm, "quarantine/events"), EVENTS);
    assert_alerts(&calm, EVENTS);
    assert_same_tables(&calm, &data);
    for data in [&calm, &data] {
        // Read by a client that shares nothing with ours.
        assert_mirrored(data, kafka.committed_lines(&mirror_of(&topic, data)).unwrap());
        let letters = kafka.committed_lines(&dead_letters_of(&topic, data)).unwrap();
        for stage in ["\"stage\":\"decode\"", "\"stage\":\"validate\""] {
            assert!(letters.iter().any(|letter| letter.contains(stage)), "{stage}");
        }
        // A time that stands in most of the messages, and "patient" as hexadecimal text.
        let clear = ["2025-11-24T", "70617469656e74"];
        let told = letters.iter().any(|letter| clear.iter().any(|text| letter.contains(text)));
        assert!(!told, "a payload is in the clear");
        assert_dead_letters(data, letters);
    }
}

/// A job that tells a group its positions.
fn run_in_group(kafka: &KafkaServer, topic: &str, data: &Path, failpoints: &str) -> Command {
    let config = data.with_extension("toml");
    fs::write(&config, format!("[kafka]\ngroup_id = \"{topic}\"\n")).unwrap();
    let mut command = healthcare();
    command.args(["run", "--quiet", "--bootstrap-servers", kafka.bootstrap_servers()]);
    command.args(["--topic", topic, "--checkpoint-interval", "40ms", "--data-dir"]).arg(data);
    command.args(["--events", &GROUPED.to_string(), "--drain", "--config"]).arg(config);
    command.env("THALWEG_LOG", "warn").env("FAILPOINTS", failpoints);
    command
}

/// All jobs tell the same group: whoever went by what it was told would begin at others' positions.
#[test]
fn nothing_is_lost_or_doubled_whatever_becomes_of_what_a_group_is_told() {
    let Some(kafka) = or_skip(KafkaServer::start_own(1)) else { return };
    let topic = unique_topic("group");
    kafka.create_topic(&topic, PARTITIONS, &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, GROUPED, 43);
    let text = fs::read_to_string(&input).unwrap();
    send(&kafka, &topic, &text.lines().collect::<Vec<_>>());
    // The broker's topic of groups is made now, which takes it a while.
    assert_eq!(kafka.group_positions(&topic, &topic).unwrap(), BTreeMap::new());
    let calm = folder.path().join("calm");
    succeed(&mut run_in_group(&kafka, &topic, &calm, ""));
    assert_eq!(count(&calm, "bronze/events"), GROUPED);
    assert_eq!(count(&calm, "silver/events") + count(&calm, "quarantine/events"), GROUPED);

    // Whether the step was met.
    let play = |action: &str, skipped: &str, pace: u32| {
        let name: String = action.chars().filter(char::is_ascii_alphabetic).collect();
        let data = folder.path().join(format!("{name}-{}-{pace}", skipped.len()));
        let failpoints = format!("group.commit={skipped}1*{action}->off;source.poll=sleep({pace})");
        let ended = output(&mut run_in_group(&kafka, &topic, &data, &failpoints));
        let said = String::from_utf8_lossy(&ended.stderr);
        let met = said.contains("met failpoint group.commit")
            || (action == "panic" && said.contains("panicked"));
        if ended.status.code().is_none() {
            assert!(met && action == "return(exit)", "{}", shown(&ended));
            succeed(&mut run_in_group(&kafka, &topic, &data, ""));
        } else {
            assert!(ended.status.success(), "{}", shown(&ended));
            assert!(!said.contains("attempt failed"), "{}", shown(&ended));
        }
        assert_same_tables(&calm, &data);
        met
    };
    // A process that has died or hangs does so in the same way later. One that lives goes on with what is left of the first time.
    for (action, skipped) in [
        ("return(error)", ""),
        ("return(error)", "1*off->"),
        ("panic", ""),
        ("panic", "1*off->"),
        ("return(exit)", ""),
        ("return(stall)", ""),
    ] {
        let met = PACES.iter().any(|pace| play(action, skipped, *pace));
        assert!(met, "{skipped}{action} was not met");
    }
    let told = kafka.group_positions(&topic, &topic).unwrap();
    assert!(told.values().any(|at| *at > 0), "no group was told anything: {told:?}");
}
