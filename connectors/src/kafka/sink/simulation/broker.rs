//! A broker with transactions, as a producer's requests reach it: in time, late, or twice. Each sink has one partition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::audit::Sent;

/// How long a transaction may be open.
pub(super) const OPEN: Duration = Duration::from_secs(20);

/// How long a transaction hangs until somebody ends it by hand.
const BY_HAND: Duration = Duration::from_secs(40);

/// How often a marker that came due is overlooked until it is forgotten.
const STRIKES: u32 = 2;

/// What a producer asks. `id` is a sink's application id.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Init { id: String },
    Send { id: String, epoch: u64, sequence: u64, rows: Vec<u64> },
    Mark { id: String, epoch: u64, n: u64 },
    Commit { id: String, epoch: u64 },
    Abort { id: String, epoch: u64 },
}

/// What a request meets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Luck {
    /// What it decides shows after this time.
    pub(super) shows: Duration,
    /// The partition is not told that a transaction was aborted.
    pub(super) forgets: bool,
}

/// Why it is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    /// A later producer has taken over, or the transaction was open for too long.
    Fenced,
    /// A transaction is being ended.
    Busy,
}

#[derive(Debug, Default)]
struct Transaction {
    began: Duration,
    /// Of its first row.
    first: i64,
    rows: Vec<u64>,
    marker: Option<u64>,
    /// It is decided, and everybody sees it from then on.
    shows: Option<Duration>,
}

/// Rows in the partition that the coordinator has aborted, and the partition has not.
#[derive(Debug)]
struct Hanging {
    first: i64,
    rows: Vec<u64>,
    until: Duration,
}

/// Whoever holds the newest epoch of an id, and the marker of its group.
#[derive(Debug, Default)]
struct Producer {
    epoch: u64,
    /// Batches that came already; the same once more is dropped.
    sequences: BTreeSet<u64>,
    transaction: Option<Transaction>,
    hanging: Option<Hanging>,
    /// Messages that were ever written: the partition's end.
    end: i64,
    marker: Option<u64>,
    /// When somebody last tried to write it.
    tried: Duration,
    strikes: u32,
}

#[derive(Debug, Default)]
pub(super) struct Broker {
    producers: BTreeMap<String, Producer>,
    /// Decided transactions, in their order.
    pub(super) sent: Vec<Sent>,
    /// Requests that are still on their way, by the time at which they arrive.
    late: Vec<(Duration, Request)>,
    /// Transactions that a later producer aborted, that hung then, that ran out of time, and requests that came late.
    pub(super) aborted: u64,
    pub(super) hung: u64,
    pub(super) outlived: u64,
    pub(super) came_late: u64,
}

impl Broker {
    /// Does `request` at `now`. The epoch of the producer.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        now: Duration,
        luck: Luck,
    ) -> Result<u64, Denial> {
        match request {
            Request::Init { id } => self.init(id, now, luck.forgets),
            Request::Send { id, epoch, sequence, rows } => {
                let producer = self.known(id, *epoch)?;
                if !producer.sequences.contains(sequence) {
                    let end = producer.end;
                    let transaction = open(producer, now)?;
                    if transaction.rows.is_empty() {
                        transaction.first = end;
                    }
                    transaction.rows.extend(rows);
                    producer.end += rows.len() as i64;
                    producer.sequences.insert(*sequence);
                }
                Ok(*epoch)
            }
            Request::Mark { id, epoch, n } => {
                open(self.known(id, *epoch)?, now)?.marker = Some(*n);
                Ok(*epoch)
            }
            Request::Commit { id, epoch } => {
                let producer = self.known(id, *epoch)?;
                let Some(transaction) = &mut producer.transaction else { return Ok(*epoch) };
                if transaction.shows.is_none() {
                    transaction.shows = Some(now + luck.shows);
                    let n = transaction.marker;
                    let mut rows = transaction.rows.clone();
                    // Its end in the partition is that of all that the producer has open there.
                    if let Some(hanging) = producer.hanging.take_if(|_| !rows.is_empty()) {
                        rows.splice(0..0, hanging.rows);
                    }
                    self.sent.push(Sent { id: id.clone(), n, rows });
                }
                Ok(*epoch)
            }
            Request::Abort { id, epoch } => {
                let producer = self.known(id, *epoch)?;
                let open = producer.transaction.take_if(|t| t.shows.is_none());
                aborted(producer, open);
                Ok(*epoch)
            }
        }
    }

    fn known(&mut self, id: &str, epoch: u64) -> Result<&mut Producer, Denial> {
        self.producers.get_mut(id).filter(|producer| producer.epoch == epoch).ok_or(Denial::Fenced)
    }

    fn init(&mut self, id: &str, now: Duration, forgets: bool) -> Result<u64, Denial> {
        let producer = self.producers.entry(id.to_owned()).or_default();
        producer.tried = now;
        if producer.transaction.as_ref().is_some_and(|t| t.shows.is_some()) {
            return Err(Denial::Busy);
        }
        let open = producer.transaction.take();
        self.aborted += u64::from(open.is_some());
        match open {
            Some(t) if forgets && !t.rows.is_empty() && producer.hanging.is_none() => {
                self.hung += 1;
                let until = now + BY_HAND;
                producer.hanging = Some(Hanging { first: t.first, rows: t.rows, until });
            }
            open => aborted(producer, open),
        }
        producer.epoch += 1;
        producer.sequences.clear();
        Ok(producer.epoch)
    }

    /// The same request arrives later too.
    pub(super) fn delay(&mut self, until: Duration, request: Request) {
        self.late.push((until, request));
    }

    /// What comes by itself: late requests, decided transactions that show, those that were open for too long.
    pub(super) fn settle(&mut self, now: Duration) {
        let mut due: Vec<_> = self.late.extract_if(.., |(at, _)| *at <= now).collect();
        due.sort_by_key(|(at, _)| *at);
        for (at, request) in due {
            self.end(at);
            self.came_late += 1;
            // Nobody waits for the answer.
            self.ask(&request, at, Luck::default()).ok();
        }
        self.end(now);
    }

    fn end(&mut self, now: Duration) {
        for producer in self.producers.values_mut() {
            producer.hanging.take_if(|hanging| hanging.until <= now);
            let Some(transaction) = &producer.transaction else { continue };
            match transaction.shows {
                Some(shows) if shows <= now => {
                    if let Some(n) = transaction.marker {
                        (producer.marker, producer.tried, producer.strikes) = (Some(n), now, 0);
                    }
                    producer.transaction = None;
                }
                None if transaction.began + OPEN <= now => {
                    let open = producer.transaction.take();
                    aborted(producer, open);
                    producer.epoch += 1;
                    self.outlived += 1;
                }
                _ => {}
            }
        }
    }

    /// Where the partition ends; `settled` leaves out what is open from the first transaction on.
    pub(super) fn partition_end(&self, id: &str, settled: bool) -> i64 {
        let Some(producer) = self.producers.get(id) else { return 0 };
        let open = producer.transaction.as_ref().filter(|t| !t.rows.is_empty()).map(|t| t.first);
        let hanging = producer.hanging.as_ref().map(|hanging| hanging.first);
        let first = open.into_iter().chain(hanging).min().filter(|_| settled);
        first.unwrap_or(producer.end)
    }

    /// Where the marker stands; `settled` waits for a transaction that moves it.
    pub(super) fn marker(&self, id: &str, settled: bool) -> Result<Option<u64>, Denial> {
        let Some(producer) = self.producers.get(id) else { return Ok(None) };
        let moves = producer.transaction.as_ref().is_some_and(|t| t.marker.is_some());
        if settled && moves { Err(Denial::Busy) } else { Ok(producer.marker) }
    }

    /// A process has looked at its markers. If nothing `disturbed` it, those that nobody tried to write after `since` were
    /// overlooked.
    pub(super) fn looked(&mut self, id: &str, disturbed: bool, since: Duration, now: Duration) {
        let Some(producer) = self.producers.get_mut(id) else { return };
        if disturbed {
            producer.tried = now;
        }
        producer.strikes += u32::from(producer.tried < since && producer.transaction.is_none());
        if producer.strikes >= STRIKES {
            producer.marker = None;
        }
    }

    /// The marker of `id`, set by a hand that is not ours.
    pub(super) fn set_marker(&mut self, id: &str, marker: Option<u64>) {
        if let Some(producer) = self.producers.get_mut(id) {
            producer.marker = marker;
        }
    }

    pub(super) fn has_marked(&self, id: &str, n: u64) -> bool {
        self.sent.iter().any(|sent| sent.id == id && sent.n == Some(n))
    }
}

/// The partition is told that a transaction has been aborted, and with it whatever hung there.
fn aborted(producer: &mut Producer, open: Option<Transaction>) {
    if open.is_some_and(|transaction| !transaction.rows.is_empty()) {
        producer.hanging = None;
    }
}

/// The open transaction; begun, if there is none.
fn open(producer: &mut Producer, now: Duration) -> Result<&mut Transaction, Denial> {
    let begin = || Transaction { began: now, ..Transaction::default() };
    let transaction = producer.transaction.get_or_insert_with(begin);
    if transaction.shows.is_some() { Err(Denial::Busy) } else { Ok(transaction) }
}
