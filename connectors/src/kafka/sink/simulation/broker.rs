//! A broker with transactions, as a producer's requests reach it: in time, late, or twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::audit::Sent;

/// How long a transaction may be open.
pub(super) const OPEN: Duration = Duration::from_secs(20);

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
    rows: Vec<u64>,
    marker: Option<u64>,
    /// It is decided, and everybody sees it from then on.
    shows: Option<Duration>,
}

/// Whoever holds the newest epoch of an id, and the marker of its group.
#[derive(Debug, Default)]
struct Producer {
    epoch: u64,
    /// Batches that came already; the same once more is dropped.
    sequences: BTreeSet<u64>,
    transaction: Option<Transaction>,
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
    /// Transactions that a later producer aborted, that ran out of time, and requests that came late.
    pub(super) aborted: u64,
    pub(super) outlived: u64,
    pub(super) came_late: u64,
}

impl Broker {
    /// Does `request` at `now`; what it decides shows after `shows`. The epoch of the producer.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        now: Duration,
        shows: Duration,
    ) -> Result<u64, Denial> {
        match request {
            Request::Init { id } => self.init(id, now),
            Request::Send { id, epoch, sequence, rows } => {
                let producer = self.known(id, *epoch)?;
                if !producer.sequences.contains(sequence) {
                    open(producer, now)?.rows.extend(rows);
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
                    transaction.shows = Some(now + shows);
                    let (n, rows) = (transaction.marker, transaction.rows.clone());
                    self.sent.push(Sent { id: id.clone(), n, rows });
                }
                Ok(*epoch)
            }
            Request::Abort { id, epoch } => {
                self.known(id, *epoch)?.transaction.take_if(|t| t.shows.is_none());
                Ok(*epoch)
            }
        }
    }

    fn known(&mut self, id: &str, epoch: u64) -> Result<&mut Producer, Denial> {
        self.producers.get_mut(id).filter(|producer| producer.epoch == epoch).ok_or(Denial::Fenced)
    }

    fn init(&mut self, id: &str, now: Duration) -> Result<u64, Denial> {
        let producer = self.producers.entry(id.to_owned()).or_default();
        producer.tried = now;
        if producer.transaction.as_ref().is_some_and(|t| t.shows.is_some()) {
            return Err(Denial::Busy);
        }
        self.aborted += u64::from(producer.transaction.take().is_some());
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
            self.ask(&request, at, Duration::ZERO).ok();
        }
        self.end(now);
    }

    fn end(&mut self, now: Duration) {
        for producer in self.producers.values_mut() {
            let Some(transaction) = &producer.transaction else { continue };
            match transaction.shows {
                Some(shows) if shows <= now => {
                    if let Some(n) = transaction.marker {
                        (producer.marker, producer.tried, producer.strikes) = (Some(n), now, 0);
                    }
                    producer.transaction = None;
                }
                None if transaction.began + OPEN <= now => {
                    producer.transaction = None;
                    producer.epoch += 1;
                    self.outlived += 1;
                }
                _ => {}
            }
        }
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

/// The open transaction; begun, if there is none.
fn open(producer: &mut Producer, now: Duration) -> Result<&mut Transaction, Denial> {
    let begin = || Transaction { began: now, ..Transaction::default() };
    let transaction = producer.transaction.get_or_insert_with(begin);
    if transaction.shows.is_some() { Err(Denial::Busy) } else { Ok(transaction) }
}
