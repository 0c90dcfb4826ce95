//! The topic that the real Kafka source reads: what its partitions hold at a time, by the seed alone.
//!
//! At each tick every partition gets one message, or the end of a transaction. Transactions stay open for a while, with
//! messages of nobody's between theirs; leaders change; partitions are added, of which in some seeds not every broker knows
//! for a while; what is old is deleted, in some seeds before everybody has read it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use thalweg_core::connector::source::Split;
use thalweg_core::counters;
use thalweg_core::testing::simulation::Dice;

use super::extent::Extent;
use super::input::{PACE, PARTITIONS};
use super::topic_source::partition_of;

/// Partitions that are there from the beginning.
const FIRST: usize = 3;
/// This one gets nothing for ten seconds in every twenty.
const SILENT: usize = 2;
const SILENCE: i64 = 50;
/// Old messages are deleted so many at once.
const SEGMENT: usize = 16;
/// How many ticks old they are then.
const RETENTIONS: [Option<i64>; 3] = [None, Some(60), Some(150)];
/// For how many ticks some broker does not know a partition that was added.
const LAGS: [i64; 2] = [0, 100];

counters! {
    pub(super) struct TopicCounters {
        kills,
        zombies,
        rescales,
        /// Partitions that were found while the job ran, or at a start.
        found,
        /// Times that messages were lost, and that was told.
        losses,
        /// Offsets that were refused although they are there.
        denials,
        /// Messages that came once more.
        repeats,
        /// Answers of brokers that did not know a partition.
        behind,
        /// Consumers that got nothing any more.
        deaf,
        /// Changes of a leader that a consumer met.
        led,
        /// Topics that became another one, or were cut short, and that was told.
        endings,
        /// Partitions that were begun behind their first message, as the job is set to.
        begun_later,
        /// Partitions with an end that were gone on with before it.
        bounded,
        /// Batches that were full.
        full,
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Committed,
    Aborted,
    /// It ends a transaction.
    Marker,
    /// A message of another log, which nobody may take for the one that was read before.
    Foreign,
}

#[derive(Debug, Clone)]
struct Entry {
    tick: i64,
    epoch: i32,
    fate: Fate,
}

#[derive(Debug, Clone)]
struct Transaction {
    first: usize,
    /// Messages that it still sends.
    left: u64,
    ends: i64,
    commits: bool,
}

/// One partition. An offset is a place in `entries`.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    entries: Vec<Entry>,
    /// The first that is not deleted.
    low: usize,
    open: Option<Transaction>,
    pub(super) epoch: i32,
}

/// A message as an auditor knows it. Its position among the rows of its partition is the tick at which it was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) partition: i64,
    pub(super) position: i64,
    pub(super) offset: i64,
    pub(super) deleted: bool,
}

/// What a reader of committed messages finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Message {
        offset: i64,
        epoch: i32,
        tick: i64,
        foreign: bool,
    },
    /// The last stable offset.
    End(i64),
}

/// By the producers' clock, in µs, which begins with the topic.
pub(super) fn sent_at(tick: i64) -> i64 {
    tick * PACE.as_micros() as i64
}

impl Log {
    pub(super) fn low(&self) -> i64 {
        self.low as i64
    }

    /// Behind the last record.
    pub(super) fn end(&self) -> i64 {
        self.entries.len() as i64
    }

    /// The last stable offset.
    pub(super) fn stable(&self) -> i64 {
        self.open.as_ref().map_or(self.entries.len(), |open| open.first) as i64
    }

    /// The first committed message at `from` or behind it.
    pub(super) fn next(&self, from: i64) -> Found {
        let (stable, from) = (self.stable(), from.max(0));
        let places = (from as usize..stable.max(from) as usize).zip(from..);
        for (place, offset) in places {
            let Entry { tick, epoch, fate } = self.entries[place];
            if matches!(fate, Fate::Committed | Fate::Foreign) {
                return Found::Message { offset, epoch, tick, foreign: fate == Fate::Foreign };
            }
        }
        Found::End(stable)
    }

    /// The first record with this time or a later one, where readers of committed messages may come to it.
    pub(super) fn since(&self, micros: i64) -> Option<i64> {
        let place = self.entries.partition_point(|entry| sent_at(entry.tick) < micros) as i64;
        Some(place.max(self.low())).filter(|place| *place < self.stable())
    }

    /// The committed messages among `offsets`.
    fn committed(&self, offsets: Range<i64>) -> Vec<i64> {
        let there = offsets.start.max(0)..offsets.end.min(self.end());
        let is_committed = |offset: &i64| self.entries[*offset as usize].fate == Fate::Committed;
        there.filter(is_committed).collect()
    }

    /// Where the messages of an epoch end, as its leader of today knows.
    pub(super) fn end_of_epoch(&self, epoch: i32) -> i64 {
        self.entries.partition_point(|entry| entry.epoch <= epoch) as i64
    }

    fn append(&mut self, tick: i64, is_last: bool, dice: &mut Dice) {
        let (epoch, length) = (self.epoch, self.entries.len());
        let fate = match &mut self.open {
            Some(open) if is_last || open.ends <= tick => {
                let (first, outcome) =
                    (open.first, if open.commits { Fate::Committed } else { Fate::Aborted });
                let ours = self.entries[first..].iter_mut().filter(|e| e.fate == Fate::Open);
                ours.for_each(|entry| entry.fate = outcome);
                self.open = None;
                Fate::Marker
            }
            Some(open) if open.left > 0 && dice.choose(3) > 0 => {
                open.left -= 1;
                Fate::Open
            }
            None if !is_last && dice.choose(8) == 0 => {
                let hangs = if dice.choose(10) == 0 { 60 } else { 0 };
                let ends = tick + 2 + hangs + dice.choose(12) as i64;
                let (left, commits) = (dice.choose(4), dice.choose(2) == 0);
                self.open = Some(Transaction { first: length, left, ends, commits });
                Fate::Open
            }
            _ => Fate::Committed,
        };
        self.entries.push(Entry { tick, epoch, fate });
    }

    /// Deletes what was there before `tick`, in whole segments.
    fn delete_before(&mut self, tick: i64) {
        let old = self.entries.partition_point(|entry| entry.tick < tick);
        self.low = self.low.max(old.min(self.stable() as usize) / SEGMENT * SEGMENT);
    }

    /// A log of other messages, or one that goes on with them behind its first `kept` records, by another leader; it ends
    /// behind `end`.
    pub(super) fn become_another(&mut self, kept: i64, end: i64) {
        self.entries.truncate(kept.max(0) as usize);
        self.open = None;
        self.epoch += 1;
        let epoch = self.epoch;
        let foreign = || Entry { tick: 0, epoch, fate: Fate::Foreign };
        self.entries.resize_with((end.max(0) as usize) + SEGMENT, foreign);
    }
}

/// All of it, and what its readers have said.
#[derive(Debug)]
pub(super) struct Topic {
    dice: Dice,
    ticks: i64,
    rows: i64,
    births: Vec<i64>,
    retention: Option<i64>,
    lag: i64,
    /// Tells it from one that is created later.
    pub(super) id: u64,
    pub(super) logs: Vec<Log>,
    /// What the logs were before they became others.
    was: Option<Vec<Log>>,
    /// What the job reads of it.
    pub(super) extent: Extent,
    /// Where group offsets stand.
    pub(super) group: BTreeMap<i32, i64>,
    /// Whether sources are set to go on behind what is lost.
    pub(super) resets: bool,
    /// How many losses the source of each process has counted.
    pub(super) counted: BTreeMap<u64, u64>,
    /// How often each process has gone on behind messages that are lost.
    skips: BTreeMap<u64, u64>,
    /// Their partitions and offsets.
    skipped: BTreeSet<(i64, i64)>,
    pub(super) counters: TopicCounters,
}

impl Topic {
    /// It grows for `rows` ticks.
    pub(super) fn new(seed: u64, rows: i64) -> Self {
        let mut dice = Dice::new(seed, 0x0070_91c5);
        let mut births = vec![0; FIRST];
        while births.len() < PARTITIONS as usize {
            let last = births.last().copied().unwrap_or_default();
            births.push(last + 40 + dice.choose(rows as u64 / 4) as i64);
        }
        let retention = RETENTIONS[dice.choose(RETENTIONS.len() as u64) as usize];
        let lag = LAGS[dice.choose(LAGS.len() as u64) as usize];
        Self {
            dice,
            ticks: 0,
            rows,
            births,
            retention,
            lag,
            id: 1,
            logs: Vec::new(),
            was: None,
            extent: Extent::new(seed, rows),
            group: BTreeMap::new(),
            resets: false,
            counted: BTreeMap::new(),
            skips: BTreeMap::new(),
            skipped: BTreeSet::new(),
            counters: TopicCounters::default(),
        }
    }

    /// Plays what has happened by now; `deletes`: retention goes on, too.
    pub(super) fn advance(&mut self, now: Duration, deletes: bool) {
        let until = (now.as_micros() / PACE.as_micros()) as i64 + 1;
        while self.ticks < until.min(self.rows) && self.was.is_none() {
            let (tick, is_last) = (self.ticks, self.ticks + 1 == self.rows);
            self.ticks += 1;
            let born = self.births.iter().filter(|birth| **birth <= tick).count();
            self.logs.resize_with(born, Log::default);
            if self.dice.choose(60) == 0 {
                let changes = self.dice.choose(born as u64) as usize;
                self.logs[changes].epoch += 1;
            }
            for (partition, log) in self.logs.iter_mut().enumerate() {
                let silent = partition == SILENT && tick / SILENCE % 2 == 1;
                if is_last || !silent {
                    log.append(tick, is_last, &mut self.dice);
                }
                if let Some(keeps) = self.retention.filter(|_| deletes) {
                    log.delete_before(tick - keeps);
                }
            }
        }
    }

    /// Nothing comes any more.
    pub(super) fn is_complete(&self) -> bool {
        self.ticks == self.rows
    }

    /// How many partitions a broker knows that is behind.
    pub(super) fn known_late(&self) -> usize {
        if self.is_another() {
            return self.logs.len();
        }
        let known = |birth: &&i64| **birth == 0 || **birth + self.lag <= self.ticks;
        self.births.iter().filter(known).count().min(self.logs.len())
    }

    /// A chain begins with `splits`, which must be what the job is set to read.
    pub(super) fn begin(&mut self, splits: &[Split]) -> Result<(), String> {
        for split in splits {
            let Some(log) = self.logs.get(partition_of(&split.id) as usize) else {
                return Err(format!("{} is of no partition", split.id));
            };
            let (from, end) = self.extent.of(log);
            if (split.position, split.end) != (from, end) {
                let Split { id, position, end: given, .. } = split;
                return Err(format!(
                    "{id} begins with {position} to {given:?} where {from} to {end:?} was asked for"
                ));
            }
            self.counters.begun_later += u64::from(from > log.low());
        }
        Ok(())
    }

    /// A process goes on behind `offsets` and has read none of them. Messages among them must be gone by now, and for each
    /// time that some are it must have told a loss: it has `told` so many.
    pub(super) fn skip(
        &mut self,
        process: u64,
        partition: i32,
        offsets: Range<i64>,
        told: u64,
    ) -> Result<(), String> {
        let Some(log) = self.logs.get(partition as usize) else { return Ok(()) };
        let (skipped, low) = (log.committed(offsets), log.low());
        let Some(last) = skipped.last() else { return Ok(()) };
        if *last >= low {
            return Err(format!(
                "message {last} of partition {partition} was skipped, and is there"
            ));
        }
        self.skipped.extend(skipped.iter().map(|offset| (i64::from(partition), *offset)));
        let skips = self.skips.entry(process).or_default();
        *skips += 1;
        if *skips > told {
            return Err(format!("{skips} times messages were lost, and {told} losses were told"));
        }
        Ok(())
    }

    /// Whether somebody has gone on behind the message, as behind one that is lost.
    pub(super) fn was_skipped(&self, sent: &Sent) -> bool {
        self.skipped.contains(&(sent.partition, sent.offset))
    }

    pub(super) fn has_deleted(&self) -> bool {
        self.logs.iter().any(|log| log.low > 0)
    }

    /// Whether the logs have become others: nobody may read them.
    pub(super) fn is_another(&self) -> bool {
        self.was.is_some()
    }

    /// From now on the logs are `others`.
    pub(super) fn become_another(&mut self, others: Vec<Log>) {
        self.was = Some(std::mem::replace(&mut self.logs, others));
    }

    /// Every committed message, of the logs as they were before they became others.
    pub(super) fn committed(&self) -> Vec<Sent> {
        let mut all = Vec::new();
        for (partition, log) in self.was.as_ref().unwrap_or(&self.logs).iter().enumerate() {
            let entries = log.entries.iter().enumerate();
            let committed = entries.filter(|(_, entry)| entry.fate == Fate::Committed);
            all.extend(committed.map(|(place, entry)| Sent {
                partition: partition as i64,
                position: entry.tick,
                offset: place as i64,
                deleted: place < log.low,
            }));
        }
        all
    }

    /// How often somebody has said that messages are lost.
    pub(super) fn losses(&self) -> u64 {
        self.counters.losses + self.counted.values().sum::<u64>()
    }
}
