//! kill -9 at random instants: after restarts the tables are those of an undisturbed run.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::{
    CutReader, TABLES, assert_same_tables, count, ended_within, run_file, start, succeed,
    write_events,
};

const EVENTS: u64 = 150_000;
const KILLS: u32 = 20;
/// Cuts to judge at least: a busy machine has few checkpoints between two kills.
const CUTS: usize = 15;

#[test]
fn twenty_kills_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, EVENTS, 7);
    let calm = folder.path().join("calm");
    succeed(&mut run_file(&calm, &input));
    assert_eq!(count(&calm, "silver/events") + count(&calm, "quarantine/events"), EVENTS);
    assert!(TABLES.iter().all(|t| count(&calm, t) > 0), "every table has rows to compare");

    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut kills = 0;
    let mut round = 0;
    let mut judged = 0;
    while kills < KILLS || judged < CUTS {
        // A run that got through before the last kill is compared, and another one is begun.
        round += 1;
        let data = folder.path().join(format!("killed-{round}"));
        let mut cuts = CutReader::default();
        loop {
            let parallelism = random.random_range(1..=3).to_string();
            let mut command = run_file(&data, &input);
            command.args(["--checkpoint-interval", "50ms", "--parallelism", &parallelism]);
            let mut child = start(&mut command);
            let limit = if kills < KILLS {
                Duration::from_millis(random.random_range(20..900))
            } else {
                Duration::from_mins(5)
            };
            if let Some(status) = ended_within(&mut child, limit) {
                assert!(status.success(), "kills end no job in another way: {status}");
                break;
            }
            kills += 1;
            cuts.judge(&data);
        }
        succeed(&mut run_file(&data, &input));
        assert_same_tables(&calm, &data);
        judged += cuts.judge(&data);
    }
}
