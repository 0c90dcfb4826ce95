//! One transactional producer and the marker beside it. Blocking.
//!
//! A session that met an error is given up: what a broker makes of a transaction with an unknown outcome is settled by
//! the next session's first step, and read from the marker (P28). So is one whose transactions went well at a second
//! attempt of the library's: the broker takes what arrives late of the first for the transaction that is open then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thalweg_core::{CheckpointId, Error, Result, failpoint};

use super::cluster::{Cluster, Ends, Message, Reading, TRIES, Transactions, attempts};
#[cfg(test)]
use super::simulation::mutation;

/// Between two looks whether earlier transactions have ended.
const PAUSE: Duration = Duration::from_millis(200);

/// A producer that has fenced every earlier one of its sink.
pub(super) struct Session {
    cluster: Arc<dyn Cluster>,
    producer: Box<dyn Transactions>,
    topic: String,
    /// How long the broker keeps a transaction open.
    timeout: Duration,
    /// Whether every transaction has ended that was open when this one's first rows were to be sent.
    is_clear: bool,
    /// Transactions that went well.
    transactions: i64,
    /// When the last of them began.
    written: Option<Instant>,
    /// The library's newest report when the last of them ended.
    report: u64,
}

impl Session {
    /// Ends whatever an earlier session left open, and from now on refuses it.
    pub(super) fn begin(
        cluster: &Arc<dyn Cluster>,
        topic: &str,
        app_id: &str,
        timeout: Duration,
    ) -> Result<Self> {
        let producer = cluster.producer(topic, app_id)?;
        attempts(cluster.as_ref(), || producer.init())?;
        Ok(Self {
            cluster: Arc::clone(cluster),
            producer,
            topic: topic.to_owned(),
            timeout,
            is_clear: false,
            transactions: 0,
            written: None,
            report: 0,
        })
    }

    pub(super) fn marker(&self) -> Result<Option<CheckpointId>> {
        attempts(self.cluster.as_ref(), || self.producer.marker())
    }

    /// When it has written the marker; one that has not found it as old as may be.
    pub(super) fn written(&self) -> Option<Instant> {
        self.written
    }

    /// Whether nothing of its transactions can be on its way any more: what would harm a later one was sent once for each.
    /// Blocking, until the library has reported.
    pub(super) fn is_settled(&self) -> bool {
        let sent = self.producer.sent_after(self.report);
        let settled = sent.is_some_and(|sent| sent <= self.transactions);
        #[cfg(test)]
        let settled = mutation::is_settled(settled);
        settled
    }

    /// Before rows are sent, what others left open must have ended in each partition: brokers may forget to tell one
    /// (KAFKA-20734), which then decides over what hangs as over the next transaction that writes there. A marker alone
    /// writes nothing there.
    pub(super) fn clear(&mut self) -> Result<()> {
        if self.is_clear {
            return Ok(());
        }
        let ends = self.producer.ends()?;
        // Each session of a commit waits for its part.
        let patience = self.timeout / TRIES;
        wait_for_earlier(self.cluster.as_ref(), ends.as_ref(), &self.topic, patience)?;
        self.is_clear = true;
        Ok(())
    }

    /// Sends the messages and moves the marker to `n`, both or neither. After an error the outcome is unknown and the
    /// session must not be used again.
    pub(super) fn commit(
        &mut self,
        n: CheckpointId,
        send: impl FnOnce(&mut dyn FnMut(Message<'_>) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let begun = self.cluster.now();
        let Err(error) = self.transaction(n, send) else {
            self.transactions += 1;
            self.written = Some(begun);
            self.report = self.producer.report();
            return Ok(());
        };
        let open = self.cluster.now().saturating_duration_since(begun);
        self.producer.abort();
        Err(if open < self.timeout {
            error
        } else {
            outlived(&self.topic, open, self.timeout, error)
        })
    }

    fn transaction(
        &self,
        n: CheckpointId,
        send: impl FnOnce(&mut dyn FnMut(Message<'_>) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        self.producer.begin().map_err(|refusal| refusal.error)?;
        send(&mut |message| self.producer.send(message))?;
        failpoint::hit("messages.sent")?;
        attempts(self.cluster.as_ref(), || self.producer.mark(n))?;
        failpoint::hit("messages.marked")?;
        attempts(self.cluster.as_ref(), || self.producer.commit())?;
        failpoint::hit("messages.committed")
    }
}

/// Waits until every transaction that has messages in the topic by now has ended.
fn wait_for_earlier(
    cluster: &dyn Cluster,
    ends: &dyn Ends,
    topic: &str,
    patience: Duration,
) -> Result<()> {
    let begun = cluster.now();
    let last = attempts(cluster, || ends.look(Reading::Unsettled))?;
    loop {
        let ended = attempts(cluster, || ends.look(Reading::Settled))?;
        let open = open_before(&last, &ended);
        #[cfg(test)]
        let open = mutation::open_before(open);
        let Some((partition, offset)) = open else { return Ok(()) };
        if cluster.now().saturating_duration_since(begun) >= patience {
            return Err(Error::transient(format!(
                "a transaction in partition {partition} of topic `{topic}`, from offset {offset} on, has not ended for \
                 {} s: if it is no other producer's that soon will, see \"Kafka sink\" in docs/guarantees.md",
                patience.as_secs()
            )));
        }
        cluster.wait(PAUSE);
    }
}

/// A partition with a transaction that is open before its end, and where that begins.
fn open_before(ends: &BTreeMap<i32, i64>, ended: &BTreeMap<i32, i64>) -> Option<(i32, i64)> {
    let until = |partition| ended.get(partition).copied().unwrap_or(0);
    ends.iter().find(|(partition, end)| until(partition) < **end).map(|(p, _)| (*p, until(p)))
}

/// The error of a transaction that was open for longer than the broker keeps one: what the library says of it, that the
/// producer was fenced, say, is the consequence.
fn outlived(topic: &str, open: Duration, timeout: Duration, error: Error) -> Error {
    if !error.kind().is_retryable() {
        return error;
    }
    Error::transient(format!(
        "the transaction to topic `{topic}` failed after {} s, and the broker ends it after {} s: if sending one \
         checkpoint takes so long, raise transaction_timeout",
        open.as_secs(),
        timeout.as_secs()
    ))
    .with_source(error)
}

#[cfg(test)]
mod tests {
    use thalweg_core::{ErrorKind, error};

    use super::*;

    #[test]
    fn a_partition_whose_last_messages_are_of_an_open_transaction_is_found() {
        let ends = BTreeMap::from([(0, 10), (1, 7)]);
        assert_eq!(open_before(&ends, &ends), None);
        assert_eq!(open_before(&ends, &BTreeMap::from([(0, 12), (1, 7), (2, 0)])), None);
        assert_eq!(open_before(&ends, &BTreeMap::from([(0, 12), (1, 6)])), Some((1, 6)));
        assert_eq!(open_before(&ends, &BTreeMap::from([(1, 7)])), Some((0, 0)));
    }

    #[test]
    fn a_transaction_that_was_open_too_long_names_the_setting_and_no_other_instance() {
        let fenced = Error::transient("the producer was fenced");
        let (open, timeout) = (Duration::from_secs(13), Duration::from_secs(10));
        let late = outlived("t", open, timeout, fenced);
        assert_eq!(late.kind(), ErrorKind::Transient);
        let shown = error::chain(&late);
        assert!(shown.contains("raise transaction_timeout") && shown.contains("13 s"), "{shown}");
        assert!(shown.contains("fenced") && !shown.contains("another instance"), "{shown}");
        let forbidden = Error::config("no permission to write: grant it");
        let kind = outlived("t", open, timeout, forbidden).kind();
        assert_eq!(kind, ErrorKind::InvalidConfig);
    }
}
