//! One table's store answers with nothing but errors for ten minutes.
//!
//! The other tables get one checkpoint ahead of it at most, sources stand still, and when the store is back the job
//! catches up. A process gives up after as many restarts as it may make; whoever supervises it starts the next.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use thalweg_core::ErrorKind;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::crypto::MasterKey;
use thalweg_core::time::Clock;

use super::audit;
use super::director::{Process, run, runtime};
use super::input::{PACE, ROWS};
use super::world::{Backing, Mutation, World};
use crate::job::JobSummary;
use crate::settings::Settings;

/// Barriers come a little behind every even second, and a window closes at every odd one: each checkpoint has counts to
/// commit, and none is under way when the refusal begins.
const INTERVAL: Duration = Duration::from_secs(2);
const REFUSED: Range<Duration> = Duration::from_secs(9)..Duration::from_secs(609);
/// How soon everything must stand still: two more barriers come within four seconds, and sources are paused three
/// intervals behind the second.
const STILL: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_millis(100);

/// What came of it.
struct Refusal {
    /// Processes that gave up.
    gave_up: u64,
    summary: JobSummary,
    /// When the job had come to its end.
    ended: Duration,
}

/// Plays it; `answer` is how long the store takes to refuse.
fn refuse(table: &'static str, answer: Duration, restart_attempts: u32) -> Refusal {
    runtime().block_on(direct(table, answer, restart_attempts))
}

async fn direct(table: &'static str, answer: Duration, restart_attempts: u32) -> Refusal {
    let world = World::new(0, Mutation::None, ROWS, Backing::Played);
    world.inner().dice.faulty = false;
    let key = Arc::new(MasterKey::generate().unwrap());
    let settings = Settings {
        parallelism: 2,
        checkpoint_interval: INTERVAL,
        restart_attempts,
        ..Settings::default()
    };
    let (mut processes, mut gave_up): (Vec<Process>, u64) = (Vec::new(), 0);
    let (mut still, mut looked) = (None, false);
    loop {
        let now = world.monotonic();
        assert!(now < REFUSED.end * 2, "the job does not come to its end");
        let refusing = REFUSED.contains(&now);
        world.inner().refusing = refusing.then_some((table, answer));
        if refusing && now >= REFUSED.start + STILL {
            let seen = (world.newest(), world.inner().furthest);
            assert_eq!(*still.get_or_insert(seen), seen, "it went on at {now:?}");
        }
        if refusing && now + STEP * 5 >= REFUSED.end {
            assert_one_apart(&world, table);
            looked = true;
        }
        if processes.is_empty() {
            processes.push(Process::start(&world, &key, gave_up + 1, settings.clone()));
        }
        run(&mut processes, now + STEP, &world).await;
        if !processes[0].job.is_finished() {
            continue;
        }
        match processes.remove(0).job.now_or_never().unwrap().unwrap() {
            Ok(summary) => {
                assert!(summary.finished && looked);
                let ended = world.monotonic();
                audit::end(&world);
                assert_eq!(world.inner().violations, Vec::<String>::new());
                return Refusal { gave_up, summary, ended };
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
                gave_up += 1;
            }
        }
    }
}

/// The newest manifest waits for `table`, counts wait for the table of rows, whose rank is before theirs (P18), and
/// everything before that manifest is committed everywhere (P16). Nobody has read what arrived meanwhile.
fn assert_one_apart(world: &World, table: &str) {
    let mut inner = world.inner();
    inner.broker.settle(world.monotonic());
    let newest = *inner.created.last_key_value().unwrap().0;
    let held = if table == "raw" { BTreeSet::from(["raw", "counts"]) } else { [table].into() };
    let mut waiting = BTreeSet::new();
    for (number, contents) in &inner.created {
        for pending in Manifest::decode(&contents[0]).unwrap().pending {
            let committed = inner.has(&pending);
            let waits = *number == newest && held.contains(pending.path.as_str());
            if *number < newest || waits {
                assert_eq!(committed, !waits, "{} of checkpoint {number}", pending.path);
            }
            if waits {
                waiting.insert(pending.path);
            }
        }
    }
    assert!(waiting.iter().eq(&held), "{waiting:?} wait for {table}");
    let until = REFUSED.start + STILL;
    let arrived = (until.as_micros() / PACE.as_micros()) as i64;
    assert!(inner.furthest <= arrived && arrived < ROWS, "{} were read", inner.furthest);
}

#[test]
fn a_table_that_refuses_for_ten_minutes_holds_the_others_and_the_sources() {
    // The first to be committed, and one behind it, of which the other is one checkpoint ahead.
    for table in ["raw", "counts"] {
        // As many restarts as a job makes unless told otherwise: about two minutes.
        let refusal = refuse(table, Duration::ZERO, 10);
        assert!((4..=6).contains(&refusal.gave_up), "{table}: {} gave up", refusal.gave_up);
        assert!(refusal.ended < REFUSED.end + Duration::from_secs(90), "{:?}", refusal.ended);
        // A process that may restart more often sees it through alone, and its pauses do not grow beyond half a minute.
        let refusal = refuse(table, Duration::ZERO, 100);
        assert_eq!(refusal.gave_up, 0, "{table}");
        assert!((20..=40).contains(&refusal.summary.attempts), "{}", refusal.summary.attempts);
        assert!(refusal.ended < REFUSED.end + Duration::from_secs(90), "{:?}", refusal.ended);
    }
}

#[test]
fn a_table_that_refuses_slowly_pauses_the_sources_while_a_commit_waits() {
    for table in ["raw", "counts"] {
        let refusal = refuse(table, Duration::from_secs(20), 10);
        assert!((1..=2).contains(&refusal.gave_up), "{table}: {} gave up", refusal.gave_up);
        assert!(refusal.ended < REFUSED.end + Duration::from_mins(3), "{:?}", refusal.ended);
    }
}
