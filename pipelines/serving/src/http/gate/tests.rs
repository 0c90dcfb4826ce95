//! Requests with tokens that come at the same time, and who may stay.

use std::net::Ipv4Addr;
use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::maybe_done;
use futures::poll;

use super::*;
use crate::audit::AuditLog;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const RIGHT: &str = "nurse.secret";

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now_micros(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Counts how often it looks at a token, and takes until it is opened.
#[derive(Debug, Default)]
struct Door {
    looks: AtomicUsize,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Door {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }
}

impl Doorkeeper for Door {
    fn admit(&self, token: &str, _: IpAddr) -> Option<Visitor> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
        (token == RIGHT).then(|| Visitor::new("nurse", "clinician", |_| true))
    }

    fn still(&self, _: &Visitor) -> bool {
        true
    }
}

/// The clock of this gate stands still, so nothing is given back.
fn gate(journal: Journal) -> (Arc<Door>, Gate) {
    let door = Arc::new(Door::default());
    let gate = Gate::new(Arc::clone(&door) as Arc<dyn Doorkeeper>, 1, Arc::new(Still));
    (door, gate.noting(journal))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

type Answer = Result<(Visitor, bool), Refusal>;

/// Shows these tokens, the next one while all before it wait for the door. How many waited, and what all were answered.
async fn show(door: &Door, gate: &Gate, tokens: &[String]) -> (usize, Vec<Answer>) {
    let mut requests: Vec<_> =
        tokens.iter().map(|token| Box::pin(maybe_done(gate.check(token, HERE, "token")))).collect();
    let mut waited = 0;
    for request in &mut requests {
        waited += usize::from(poll!(request.as_mut()).is_pending());
    }
    door.open();
    let mut answers = Vec::new();
    for mut request in requests {
        request.as_mut().await;
        answers.push(request.as_mut().take_output().unwrap());
    }
    (waited, answers)
}

fn same(token: &str, times: usize) -> Vec<String> {
    vec![token.to_owned(); times]
}

fn guesses(times: usize) -> Vec<String> {
    (0..times).map(|number| format!("nurse.guess{number}")).collect()
}

#[test]
fn requests_with_one_right_token_that_come_at_once_are_all_let_in_by_one_look() {
    let (door, gate) = gate(Journal::default());
    let (waited, answers) = run(show(&door, &gate, &same(RIGHT, 50)));
    assert_eq!((waited, door.looks()), (50, 1));
    assert!(answers.iter().all(Result::is_ok));
    let signed_in = answers.iter().filter(|answer| matches!(answer, Ok((_, true))));
    assert_eq!(signed_in.count(), 1);
}

#[test]
fn guesses_that_come_at_once_are_as_few_as_others() {
    let (door, gate) = gate(Journal::default());
    let (waited, answers) = run(show(&door, &gate, &guesses(50)));
    assert_eq!((waited, door.looks()), (10, 10));
    let refused = answers.iter().filter(|answer| matches!(answer, Err(Refusal::Wait(_))));
    assert_eq!(refused.count(), 40);
    assert!(!answers.iter().any(Result::is_ok));
}

#[test]
fn one_wrong_token_that_many_show_at_once_is_one_guess_and_there_is_an_end_to_them() {
    let (door, gate) = gate(Journal::default());
    let (waited, answers) = run(show(&door, &gate, &same("nurse.wrong", 300)));
    assert_eq!((waited, door.looks()), (201, 1));
    let unknown = answers.iter().filter(|answer| matches!(answer, Err(Refusal::Unknown)));
    assert_eq!(unknown.count(), 201);
    let refused = answers.iter().filter(|answer| matches!(answer, Err(Refusal::Wait(_))));
    assert_eq!(refused.count(), 99);
    // It is not known now: to show it again is another guess.
    let shown: Vec<String> = same("nurse.wrong", 1).into_iter().chain(guesses(50)).collect();
    for token in &shown {
        assert!(run(gate.check(token, HERE, "token")).is_err());
    }
    assert_eq!(door.looks(), 10);
}

#[test]
fn a_look_goes_on_when_who_asked_for_it_hangs_up() {
    let (door, gate) = gate(Journal::default());
    let answer = run(async {
        let mut first = Box::pin(gate.check(RIGHT, HERE, "token"));
        let mut second = Box::pin(gate.check(RIGHT, HERE, "token"));
        let waited = poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending();
        drop(first);
        door.open();
        (waited, second.await)
    });
    assert!(matches!(answer, (true, Ok((_, false)))));
    assert_eq!(door.looks(), 1);
}

#[test]
fn whose_sign_in_cannot_be_written_down_is_not_let_in_the_second_time_either() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (door, gate) = gate(Journal::new(AuditLog::open(&path, Arc::new(Still)).unwrap()));
    std::fs::remove_file(&path).unwrap();
    for times in [50, 1] {
        let (waited, answers) = run(show(&door, &gate, &same(RIGHT, times)));
        assert_eq!(waited, times);
        assert!(answers.iter().all(|answer| matches!(answer, Err(Refusal::Unwritten))));
    }
    assert_eq!(door.looks(), 2);
}

/// Knows no token, and lets nobody stay while it is shut.
#[derive(Debug, Default)]
struct Shut(AtomicBool);

impl Doorkeeper for Shut {
    fn admit(&self, _: &str, _: IpAddr) -> Option<Visitor> {
        None
    }

    fn still(&self, _: &Visitor) -> bool {
        !self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn the_session_of_who_might_not_stay_once_is_over() {
    let door = Arc::new(Shut::default());
    let gate = Gate::new(Arc::clone(&door) as Arc<dyn Doorkeeper>, 1, Arc::new(Still));
    let visitor = Visitor::new("nurse", "clinician", |_| true);
    let secret = gate.held().sessions.open(visitor.clone(), Duration::ZERO);
    let pass = Pass { gate, visitor, session: Some(hash(&secret)) };
    assert!(pass.is_valid());
    door.0.store(true, Ordering::SeqCst);
    assert!(!pass.is_valid());
    door.0.store(false, Ordering::SeqCst);
    assert!(!pass.is_valid());
}
