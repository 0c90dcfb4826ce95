//! The configuration file with every setting, its meaning and its default, made from the defaults themselves.

mod alerts;

use toml::{Table, Value};

use super::HealthcareConfig;

/// What is said about a section or a setting. A default that is `None` depends on the machine or is no value at all;
/// the text is shown, commented out.
struct Entry {
    name: &'static str,
    comment: &'static str,
    example: Option<&'static str>,
}

const fn entry(name: &'static str, comment: &'static str) -> Entry {
    Entry { name, comment, example: None }
}

const fn example(name: &'static str, example: &'static str, comment: &'static str) -> Entry {
    Entry { name, comment, example: Some(example) }
}

struct Section {
    name: &'static str,
    comment: &'static str,
    entries: &'static [Entry],
}

const SECTIONS: &[Section] = &[
    Section {
        name: "kafka",
        comment: "Where events come from. --bootstrap-servers, --topic and --start come before this section.",
        entries: &[
            example(
                "bootstrap_servers",
                "\"localhost:9092\"",
                "host:port, several separated by commas.",
            ),
            entry("topic", "The topic to read."),
            example(
                "group_id",
                "\"healthcare\"",
                "Consumer group under which positions are shown to lag tools. Never read back.",
            ),
            entry(
                "start",
                "Where a new chain begins: earliest, latest, or a time such as 2026-01-31T08:00:00Z.",
            ),
            entry("discovery_interval", "How often to look for new partitions."),
            entry(
                "on_data_loss",
                "What to do about a position that the broker no longer has: fail, or reset to the first one it has.",
            ),
        ],
    },
    Section {
        name: "kafka.properties",
        comment: "Any further setting of librdkafka. TLS, and SASL by anything but PLAIN, need a build with feature kafka-tls.",
        entries: &[
            example("security.protocol", "\"sasl_ssl\"", ""),
            example("sasl.mechanism", "\"SCRAM-SHA-512\"", ""),
            example("sasl.username", "\"healthcare\"", ""),
            example("sasl.password", "\"…\"", "Keep this file readable by its owner only."),
        ],
    },
    Section {
        name: "mirror",
        comment: "A copy of silver in a Kafka topic, exactly once. --mirror-topic and --mirror-servers come before it.",
        entries: &[
            example(
                "topic",
                "\"healthcare_silver\"",
                "The topic; without one nothing is mirrored.",
            ),
            example(
                "bootstrap_servers",
                "\"localhost:9092\"",
                "Default: the brokers that events come from. [kafka.properties] are used here, too.",
            ),
            example(
                "transaction_timeout",
                "\"1m\"",
                "How long sending one checkpoint may take. Default: 1m, or the checkpoint interval, up to 15m.",
            ),
            entry(
                "strict",
                "A producer of its own for each checkpoint, not only behind errors and repeated requests: slower.",
            ),
        ],
    },
    Section {
        name: "decoding",
        comment: "How messages are read.",
        entries: &[
            entry("max_message_bytes", "Longer messages are not looked into: message.too_large."),
            entry(
                "future_cap",
                "How far ahead of its arrival an event may claim to have happened: timestamp.future.",
            ),
        ],
    },
    Section {
        name: "ranges",
        comment: "What is possible, both ends included; anything else is quarantined. Alerts look at some of it all the same.",
        entries: &[
            entry("heart_rate", "Beats per minute."),
            entry("systolic", "mmHg."),
            entry("diastolic", "mmHg; always below the systolic pressure, too."),
            entry("temperature", "Degrees Fahrenheit."),
            entry("spo2", "Percent."),
            entry("respiratory_rate", "Breaths per minute."),
        ],
    },
    Section {
        name: "quarantine",
        comment: "What becomes of rejected messages, and when the job stops because there are too many.",
        entries: &[
            entry(
                "on_rejected",
                "table; topic: the table and a topic of dead letters, exactly once; drop; fail: the first ends the job.",
            ),
            example(
                "on_undecodable",
                "\"fail\"",
                "The same for messages of which something cannot be read: stage decode. Default: as on_rejected says.",
            ),
            example(
                "on_invalid",
                "\"drop\"",
                "The same for messages that can be read and break a rule: stage validate. Default: as on_rejected says.",
            ),
            example(
                "topic",
                "\"healthcare_dead_letters\"",
                "The topic, on the mirror's brokers. Payloads are encrypted as in the table.",
            ),
            entry(
                "stop_above",
                "The share of the latest messages that may be rejected; 1 never stops.",
            ),
            entry("judged_over", "How many messages of a subtask it is judged over, at least."),
        ],
    },
    Section {
        name: "time",
        comment: "How event time advances. Change window for a new chain only (--fresh), the rest from run to run.",
        entries: &[
            entry("out_of_orderness", "How far out of order the events of a partition may be."),
            entry(
                "ahead",
                "How far ahead of its arrival in Kafka an event may be and still move event time.",
            ),
            entry(
                "idle_after",
                "A partition without events for this long no longer holds the others back.",
            ),
            entry("window", "Length of the windows of the gold tables."),
            entry(
                "allowed_lateness",
                "How much longer than the watermark says a window stays open. `refresh` days with what they had.",
            ),
        ],
    },
    Section {
        name: "runtime",
        comment: "How the job runs. All of it may change between runs.",
        entries: &[
            example(
                "parallelism",
                "4",
                "Subtasks per task, 1 to 128. Default: the number of cores, 32 at most.",
            ),
            entry(
                "checkpoint_interval",
                "Time between checkpoints, at least 1ms: how soon rows become visible.",
            ),
            entry(
                "channel_rows",
                "Rows that may wait in one channel, at least 1, and as many KiB.",
            ),
            entry(
                "idle_checkpoint_interval",
                "Time from one checkpoint to the next while nothing happens; brokers must remember offsets for longer.",
            ),
            entry("keep_checkpoints", "Manifests kept, at least 2."),
            entry("restart_attempts", "Restarts in a row before giving up; 0: none."),
            entry("restart_delay", "First pause before a restart; doubles each time up to 30s."),
            entry("io_threads", "Threads for storage work, 2 to 256."),
            entry("slow_checkpoint", "Warn when a checkpoint takes longer than this."),
            example(
                "memory_limit",
                "\"4GiB\"",
                "The job ends when the process's resident memory stays above this. Default: no limit.",
            ),
            example(
                "disk_reserve",
                "\"10GiB\"",
                "The job ends when a disk of the data folder has less than this left. Default: no reserve.",
            ),
        ],
    },
    Section {
        name: "maintenance",
        comment: "How the tables are kept in shape while the job runs; `healthcare maintain` does the same at once.",
        entries: &[
            entry(
                "interval",
                "Time between two runs, the first of which comes after it; 0s: never.",
            ),
            entry(
                "merge_interval",
                "Time between two runs that merge small files and do nothing else; 0s: with the rest.",
            ),
            entry(
                "retention",
                "How long files that are no longer in a table stay for readers of older versions: 1h to 7days, or as tables say.",
            ),
            entry("min_files", "Fewer small files of a table are not merged."),
        ],
    },
    Section {
        name: "quality",
        comment: "When the data of a day are good: `healthcare quality`. Shares are between 0 and 1.",
        entries: &[
            entry("complete", "Columns of silver that events of kind vitals should have."),
            entry("complete_warn", "The share of them that should, at least."),
            entry("complete_fail", "Fewer fail."),
            entry("rejected_warn", "The share of the day's messages that may be rejected."),
            entry("rejected_fail", "More fail."),
            entry("repeated_warn", "The share of events that may be there again."),
            entry("repeated_fail", "More fail."),
            entry("late_warn", "The share of events that may be too late for gold."),
            entry("late_fail", "More fail."),
            entry("volume_days", "How many days before the median of events is taken of."),
            entry("volume_warn", "How far events may be from it: 0.5 is half or double."),
            entry("volume_fail", "Further fails."),
            entry("fresh_warn", "How long before the day's end, or now, the last event may be."),
            entry(
                "fresh_fail",
                "Longer fails; too little volume does so once a day is older than that.",
            ),
        ],
    },
    Section {
        name: "monitor",
        comment: "When the job is well: `healthcare monitor`. Zero: not judged.",
        entries: &[
            entry("checkpoint_age", "How old the newest checkpoint may be."),
            entry("arrival_age", "How long ago the last message may have arrived."),
            entry("silver_age", "How long ago the last event in silver may have happened."),
            entry("gold_age", "How long ago the last window of gold may have ended."),
            entry(
                "sparse_gold_age",
                "The same of the tables by blood pressure and by medication, once they have rows.",
            ),
            entry("lag", "How many messages may wait in the topic."),
            example(
                "webhook",
                "\"https://hooks.example.org/…\"",
                "Whom to tell, by POST of a JSON object. THALWEG_WEBHOOK_URL comes before it.",
            ),
            entry("webhook_attempts", "How often it is tried to tell them."),
        ],
    },
    Section {
        name: "schedule",
        comment: "When `healthcare schedule` does what: cron, UTC, of the day before. Empty: never.",
        entries: &[
            entry("maintain", "The job itself maintains its tables, see [maintenance]."),
            entry("refresh", "Gold compared with silver."),
            entry("quality", "The checks of a day."),
            entry("report", "The day on one page."),
            entry("monitor", "A look at the job."),
            entry("out", "Folder for reports."),
            entry(
                "time_limit",
                "How long a command may run before it is terminated; 0s: no limit.",
            ),
        ],
    },
];

fn sections() -> impl Iterator<Item = &'static Section> {
    SECTIONS.iter().chain(alerts::SECTIONS)
}

/// A configuration file that says what is the case without one.
pub fn commented_default() -> String {
    let defaults = Table::try_from(HealthcareConfig::default()).unwrap_or_default();
    let mut text = String::from(
        "# Settings of the healthcare pipeline. Every line shows the default: keep what you change.\n",
    );
    for section in sections() {
        text.push_str(&format!("\n# {}\n[{}]\n", section.comment, section.name));
        for entry in section.entries {
            if !entry.comment.is_empty() {
                text.push_str(&format!("# {}\n", entry.comment));
            }
            if let Some(example) = entry.example {
                text.push_str(&format!("# {} = {example}\n", entry.name));
            } else if let Some(value) = look_up(&defaults, section.name, entry.name) {
                text.push_str(&format!("{} = {}\n", entry.name, inline(value)));
            }
        }
    }
    text
}

fn look_up<'a>(defaults: &'a Table, section: &str, name: &str) -> Option<&'a Value> {
    defaults.get(section)?.as_table()?.get(name)
}

/// A value on one line, a list of tables on one for each. Numbers are shown whole when they are, ranges from their
/// lower end.
fn inline(value: &Value) -> String {
    match value {
        Value::Table(range) if range.len() == 2 && range.contains_key("min") => {
            let end = |name| range.get(name).map(inline).unwrap_or_default();
            format!("{{ min = {}, max = {} }}", end("min"), end("max"))
        }
        Value::Table(table) => {
            let entries: Vec<String> =
                table.iter().map(|(name, value)| format!("{name} = {}", inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(rows) if rows.iter().any(Value::is_table) => {
            let rows: Vec<String> =
                rows.iter().map(|row| format!("  {},\n", inline(row))).collect();
            format!("[\n{}]", rows.concat())
        }
        Value::Float(number) => number.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_says_what_is_the_case_without_it() {
        let text = commented_default();
        assert_eq!(HealthcareConfig::parse(&text).unwrap(), HealthcareConfig::default(), "{text}");
        assert!(text.contains("\nheart_rate = { min = 20, max = 300 }\n"), "{text}");
        assert!(text.contains("\nfuture_cap = \"1day\"\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }

    #[test]
    fn every_setting_is_in_the_template() {
        let defaults = Table::try_from(HealthcareConfig::default()).unwrap();
        for (section, settings) in &defaults {
            let described = sections().find(|s| s.name == section).unwrap();
            for name in settings.as_table().unwrap().keys() {
                let found = described.entries.iter().find(|e| e.name == name);
                assert!(found.is_some(), "{section}.{name}");
            }
        }
    }

    #[test]
    fn the_examples_are_accepted_when_they_are_used() {
        let used: Vec<String> = commented_default()
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(setting) if setting.split(' ').nth(1) == Some("=") => setting.to_owned(),
                _ => line.to_owned(),
            })
            .collect();
        let config = HealthcareConfig::parse(&used.join("\n")).unwrap();
        assert_eq!(config.kafka.bootstrap_servers.as_deref(), Some("localhost:9092"));
        assert_eq!(config.kafka.properties.len(), 4);
        assert_eq!(config.kafka.properties["sasl.username"], "healthcare");
        assert!(
            config.quarantine.on_undecodable.is_some() && config.quarantine.on_invalid.is_some()
        );
    }
}
