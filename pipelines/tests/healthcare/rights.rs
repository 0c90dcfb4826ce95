//! Rights in Kafka, at a real broker with an authorizer: a job that has those of the guide's table, and no others, sends
//! everything once. Where one is missing a start ends by one line, which says what to grant on what; with it the job goes on.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use thalweg_connectors::testing::kafka_server::Operation::{Create, Describe, Read, Write};
use thalweg_connectors::testing::kafka_server::Resource::{Group, Groups, Topic, TransactionalIds};
use thalweg_connectors::testing::kafka_server::{
    KafkaRights, KafkaServer, Right, or_skip, unique_topic,
};
use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

use crate::kafka::{PARTITIONS, send};
use crate::support::{
    ALERTS, assert_dead_letters, assert_mirrored, count, healthcare, output, shown, write_events,
};

/// Half a minute of event time: of the patients who are ill in turn some get alerts in each.
const CHUNK: usize = 6_000;
/// The first, one for a group, and one for each right that is taken.
const CHUNKS: usize = 11;
/// What the job's own transactional ids and groups begin with.
const OURS: &str = "healthcare/";
const WRONG: &str = "hunter3-of-nobody";
/// A start that is refused has ended by then on the busiest machine, unless it tries again and again.
const SOON: Duration = Duration::from_mins(1);

/// The topics of a job, and the group that it shows its positions under.
struct Names {
    events: String,
    commands: String,
    mirror: String,
    dead_letters: String,
    alerts: String,
    group: String,
}

impl Names {
    fn new() -> Self {
        let [events, commands, mirror, dead_letters, alerts, group] =
            ["events", "commands", "mirror", "dead", "alerts", "lag"].map(unique_topic);
        Self { events, commands, mirror, dead_letters, alerts, group }
    }

    /// What is needed of the guide's table once all topics are there.
    fn table(&self) -> Vec<Right<'_>> {
        let read = [&self.events, &self.commands].map(|topic| Topic(topic));
        let sent_once = [&self.mirror, &self.dead_letters].map(|topic| Topic(topic));
        let read = read.into_iter().flat_map(|topic| [(Read, topic), (Describe, topic)]);
        let sent_once = sent_once
            .into_iter()
            .flat_map(|topic| [(Read, topic), (Write, topic), (Describe, topic)]);
        let sent = [(Write, Topic(&self.alerts)), (Describe, Topic(&self.alerts))];
        let ids = [(Write, TransactionalIds(OURS)), (Describe, TransactionalIds(OURS))];
        let groups = [(Read, Groups(OURS)), (Describe, Groups(OURS))];
        read.chain(sent_once).chain(sent).chain(ids).chain(groups).collect()
    }
}

/// Writes the settings of a job that comes as the user by this password.
fn configure(config: &Path, names: &Names, servers: &str, password: &str) {
    let Names { events, commands, dead_letters, alerts, group, .. } = names;
    let text = format!(
        "[kafka]\nbootstrap_servers = \"{servers}\"\ntopic = \"{events}\"\ngroup_id = \"{group}\"\n\
         [kafka.properties]\nsecurity.protocol = \"sasl_plaintext\"\nsasl.mechanisms = \"PLAIN\"\n\
         sasl.username = \"{}\"\nsasl.password = \"{password}\"\n\
         [alerts]\ntopic = \"{alerts}\"\ncommands_topic = \"{commands}\"\n\
         [quarantine]\non_rejected = \"topic\"\ntopic = \"{dead_letters}\"\n",
        KafkaRights::USER
    );
    fs::write(config, text).unwrap();
}

/// What a command said with all that it logs, which is never a password.
fn said(output: &Output) -> String {
    let said = shown(output);
    assert!(
        ![KafkaRights::PASSWORD, WRONG].iter().any(|secret| said.contains(secret)),
        "a password"
    );
    said
}

/// It ends soon, and by one line that has all of these words.
fn refused(command: &mut Command, words: &[&str]) {
    let clock = SystemClock::default();
    let begun = clock.monotonic();
    let ended = output(command);
    let (took, said) = (clock.monotonic().saturating_sub(begun), said(&ended));
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(took < SOON, "it took {took:?}: {said}");
    assert!(!said.contains("attempt failed"), "{said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    println!("{took:?}: {}", errors[0]);
    assert!(words.iter().all(|word| errors[0].contains(word)), "not {words:?}: {said}");
}

/// It ends as it should, at the first attempt.
fn goes_on(command: &mut Command) -> String {
    let ended = output(command);
    let said = said(&ended);
    assert!(ended.status.success() && !said.contains("attempt failed"), "{said}");
    said
}

#[test]
fn a_job_needs_the_rights_of_the_table_and_says_which_of_them_it_lacks() {
    let Some((kafka, rights)) = or_skip(KafkaServer::start_with_rights()) else { return };
    let names = Names::new();
    let Names { events, commands, mirror, dead_letters, alerts, group } = &names;
    // The mirror is missing.
    kafka.create_topic(events, PARTITIONS, &[]).unwrap();
    for topic in [commands, dead_letters, alerts] {
        kafka.create_topic(topic, 1, &[]).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let [input, config, data] =
        ["events.jsonl", "config.toml", "data"].map(|name| folder.path().join(name));
    write_events(&input, (CHUNK * CHUNKS) as u64, 47);
    let text = fs::read_to_string(&input).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut chunks = lines.chunks(CHUNK);
    let mut total = 0;
    let mut send_more = || {
        let chunk = chunks.next().unwrap();
        send(&kafka, events, chunk);
        total += chunk.len() as u64;
        total
    };
    let run = |events: u64| {
        let mut command = healthcare();
        command.args(["run", "--quiet", "--mirror-topic", mirror, "--checkpoint-interval"]);
        command.args(["200ms", "--events", &events.to_string(), "--config"]).arg(&config);
        command.arg("--data-dir").arg(&data).env("THALWEG_LOG", "debug");
        command
    };

    let sent = send_more();
    configure(&config, &names, rights.bootstrap_servers(), WRONG);
    refused(&mut run(sent), &["refuses the credentials"]);
    configure(&config, &names, rights.bootstrap_servers(), KafkaRights::PASSWORD);
    rights.give(&names.table()).unwrap();
    let missing = format!("create topic `{mirror}`");
    refused(&mut run(sent), &["no permission to", &missing, "grant CREATE"]);
    let create = [(Create, Topic(mirror))];
    rights.give(&create).unwrap();
    let told = goes_on(&mut run(sent));
    // What only makes a job more comfortable is missed in its log.
    for words in ["cannot show positions to lag tools", "offsets.retention.minutes"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    rights.take(&create).unwrap();
    rights.give(&[(Read, Group(group))]).unwrap();
    goes_on(&mut run(send_more()));

    let of_ids = format!("WRITE and DESCRIBE on transactional ids with the prefix `{OURS}`");
    let of_groups = format!("READ and DESCRIBE on groups with the prefix `{OURS}`");
    let (id, own_group) = (format!("use transactional id `{OURS}"), format!("use group `{OURS}"));
    let on = |what: &str, topic: &str| format!("{what} topic `{topic}`");
    // Who may read or write may describe as well: the one is taken without the other, or both are.
    let cases: [(&[Right<'_>], String, &str); 9] = [
        (&[(Read, Topic(events))], on("read", events), "grant READ"),
        (
            &[(Read, Topic(events)), (Describe, Topic(events))],
            on("describe", events),
            "grant DESCRIBE",
        ),
        (
            &[(Read, Topic(commands)), (Describe, Topic(commands))],
            on("describe", commands),
            "grant DESCRIBE",
        ),
        (&[(Write, Topic(mirror))], on("write to", mirror), "grant WRITE"),
        (&[(Read, Topic(mirror))], on("write to", mirror), "READ as well"),
        (&[(Write, Topic(alerts))], on("write to", alerts), "grant WRITE"),
        (&[(Write, TransactionalIds(OURS))], id, &of_ids),
        (&[(Read, Groups(OURS))], own_group.clone(), &of_groups),
        (&[(Read, Groups(OURS)), (Describe, Groups(OURS))], own_group, &of_groups),
    ];
    for (taken, what, grant) in &cases {
        let sent = send_more();
        rights.take(taken).unwrap();
        refused(&mut run(sent), &["no permission to", what, grant]);
        rights.give(taken).unwrap();
        goes_on(&mut run(sent));
    }

    let acknowledge = || {
        let mut command = healthcare();
        command.args(["alerts", "acknowledge", "1150/heart-rate-high/1764018000000000"]);
        command.args(["--by", "nurse", "--config"]).arg(&config).arg("--data-dir").arg(&data);
        command.env("THALWEG_LOG", "debug");
        command
    };
    // Brokers let whoever may write to any topic number messages, which all producers do.
    let writes = [mirror, dead_letters, alerts].map(|topic| (Write, Topic(topic)));
    let what = on("no permission to write to", commands);
    rights.take(&writes).unwrap();
    refused(&mut acknowledge(), &[&what, "grant WRITE", "IDEMPOTENT_WRITE"]);
    rights.give(&writes).unwrap();
    refused(&mut acknowledge(), &[&what, "grant WRITE"]);
    rights.give(&[(Write, Topic(commands))]).unwrap();
    goes_on(&mut acknowledge());

    assert_eq!(total, (CHUNK * CHUNKS) as u64);
    assert_eq!(count(&data, "bronze/events"), total);
    assert_eq!(count(&data, "silver/events") + count(&data, "quarantine/events"), total);
    let messages = |topic: &str| {
        let messages = kafka.committed_messages(topic).unwrap();
        messages.into_iter().map(|message| message.value).collect::<Vec<_>>()
    };
    assert_mirrored(&data, messages(mirror));
    assert_dead_letters(&data, messages(dead_letters));
    // At least once.
    let (pages, raised) = (messages(alerts).len() as u64, count(&data, ALERTS));
    assert!(raised > 0 && pages >= raised, "{pages} messages of {raised} changes of alerts");
    let positions = kafka.group_positions(group, events).unwrap();
    assert!(positions.values().any(|at| *at > 0), "the group was told nothing: {positions:?}");
}
