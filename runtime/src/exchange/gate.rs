//! The inputs of one subtask: takes from unblocked channels in turn, aligns barriers, merges watermarks.

use std::future::poll_fn;
use std::task::Poll;

use arrow_array::RecordBatch;
use thalweg_core::checkpoint::{Aligned, BarrierAligner};
use thalweg_core::watermark::InputWatermarks;
use thalweg_core::{Barrier, CheckpointId, Result, StreamElement, Watermark};

use super::Receiver;

/// What a subtask gets to see: one stream out of several channels.
#[derive(Debug)]
pub(crate) enum Input {
    Batch(RecordBatch),
    Watermark(Watermark),
    /// Every channel has delivered it.
    Barrier(Barrier),
    /// An upstream subtask is gone: the attempt is ending.
    Closed,
}

#[derive(Debug)]
pub(crate) struct InputGate {
    channels: Vec<Receiver>,
    aligner: BarrierAligner,
    watermarks: InputWatermarks,
    next: usize,
}

impl InputGate {
    /// Of these channels, each with whether its watermarks count.
    pub(crate) fn new(channels: Vec<(Receiver, bool)>, restored: CheckpointId) -> Self {
        let mut watermarks = InputWatermarks::new(channels.len());
        for (index, _) in channels.iter().enumerate().filter(|(_, (_, counts))| !counts) {
            watermarks.ignore(index);
        }
        Self {
            aligner: BarrierAligner::new(channels.len(), restored),
            watermarks,
            channels: channels.into_iter().map(|(channel, _)| channel).collect(),
            next: 0,
        }
    }

    /// The next thing to act on.
    pub(crate) async fn next(&mut self) -> Result<Input> {
        loop {
            let (channel, element) = self.receive().await;
            let Some(element) = element else { return Ok(Input::Closed) };
            let seen = match element {
                StreamElement::Batch(batch) => Some(Input::Batch(batch)),
                StreamElement::Watermark(w) => {
                    self.watermarks.advance(channel, w).map(Input::Watermark)
                }
                StreamElement::Barrier(barrier) => {
                    match self.aligner.on_barrier(channel, barrier)? {
                        Aligned::Complete(barrier) => Some(Input::Barrier(barrier)),
                        Aligned::Waiting => None,
                    }
                }
            };
            if let Some(seen) = seen {
                return Ok(seen);
            }
        }
    }

    /// Polls unblocked channels, beginning behind the one that was served last.
    async fn receive(&mut self) -> (usize, Option<StreamElement>) {
        let Self { channels, aligner, next, .. } = self;
        let count = channels.len().max(1);
        poll_fn(|context| {
            for step in 0..count {
                let index = (*next + step) % count;
                if aligner.is_blocked(index) {
                    continue;
                }
                let Some(channel) = channels.get_mut(index) else { continue };
                if let Poll::Ready(element) = channel.poll(context) {
                    *next = index + 1;
                    return Poll::Ready((index, element));
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use thalweg_core::BarrierKind;

    use super::*;
    use crate::exchange::channel;

    fn barrier(id: u64) -> StreamElement {
        StreamElement::Barrier(Barrier { id: CheckpointId(id), kind: BarrierKind::Periodic })
    }

    fn rows(n: i64) -> StreamElement {
        let ids = arrow_array::Int64Array::from_iter_values(0..n);
        let batch = RecordBatch::try_from_iter([("id", std::sync::Arc::new(ids) as _)]).unwrap();
        StreamElement::Batch(batch)
    }

    #[tokio::test]
    async fn rows_behind_a_barrier_wait_for_the_slow_channel() {
        let (fast, fast_in) = channel(1000);
        let (slow, slow_in) = channel(1000);
        let mut gate = InputGate::new(vec![(fast_in, true), (slow_in, true)], CheckpointId(0));
        fast.send(barrier(1)).await.unwrap();
        fast.send(rows(7)).await.unwrap();
        assert!(gate.next().now_or_never().is_none());
        slow.send(rows(3)).await.unwrap();
        slow.send(barrier(1)).await.unwrap();
        assert!(matches!(gate.next().await.unwrap(), Input::Batch(b) if b.num_rows() == 3));
        assert!(matches!(gate.next().await.unwrap(), Input::Barrier(b) if b.id.0 == 1));
        assert!(matches!(gate.next().await.unwrap(), Input::Batch(b) if b.num_rows() == 7));
    }

    #[tokio::test]
    async fn a_channel_without_event_time_does_not_hold_it_back() {
        let (timed, timed_in) = channel(1000);
        let (commands, commands_in) = channel(1000);
        let mut gate =
            InputGate::new(vec![(timed_in, true), (commands_in, false)], CheckpointId(0));
        commands.send(rows(1)).await.unwrap();
        assert!(matches!(gate.next().await.unwrap(), Input::Batch(_)));
        timed.send(StreamElement::Watermark(Watermark(7))).await.unwrap();
        assert!(matches!(gate.next().await.unwrap(), Input::Watermark(Watermark(7))));
        commands.send(StreamElement::Watermark(Watermark::MAX)).await.unwrap();
        commands.send(barrier(1)).await.unwrap();
        assert!(gate.next().now_or_never().is_none());
        timed.send(StreamElement::Watermark(Watermark::MAX)).await.unwrap();
        assert!(matches!(gate.next().await.unwrap(), Input::Watermark(Watermark::MAX)));
        timed.send(barrier(1)).await.unwrap();
        assert!(matches!(gate.next().await.unwrap(), Input::Barrier(_)));
    }

    #[tokio::test]
    async fn time_does_not_end_before_a_channel_without_event_time() {
        let (timed, timed_in) = channel(1000);
        let (commands, commands_in) = channel(1000);
        let mut gate =
            InputGate::new(vec![(timed_in, true), (commands_in, false)], CheckpointId(0));
        timed.send(StreamElement::Watermark(Watermark(7))).await.unwrap();
        assert!(matches!(gate.next().await.unwrap(), Input::Watermark(Watermark(7))));
        timed.send(StreamElement::Watermark(Watermark::MAX)).await.unwrap();
        assert!(gate.next().now_or_never().is_none());
        commands.send(rows(2)).await.unwrap();
        assert!(matches!(gate.next().await.unwrap(), Input::Batch(b) if b.num_rows() == 2));
        commands.send(StreamElement::Watermark(Watermark::MAX)).await.unwrap();
        assert!(matches!(gate.next().await.unwrap(), Input::Watermark(Watermark::MAX)));
    }
}
