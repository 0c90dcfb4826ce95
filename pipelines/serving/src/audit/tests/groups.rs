//! Entries that come while another one is written, and are written together.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use thalweg_core::Result;
use thalweg_core::time::Clock;

use crate::audit::log::LONGEST;
use crate::audit::{Action, AuditLog, Event, Outcome, verify};

/// Remembers who asked for the time, which is for each entry before its group is written, and how long the log was then.
/// The first waits until it is told to go on.
#[derive(Debug)]
struct Gate {
    path: PathBuf,
    asked: Mutex<Vec<(ThreadId, u64)>>,
    open: Mutex<Receiver<()>>,
    /// At this one, counted from 1, who asks dies.
    deadly: usize,
}

impl Clock for Gate {
    fn now_micros(&self) -> i64 {
        let length = fs::metadata(&self.path).unwrap().len();
        let mut asked = self.asked.lock().unwrap();
        asked.push((thread::current().id(), length));
        let number = asked.len();
        drop(asked);
        if number == 1 {
            self.open.lock().unwrap().recv().unwrap();
        }
        assert_ne!(number, self.deadly, "the writer dies");
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A log whose first entry waits half-written until something is sent.
fn gated(deadly: usize) -> (tempfile::TempDir, Arc<Gate>, AuditLog, Sender<()>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (go_on, open) = channel();
    let (asked, open) = (Mutex::default(), Mutex::new(open));
    let gate = Arc::new(Gate { path: path.clone(), asked, open, deadly });
    let log = AuditLog::open(path, Arc::clone(&gate) as Arc<dyn Clock>).unwrap();
    (folder, gate, log, go_on)
}

fn query() -> Event {
    Event::new("ada", Action::Query, Outcome::Done)
}

fn until(condition: impl Fn() -> bool) {
    let mut looks = (0..60_000).map(|_| thread::park_timeout(Duration::from_millis(1)));
    assert!(looks.any(|()| condition()), "the others never came");
}

/// Appends an entry and, while that is written, others. What became of each, the first one's first; nothing of those whose
/// writer died.
fn append(
    gate: &Gate,
    log: &AuditLog,
    go_on: Sender<()>,
    others: &[Event],
) -> Vec<Option<Result<()>>> {
    // Who goes on is let go with this: nobody waits for what has panicked.
    thread::scope(move |scope| {
        let mut all = vec![scope.spawn(move || log.append(&query()))];
        until(|| gate.asked.lock().unwrap().len() == 1);
        all.extend(others.iter().map(|other| scope.spawn(move || log.append(other))));
        until(|| log.waiting() == others.len());
        go_on.send(()).unwrap();
        all.into_iter().map(|one| one.join().ok()).collect()
    })
}

#[test]
fn entries_that_come_while_one_is_written_are_written_together() {
    let (_folder, gate, log, go_on) = gated(0);
    let ended = append(&gate, &log, go_on, &vec![query(); 7]);
    assert!(ended.iter().all(|one| matches!(one, Some(Ok(())))));
    assert_eq!(verify(&gate.path, &[]).unwrap().entries, 8);
    let asked = gate.asked.lock().unwrap();
    assert!(asked[1..].iter().all(|(asker, _)| *asker == asked[1].0 && *asker != asked[0].0));
    drop(asked);
    // What cannot be written has failed for everybody.
    fs::remove_file(&gate.path).unwrap();
    let refused = || log.append(&query()).is_err();
    thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(refused)).collect();
        assert!(all.into_iter().all(|one| one.join().unwrap()));
    });
}

#[test]
fn entries_that_are_written_together_are_no_longer_than_one_may_be() {
    let (_folder, gate, log, go_on) = gated(0);
    let mut long = query();
    long.tables = vec!["t".repeat(LONGEST * 2 / 5)];
    let ended = append(&gate, &log, go_on, &vec![long; 5]);
    assert!(ended.iter().all(|one| matches!(one, Some(Ok(())))));
    // Entries of one group find the log as long as each other.
    let mut lengths: Vec<u64> =
        gate.asked.lock().unwrap().iter().map(|(_, length)| *length).collect();
    let groups: Vec<usize> = lengths.chunk_by(|one, next| one == next).map(<[u64]>::len).collect();
    assert_eq!(groups, [1, 2, 2, 1]);
    lengths.push(fs::metadata(&gate.path).unwrap().len());
    assert!(lengths.windows(2).all(|pair| pair[1] - pair[0] <= LONGEST as u64), "{lengths:?}");
    assert_eq!(verify(&gate.path, &[]).unwrap().entries, 6);
}

#[test]
fn a_writer_that_dies_fails_its_group_and_nobody_else() {
    // The second group's, in the middle of it.
    let (_folder, gate, log, go_on) = gated(3);
    let ended = append(&gate, &log, go_on, &vec![query(); 3]);
    assert!(matches!(ended[0], Some(Ok(()))));
    let others: Vec<_> = ended[1..].iter().flatten().collect();
    assert_eq!(others.len(), 2, "one of three has died");
    for other in others {
        let told = other.as_ref().unwrap_err().to_string();
        assert!(told.contains("given up while it was written"), "{told}");
    }
    assert_eq!(verify(&gate.path, &[]).unwrap().entries, 1);
    log.append(&query()).unwrap();
    assert_eq!(verify(&gate.path, &[]).unwrap().entries, 2);
}
