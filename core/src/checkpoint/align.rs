//! Aligned barriers: no record behind barrier n is taken before every channel has delivered barrier n.

use crate::element::Barrier;
use crate::{CheckpointId, Error, Result};

/// The barriers of one subtask's input channels.
#[derive(Debug)]
pub struct BarrierAligner {
    arrived: Vec<bool>,
    pending: Option<Barrier>,
    last: CheckpointId,
}

/// What a barrier's arrival means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aligned {
    /// Stop reading that channel.
    Waiting,
    /// All channels have delivered it: snapshot, pass it on, read all channels again.
    Complete(Barrier),
}

impl BarrierAligner {
    /// `channels` inputs of a subtask restored from checkpoint `last`.
    pub fn new(channels: usize, last: CheckpointId) -> Self {
        Self { arrived: vec![false; channels], pending: None, last }
    }

    /// Whether the channel must not be read now.
    pub fn is_blocked(&self, channel: usize) -> bool {
        self.arrived.get(channel).copied().unwrap_or(true)
    }

    /// Barrier `barrier` has arrived on `channel`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] when numbers are not dense (P1) or a blocked channel was read.
    pub fn on_barrier(&mut self, channel: usize, barrier: Barrier) -> Result<Aligned> {
        let expected = self.pending.unwrap_or(Barrier { id: self.last.next(), kind: barrier.kind });
        if barrier != expected {
            return Err(Error::internal(format!(
                "barrier {} arrived where {} was due",
                barrier.id, expected.id
            )));
        }
        match self.arrived.get_mut(channel) {
            Some(arrived) if !*arrived => *arrived = true,
            _ => return Err(Error::internal(format!("barrier {} arrived twice", barrier.id))),
        }
        if self.arrived.iter().all(|a| *a) {
            self.arrived.fill(false);
            self.pending = None;
            self.last = barrier.id;
            return Ok(Aligned::Complete(barrier));
        }
        self.pending = Some(barrier);
        Ok(Aligned::Waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::BarrierKind;

    fn barrier(id: u64) -> Barrier {
        Barrier { id: CheckpointId(id), kind: BarrierKind::Periodic }
    }

    #[test]
    fn a_skipped_number_is_refused() {
        let mut aligner = BarrierAligner::new(1, CheckpointId(4));
        assert!(aligner.on_barrier(0, barrier(6)).is_err());
    }

    proptest::proptest! {
        /// Channels deliver `(data, barrier 1, data, barrier 2, …)` in any interleaving that respects blocking.
        #[test]
        fn nothing_behind_a_barrier_enters_before_it_is_complete(order in proptest::collection::vec(0usize..4, 1..200)) {
            let mut aligner = BarrierAligner::new(4, CheckpointId(0));
            let mut sent = [0u64; 4];
            let mut complete = 0u64;
            for channel in order {
                if aligner.is_blocked(channel) {
                    proptest::prop_assert!(sent[channel] == complete + 1);
                    continue;
                }
                // A record of epoch sent+1 enters here: its epoch must be the open one.
                proptest::prop_assert_eq!(sent[channel], complete);
                sent[channel] += 1;
                match aligner.on_barrier(channel, barrier(sent[channel])).unwrap() {
                    Aligned::Waiting => {}
                    Aligned::Complete(b) => {
                        complete += 1;
                        proptest::prop_assert_eq!(b.id.0, complete);
                        proptest::prop_assert!(sent.iter().all(|s| *s == complete));
                    }
                }
            }
        }
    }
}
