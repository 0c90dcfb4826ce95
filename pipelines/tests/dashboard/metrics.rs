//! What a scraper reads at `/metrics`, and the page of the pipeline.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use thalweg_objects::testing::Browser;

use super::support::healthcare;
use super::support::serving::{Serving, cookie, request, script};
use super::{PATIENCE, TOPIC, Topic, now_millis, text};

/// A job over the topic, with its pages.
fn job(topic: &Topic, folder: &Path) -> Serving {
    Serving::start(
        healthcare()
            .args(["run", "--http", "127.0.0.1:0", "--topic", TOPIC, "--bootstrap-servers"])
            .arg(topic.broker.bootstrap_servers())
            .arg("--data-dir")
            .arg(folder.join("data")),
    )
}

#[test]
fn the_rates_of_the_pipeline_are_those_of_its_counters_and_zero_when_nothing_flows() {
    let Some(browser) = Browser::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::start();
    let serving = job(&topic, folder.path());
    let mut script = browser.script(&script("pipeline.mjs"));
    script.arg(&serving.link).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines().map(Result::unwrap);
    let agreed = std::thread::scope(|scope| {
        let agreed = scope.spawn(|| lines.next());
        for n in 0.. {
            if agreed.is_finished() {
                break;
            }
            let now = now_millis();
            topic.write(n % 2, (n % 100) as usize, now, now);
            std::thread::park_timeout(Duration::from_millis(10));
        }
        agreed.join().unwrap()
    });
    assert_eq!(agreed.as_deref(), Some("agree"));
    writeln!(script.stdin.take().unwrap(), "nothing flows").unwrap();
    assert_eq!(lines.next().as_deref(), Some("ok"));
    drop(script.wait());
}

#[test]
fn a_scraper_reads_how_many_values_could_not_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::start();
    let serving = job(&topic, folder.path());
    let (address, path) = serving.parts();
    let operator = cookie(address, &path);
    let event = json!({
        "patient_id": 7, "event_type": "vitals", "timestamp": text(now_millis()),
        "oxygen": "4 litres", "ssn": "on file", "medication": "ask 555-123-7890",
    });
    topic.writer.send_to(0, Some(event.to_string().as_bytes()), None).unwrap();
    topic.writer.flush(PATIENCE).unwrap();
    let wanted = [
        "thalweg_decode_unusable_values_total{column=\"oxygen\"} 1",
        "thalweg_decode_unusable_values_total{column=\"consciousness\"} 0",
        "thalweg_decode_unusable_values_total{column=\"medication\"} 0",
        "thalweg_decode_withheld_values_total{column=\"medication\"} 1",
        "thalweg_decode_withheld_values_total{column=\"unit\"} 0",
        "thalweg_mask_unparsed_values_total{column=\"ssn\"} 1",
    ];
    let mut looks = 0;
    loop {
        let (status, read) = request(address, "GET", "/metrics", &operator);
        assert_eq!(status, 200, "{read}");
        let told = ["litres", "on file", "555-123"].iter().any(|value| read.contains(value));
        assert!(!told, "{read}");
        if wanted.iter().all(|wanted| read.lines().any(|line| line == *wanted)) {
            break;
        }
        looks += 1;
        assert!(looks < 1_800, "{read}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}
