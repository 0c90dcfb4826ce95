//! A broker with transactions, as far as a sink can tell: producers with epochs, what they left open, markers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::Mutation;

/// How long a transaction may be open.
pub(super) const OPEN: Duration = Duration::from_mins(1);

/// Why it does not do what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A later producer has taken over, or the transaction was open for too long.
    Fenced,
    /// A transaction is being ended: ask again.
    Busy,
}

/// What became of a message's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug)]
struct Transaction {
    began: Duration,
    /// Its messages' places in the log.
    messages: Vec<usize>,
    marker: Option<u64>,
    /// It is decided, and readers see it from then on.
    shows: Option<Duration>,
}

/// Whoever holds the newest epoch of an id.
#[derive(Debug, Default)]
struct Producer {
    epoch: u64,
    transaction: Option<Transaction>,
}

/// One topic. A sink's application id is the id of its producers and the group of its marker.
#[derive(Debug, Default)]
pub(super) struct Broker {
    log: Vec<(Vec<i64>, Outcome)>,
    /// Where the marker of each id was, one after the other.
    markers: BTreeMap<String, Vec<u64>>,
    producers: BTreeMap<String, Producer>,
}

fn known<'a>(
    producers: &'a mut BTreeMap<String, Producer>,
    id: &str,
    epoch: u64,
) -> Result<&'a mut Producer, Refusal> {
    producers.get_mut(id).filter(|producer| producer.epoch == epoch).ok_or(Refusal::Fenced)
}

fn end(log: &mut [(Vec<i64>, Outcome)], transaction: &Transaction, outcome: Outcome) {
    for place in &transaction.messages {
        log[*place].1 = outcome;
    }
}

impl Broker {
    /// What comes by itself: decided transactions show, those that were open for too long are aborted.
    pub(super) fn settle(&mut self, now: Duration) {
        for (id, producer) in &mut self.producers {
            let Some(transaction) = producer.transaction.take() else { continue };
            match transaction.shows {
                Some(shows) if shows <= now => {
                    end(&mut self.log, &transaction, Outcome::Committed);
                    if let Some(marker) = transaction.marker {
                        self.markers.entry(id.clone()).or_default().push(marker);
                    }
                }
                None if transaction.began + OPEN <= now => {
                    end(&mut self.log, &transaction, Outcome::Aborted);
                    producer.epoch += 1;
                }
                _ => producer.transaction = Some(transaction),
            }
        }
    }

    /// A new producer's epoch, and whether an earlier one had left a transaction open: it is aborted, and the earlier
    /// ones are refused from now on.
    pub(super) fn begin(&mut self, id: &str, mutation: Mutation) -> Result<(u64, bool), Refusal> {
        let producer = self.producers.entry(id.to_owned()).or_default();
        if producer.transaction.as_ref().is_some_and(|t| t.shows.is_some()) {
            return Err(Refusal::Busy);
        }
        if mutation != Mutation::NoProducerFence {
            producer.epoch += 1;
        }
        let left = producer.transaction.take();
        if let Some(left) = &left {
            end(&mut self.log, left, Outcome::Aborted);
            let torn = left.marker.filter(|_| mutation == Mutation::TornTransaction);
            self.markers.entry(id.to_owned()).or_default().extend(torn);
        }
        Ok((producer.epoch, left.is_some()))
    }

    /// The open transaction; begun, if there is none.
    fn open(&mut self, id: &str, epoch: u64, now: Duration) -> Result<&mut Transaction, Refusal> {
        let producer = known(&mut self.producers, id, epoch)?;
        let transaction = producer.transaction.get_or_insert_with(|| Transaction {
            began: now,
            messages: Vec::new(),
            marker: None,
            shows: None,
        });
        if transaction.shows.is_some() { Err(Refusal::Busy) } else { Ok(transaction) }
    }

    pub(super) fn send(
        &mut self,
        id: &str,
        epoch: u64,
        rows: &[Vec<i64>],
        now: Duration,
    ) -> Result<(), Refusal> {
        let first = self.log.len();
        self.open(id, epoch, now)?.messages.extend(first..first + rows.len());
        self.log.extend(rows.iter().map(|row| (row.clone(), Outcome::Open)));
        Ok(())
    }

    pub(super) fn move_marker(
        &mut self,
        id: &str,
        epoch: u64,
        marker: u64,
        now: Duration,
    ) -> Result<(), Refusal> {
        self.open(id, epoch, now)?.marker = Some(marker);
        Ok(())
    }

    /// Decides the open transaction; readers see it from `shows` on.
    pub(super) fn commit(&mut self, id: &str, epoch: u64, shows: Duration) -> Result<(), Refusal> {
        let producer = known(&mut self.producers, id, epoch)?;
        let transaction = producer.transaction.as_mut().ok_or(Refusal::Fenced)?;
        transaction.shows.get_or_insert(shows);
        Ok(())
    }

    /// Aborts the open transaction, unless it is decided already.
    pub(super) fn abort(&mut self, id: &str, epoch: u64) -> Result<(), Refusal> {
        let producer = known(&mut self.producers, id, epoch)?;
        if let Some(transaction) = producer.transaction.take_if(|t| t.shows.is_none()) {
            end(&mut self.log, &transaction, Outcome::Aborted);
        }
        Ok(())
    }

    /// Where the marker stands; `stable` asks again while a transaction that moves it is open or being ended.
    pub(super) fn marker(&self, id: &str, stable: bool) -> Result<Option<u64>, Refusal> {
        let transaction = self.producers.get(id).and_then(|p| p.transaction.as_ref());
        if stable && transaction.is_some_and(|t| t.marker.is_some()) {
            return Err(Refusal::Busy);
        }
        Ok(self.markers.get(id).and_then(|all| all.last().copied()))
    }

    /// Behind its last message; `settled`: before the first one whose transaction is open.
    pub(super) fn end_of_log(&self, settled: bool) -> i64 {
        let open = self.log.iter().position(|(_, outcome)| settled && *outcome == Outcome::Open);
        open.unwrap_or(self.log.len()) as i64
    }

    /// What a reader of committed messages sees: nothing behind one whose transaction is open.
    pub(super) fn committed(&self) -> Vec<Vec<i64>> {
        let settled = self.log.iter().take_while(|(_, outcome)| *outcome != Outcome::Open);
        let committed = settled.filter(|(_, outcome)| *outcome == Outcome::Committed);
        committed.map(|(row, _)| row.clone()).collect()
    }

    pub(super) fn has_marked(&self, id: &str, number: u64) -> bool {
        self.markers.get(id).is_some_and(|all| all.contains(&number))
    }

    pub(super) fn marker_goes_back(&self) -> bool {
        self.markers.values().any(|all| !all.is_sorted())
    }
}
