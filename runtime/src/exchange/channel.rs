//! A channel bounded in rows: the credits that push back. Rows that are long count as several.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use thalweg_core::{Error, Result, StreamElement};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Elements that may wait besides the bound in rows: watermarks and barriers cost nothing but must end somewhere.
const ELEMENTS: usize = 64;

/// Bytes from which on a row of a batch counts as several: a row of many columns has less.
const ROW_BYTES: usize = 1_024;
/// How long the reason of a subtask that is gone is waited for.
const TELLING: Duration = Duration::from_secs(10);

type Item = (StreamElement, Option<OwnedSemaphorePermit>);

/// Sending half.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    queue: mpsc::Sender<Item>,
    credits: Arc<Semaphore>,
    capacity: u32,
}

/// Receiving half. A received batch gives its credits back at once: it is then held by one subtask only.
#[derive(Debug)]
pub(crate) struct Receiver {
    queue: mpsc::Receiver<Item>,
}

/// A channel that holds at most `rows` rows, and as many KiB; a larger batch passes alone.
pub(crate) fn channel(rows: u32) -> (Sender, Receiver) {
    let capacity = rows.max(1);
    let (sender, receiver) = mpsc::channel(ELEMENTS);
    let credits = Arc::new(Semaphore::new(capacity as usize));
    (Sender { queue: sender, credits, capacity }, Receiver { queue: receiver })
}

impl Sender {
    /// Waits for room. The receiver is gone only where its subtask has failed: the attempt ends by what that one tells, and
    /// whoever waits here with it. Fails where nothing is told.
    pub(crate) async fn send(&self, element: StreamElement) -> Result<()> {
        if self.put(element).await {
            return Ok(());
        }
        tokio::time::sleep(TELLING).await;
        Err(Error::internal("a downstream subtask is gone"))
    }

    /// Whether the receiver is still there.
    async fn put(&self, element: StreamElement) -> bool {
        let rows = element.rows_of(ROW_BYTES);
        let rows = u32::try_from(rows).unwrap_or(u32::MAX).min(self.capacity);
        let permit = if rows > 0 {
            let credits = Arc::clone(&self.credits);
            let Ok(permit) = credits.acquire_many_owned(rows).await else { return false };
            Some(permit)
        } else {
            None
        };
        self.queue.send((element, permit)).await.is_ok()
    }
}

impl Receiver {
    /// The next element, `None` once the sender is gone.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<StreamElement>> {
        self.queue.poll_recv(context).map(|item| item.map(|(element, _credits)| element))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use arrow_array::{Int64Array, RecordBatch, StringArray};
    use futures::FutureExt;
    use thalweg_core::Watermark;

    use super::*;

    fn batch(rows: i64) -> StreamElement {
        let ids = Int64Array::from_iter_values(0..rows);
        StreamElement::Batch(RecordBatch::try_from_iter([("id", Arc::new(ids) as _)]).unwrap())
    }

    #[tokio::test]
    async fn a_full_channel_makes_its_sender_wait_and_loses_nothing() {
        let (sender, mut receiver) = channel(100);
        sender.send(batch(60)).await.unwrap();
        assert!(sender.send(batch(60)).now_or_never().is_none());
        sender.send(StreamElement::Watermark(Watermark(1))).await.unwrap();
        let first = poll_fn(|cx| receiver.poll(cx)).await.unwrap();
        assert_eq!(first.rows(), 60);
        assert!(sender.send(batch(60)).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_to_one_that_is_gone_lets_it_tell_why_first() {
        let (sender, receiver) = channel(1);
        drop(receiver);
        let sent = tokio::time::timeout(TELLING / 2, sender.send(batch(1))).await;
        assert!(sent.is_err(), "it was told at once");
        sender.send(batch(1)).await.unwrap_err();
    }

    #[tokio::test]
    async fn long_rows_count_as_several() {
        let texts = StringArray::from(vec!["x".repeat(40 * ROW_BYTES); 2]);
        let long = RecordBatch::try_from_iter([("text", Arc::new(texts) as _)]).unwrap();
        let (sender, _receiver) = channel(100);
        sender.send(StreamElement::Batch(long.clone())).await.unwrap();
        assert!(sender.send(StreamElement::Batch(long)).now_or_never().is_none());
        sender.send(batch(19)).await.unwrap();
    }

    #[tokio::test]
    async fn a_batch_larger_than_the_channel_passes_alone() {
        let (sender, mut receiver) = channel(10);
        sender.send(batch(50)).await.unwrap();
        assert!(sender.send(batch(1)).now_or_never().is_none());
        assert_eq!(poll_fn(|cx| receiver.poll(cx)).await.unwrap().rows(), 50);
        sender.send(batch(1)).await.unwrap();
    }
}
