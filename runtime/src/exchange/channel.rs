//! A channel bounded in rows: the credits that push back.

use std::sync::Arc;
use std::task::{Context, Poll};

use thalweg_core::{Error, Result, StreamElement};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Elements that may wait besides the bound in rows: watermarks and barriers cost nothing but must end somewhere.
const ELEMENTS: usize = 64;

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

/// A channel that holds at most `rows` rows; a larger batch passes alone.
pub(crate) fn channel(rows: u32) -> (Sender, Receiver) {
    let capacity = rows.max(1);
    let (sender, receiver) = mpsc::channel(ELEMENTS);
    let credits = Arc::new(Semaphore::new(capacity as usize));
    (Sender { queue: sender, credits, capacity }, Receiver { queue: receiver })
}

impl Sender {
    /// Waits for room. Fails when the receiver is gone, which only happens while an attempt is torn down.
    pub(crate) async fn send(&self, element: StreamElement) -> Result<()> {
        let gone = || Error::internal("a downstream subtask is gone");
        let rows = u32::try_from(element.rows()).unwrap_or(u32::MAX).min(self.capacity);
        let permit = if rows > 0 {
            let credits = Arc::clone(&self.credits);
            Some(credits.acquire_many_owned(rows).await.map_err(|_| gone())?)
        } else {
            None
        };
        self.queue.send((element, permit)).await.map_err(|_| gone())
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

    use arrow_array::{Int64Array, RecordBatch};
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

    #[tokio::test]
    async fn a_batch_larger_than_the_channel_passes_alone() {
        let (sender, mut receiver) = channel(10);
        sender.send(batch(50)).await.unwrap();
        assert!(sender.send(batch(1)).now_or_never().is_none());
        assert_eq!(poll_fn(|cx| receiver.poll(cx)).await.unwrap().rows(), 50);
        sender.send(batch(1)).await.unwrap();
    }
}
