//! Acts on what a chain emitted: writes to sinks, sends through exchanges. This is where a subtask waits, and so where
//! back-pressure reaches it.

use futures::future::try_join_all;
use thalweg_core::{Result, StreamElement};

use super::chain::Effect;
use super::sinks::SinkSlot;
use crate::exchange::{Partitioner, Sender};

/// One outgoing exchange of a subtask.
#[derive(Debug)]
pub(crate) struct OutgoingEdge {
    pub(crate) partitioner: Partitioner,
    pub(crate) senders: Vec<Sender>,
}

/// All ways out of a subtask.
pub(crate) struct Emitter {
    pub(crate) edges: Vec<OutgoingEdge>,
    pub(crate) sinks: Vec<SinkSlot>,
}

impl Emitter {
    /// In order, one after another: rows keep their order on every way.
    pub(crate) async fn act(&mut self, effects: Vec<Effect>) -> Result<()> {
        for effect in effects {
            match effect {
                Effect::Write { sink, batch } => {
                    if let Some(sink) = self.sinks.get_mut(sink) {
                        sink.write(batch).await?;
                    }
                }
                Effect::Send { edge, batch } => {
                    let Some(edge) = self.edges.get_mut(edge) else { continue };
                    for (target, part) in edge.partitioner.split(batch)? {
                        if let Some(sender) = edge.senders.get(target) {
                            sender.send(StreamElement::Batch(part)).await?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// To every subtask behind every exchange.
    pub(crate) async fn broadcast(&self, element: StreamElement) -> Result<()> {
        let senders = self.edges.iter().flat_map(|e| &e.senders);
        try_join_all(senders.map(|s| s.send(element.clone()))).await.map(drop)
    }
}
