//! How much of the topic a job is set to read, since when, and in batches of what size: by the seed, the same for all its
//! processes.

use std::time::Duration;

use thalweg_connectors::kafka::Start;
use thalweg_connectors::provenance::BatchLimits;
use thalweg_core::testing::simulation::Dice;

use super::input::PACE;
use super::lines::LINE;
use super::topic::{Log, sent_at};

/// What a job reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// When its first process starts. By then there is something that a job may have to pass over, or that is all it reads.
    pub(super) begins: Duration,
    /// Where it begins.
    pub(super) start: Start,
    /// Whether it ends where the partitions ended when it began.
    pub(super) bounded: bool,
    /// When its batches are full.
    pub(super) limits: BatchLimits,
}

impl Extent {
    /// That of a topic which grows for `rows` ticks.
    pub(super) fn new(seed: u64, rows: i64) -> Self {
        let mut dice = Dice::new(seed, 0x00e7_7e17);
        let tick = dice.choose(rows as u64 / 2);
        let start = match dice.choose(6) {
            0 => Start::Latest,
            // At a message or behind one, in the past or in the future.
            1 => {
                let from = dice.choose(tick + 20) as i64;
                Start::Timestamp(sent_at(from) + dice.choose(2) as i64)
            }
            _ => Start::Earliest,
        };
        let bounded = dice.choose(3) == 0;
        let reads_all = start == Start::Earliest && !bounded;
        let limits = if dice.choose(2) == 0 {
            BatchLimits::default()
        } else {
            let (rows, bytes) = (1 + dice.choose(8), 1 + dice.choose(1_000));
            BatchLimits { rows: rows as usize, bytes: bytes as usize }
        };
        let begins = if reads_all { Duration::ZERO } else { PACE * tick as u32 };
        Self { begins, start, bounded, limits }
    }

    /// Where a chain that begins now is to read a partition from, and up to where.
    pub(super) fn of(&self, log: &Log) -> (i64, Option<i64>) {
        let (low, high) = (log.low(), log.stable());
        let from = match self.start {
            Start::Earliest => low,
            Start::Latest => high,
            Start::Timestamp(micros) => log.since(micros).unwrap_or(high),
        };
        (from, self.bounded.then_some(high))
    }

    /// Rows of a full batch.
    pub(super) fn most_rows(&self) -> usize {
        self.limits.rows.min(self.limits.bytes.div_ceil(LINE as usize - 1))
    }
}
