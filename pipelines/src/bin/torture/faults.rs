//! What can happen, and how often it did.

use std::fmt;

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
    /// Another writer compacts a table.
    Optimize,
    /// Another writer deletes what a table has removed.
    Vacuum,
    /// Another writer adds a column to a table.
    Column,
    /// The worker goes on with a disk that is full now and then.
    Disk,
    /// The worker goes on with a clock that jumps.
    Clock,
}

/// One of each, so that a short run has seen everything. A vacuum finds something to delete behind an optimize.
const ALL: [Fault; 9] = [
    Fault::Kill9,
    Fault::Optimize,
    Fault::Vacuum,
    Fault::Column,
    Fault::Zombie,
    Fault::Copy,
    Fault::Disk,
    Fault::Broker,
    Fault::Clock,
];

/// How often a fault that does not happen is tried before the others have their turn, and it has the next behind them.
const TRIES: usize = 3;

/// How often each of all faults was tried before it had happened.
#[derive(Debug, Default)]
pub(crate) struct Turns([usize; ALL.len()]);

impl Turns {
    /// First one of each, until it happened, but not for ever; then at random, deaths and writers more often than the slow
    /// ones.
    pub(crate) fn next(&mut self, counts: &Counts, random: &mut StdRng) -> Fault {
        let is_over = self.0.iter().sum::<usize>() >= TRIES * ALL.len();
        let missing = ALL.into_iter().zip(&mut self.0).filter(|(fault, _)| counts.of(*fault) == 0);
        // The first of those that have had the fewest turns.
        if let Some((fault, tries)) = missing.min_by_key(|(_, tries)| **tries / TRIES)
            && !is_over
        {
            *tries += 1;
            return fault;
        }
        match random.random_range(0..20) {
            0..7 => Fault::Kill9,
            7..10 => Fault::Zombie,
            10..12 => Fault::Copy,
            12..13 => Fault::Broker,
            13..15 => Fault::Optimize,
            15..16 => Fault::Vacuum,
            16..17 => Fault::Column,
            17..19 => Fault::Disk,
            _ => Fault::Clock,
        }
    }
}

/// How often each happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Processes that were alive, and died of it.
    pub(crate) kill9: u64,
    /// Processes that were alive, stopped, and woke up.
    pub(crate) stop: u64,
    pub(crate) copies: u64,
    pub(crate) broker: u64,
    /// Compactions that merged files.
    pub(crate) optimize: u64,
    /// Vacuums that deleted files.
    pub(crate) vacuum: u64,
    pub(crate) column: u64,
    /// Writes that found no room.
    pub(crate) disk: u64,
    /// Jumps of the clock that the job, its sources or its sinks saw.
    pub(crate) clock: u64,
    /// Workers that found another owner and gave way.
    pub(crate) fenced: u64,
    /// Workers that gave up on their disk or broker.
    pub(crate) gave_up: u64,
    /// Runs of the workers' own maintenance that merged files.
    pub(crate) merged: u64,
    /// Those that looked after logs.
    pub(crate) trimmed: u64,
    /// Those that removed files: none in a short run, whose files are young.
    pub(crate) vacuumed: u64,
}

impl Counts {
    pub(crate) fn of(&self, fault: Fault) -> u64 {
        match fault {
            Fault::Kill9 => self.kill9,
            Fault::Zombie => self.stop,
            Fault::Copy => self.copies,
            Fault::Broker => self.broker,
            Fault::Optimize => self.optimize,
            Fault::Vacuum => self.vacuum,
            Fault::Column => self.column,
            Fault::Disk => self.disk,
            Fault::Clock => self.clock,
        }
    }

    /// What another writer did.
    pub(crate) fn writer(&self) -> u64 {
        self.optimize + self.vacuum + self.column
    }

    /// Whether every kind of fault happened, and was noticed, and the workers' maintenance came to something: a run without
    /// them shows nothing.
    pub(crate) fn is_torture(&self) -> bool {
        let maintained = self.merged > 0 && self.trimmed > 0;
        ALL.into_iter().all(|fault| self.of(fault) > 0) && self.fenced > 0 && maintained
    }
}

impl fmt::Display for Counts {
    /// What the last line of a run does not tell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copies, fenced, gave_up, optimize, vacuum, column, disk, clock, .. } = self;
        let Self { merged, trimmed, vacuumed, .. } = self;
        write!(
            f,
            "copies={copies} fenced={fenced} gave-up={gave_up} optimize={optimize} vacuum={vacuum} column={column} disk={disk} \
             clock={clock} merged={merged} trimmed={trimmed} vacuumed={vacuumed}"
        )
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_fault_has_its_turn_until_it_happened_and_not_for_ever() {
        let (mut random, mut turns) = (StdRng::seed_from_u64(1), Turns::default());
        let mut counts = Counts { kill9: 1, optimize: 1, ..Counts::default() };
        assert_eq!(turns.next(&counts, &mut random), Fault::Vacuum);
        assert_eq!(turns.next(&counts, &mut random), Fault::Vacuum);
        counts.vacuum = 1;
        assert_eq!(turns.next(&counts, &mut random), Fault::Column);
        counts = Counts { column: 1, stop: 1, copies: 1, disk: 1, ..counts };
        // Two that do not happen take turns.
        let next: Vec<_> = (0..3 * TRIES).map(|_| turns.next(&counts, &mut random)).collect();
        let (broker, clock) = ([Fault::Broker; TRIES], [Fault::Clock; TRIES]);
        assert_eq!(next, [broker, clock, broker].concat());
        let later: Vec<_> = (0..1_000).map(|_| turns.next(&counts, &mut random)).collect();
        assert!(ALL.iter().all(|fault| later.contains(fault)));
    }

    #[test]
    fn a_run_without_one_of_the_faults_shows_nothing() {
        let all = Counts {
            kill9: 1,
            stop: 1,
            copies: 1,
            broker: 1,
            optimize: 1,
            vacuum: 1,
            column: 1,
            disk: 1,
            clock: 1,
            fenced: 1,
            gave_up: 0,
            merged: 1,
            trimmed: 1,
            vacuumed: 0,
        };
        assert!(all.is_torture());
        assert_eq!(all.writer(), 3);
        for missing in [
            Counts { kill9: 0, ..all },
            Counts { stop: 0, ..all },
            Counts { copies: 0, ..all },
            Counts { broker: 0, ..all },
            Counts { optimize: 0, ..all },
            Counts { vacuum: 0, ..all },
            Counts { column: 0, ..all },
            Counts { disk: 0, ..all },
            Counts { clock: 0, ..all },
            Counts { fenced: 0, ..all },
            Counts { merged: 0, ..all },
            Counts { trimmed: 0, ..all },
        ] {
            assert!(!missing.is_torture(), "{missing}");
        }
    }
}
