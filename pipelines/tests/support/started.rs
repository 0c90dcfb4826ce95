//! Processes that run beside the test: waited for with a limit, and ended with it.

use std::ops::{Deref, DerefMut};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// What `kill -9` sends.
const KILL: i32 = 9;
/// How often something is looked for, and how many times at most: two minutes and what the looks take.
const PAUSE: Duration = Duration::from_millis(20);
const LOOKS: u32 = 6_000;
/// What takes longer on the busiest machine hangs.
const HANGS: Duration = Duration::from_mins(5);

/// A process that is killed when dropped: a test that fails leaves none behind.
pub(crate) struct Started(Child);

impl Started {
    pub(crate) fn new(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl Deref for Started {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Started {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Nothing happens to one that has been waited for.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts without waiting.
pub(crate) fn start(command: &mut Command) -> Started {
    Started::new(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Runs to the end and takes what is said; what hangs is killed, with all that it has started: whoever is left would keep
/// the pipes open.
pub(crate) fn output(command: &mut Command) -> Output {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = piped.process_group(0).spawn().unwrap();
    let (sender, receiver) = channel::<()>();
    let group = format!("-{}", child.id());
    let killer = std::thread::spawn(move || {
        // The sender is dropped when the child has ended by itself.
        let hangs = receiver.recv_timeout(HANGS) == Err(RecvTimeoutError::Timeout);
        if hangs {
            Command::new("kill").args(["-9", "--", &group]).status().unwrap();
        }
        hangs
    });
    let output = child.wait_with_output().unwrap();
    drop(sender);
    let hung = killer.join().unwrap();
    assert!(!hung, "no end within {HANGS:?}: {command:?}: {}", super::shown(&output));
    output
}

/// Waits for the child's end at most this long, then kills it with -9; how it ended when it did so by itself.
pub(crate) fn ended_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let (sender, receiver) = channel::<()>();
    let pid = child.id().to_string();
    let killer = std::thread::spawn(move || {
        // The sender is dropped when the child has ended by itself.
        if receiver.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            Command::new("kill").args(["-9", &pid]).status().unwrap();
        }
    });
    let status = child.wait().unwrap();
    drop(sender);
    killer.join().unwrap();
    unless_killed(status)
}

/// How a process ended, unless it was killed with -9.
pub(crate) fn unless_killed(status: ExitStatus) -> Option<ExitStatus> {
    (status.signal() != Some(KILL)).then_some(status)
}

/// Waits until it is so, while the child runs.
pub(crate) fn wait_until(child: &mut Child, what: &str, is_so: impl Fn() -> bool) {
    let mut looks = 0;
    while !is_so() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "before {what} the process ended: {ended:?}");
        looks += 1;
        assert!(looks < LOOKS, "{what} did not come");
        std::thread::park_timeout(PAUSE);
    }
}
