//! What can happen, and how often it did.

use rand::Rng;
use rand::rngs::StdRng;

/// One thing that is done to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The worker dies at once.
    Kill9,
    /// It is stopped, another takes over, and it wakes up.
    Zombie,
    /// A second one is started beside it.
    Copy,
    /// The broker dies and comes back.
    Broker,
    /// Another writer changes a table.
    Writer,
    /// The worker goes on with a disk that is full now and then.
    Disk,
    /// The worker goes on with a clock that jumps.
    Clock,
}

/// One of each, so that a short run has seen everything.
const ALL: [Fault; 7] = [
    Fault::Kill9,
    Fault::Zombie,
    Fault::Writer,
    Fault::Copy,
    Fault::Disk,
    Fault::Broker,
    Fault::Clock,
];

impl Fault {
    /// The next one: first one of each, then at random, deaths and writers more often than the slow ones.
    pub(crate) fn next(number: usize, random: &mut StdRng) -> Self {
        if let Some(fault) = ALL.get(number) {
            return *fault;
        }
        match random.random_range(0..20) {
            0..7 => Self::Kill9,
            7..10 => Self::Zombie,
            10..12 => Self::Copy,
            12..13 => Self::Broker,
            13..17 => Self::Writer,
            17..19 => Self::Disk,
            _ => Self::Clock,
        }
    }
}

/// How often each happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) kill9: u64,
    pub(crate) stop: u64,
    pub(crate) copies: u64,
    pub(crate) broker: u64,
    pub(crate) writer: u64,
    pub(crate) disk: u64,
    pub(crate) clock: u64,
    /// Workers that found another owner and gave way.
    pub(crate) fenced: u64,
}

impl Counts {
    /// Whether every kind of fault happened: a run without them shows nothing.
    pub(crate) fn is_torture(&self) -> bool {
        [self.kill9, self.stop, self.copies, self.broker, self.writer, self.disk, self.clock]
            .iter()
            .all(|count| *count > 0)
            && self.fenced > 0
    }
}
