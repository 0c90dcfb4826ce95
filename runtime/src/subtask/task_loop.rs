//! The loop of a subtask behind an exchange.

use thalweg_core::{Result, StreamElement};

use super::chain::Chain;
use super::emitter::Emitter;
use super::report::Checkpointer;
use crate::exchange::{Input, InputGate};

/// What the loop owns.
pub(crate) struct TaskWork {
    pub(crate) gate: InputGate,
    pub(crate) chain: Chain,
    pub(crate) emitter: Emitter,
    pub(crate) checkpointer: Checkpointer,
}

impl TaskWork {
    /// Runs until the attempt ends or something fails.
    pub(crate) async fn run(mut self) -> Result<()> {
        loop {
            match self.gate.next().await? {
                Input::Batch(batch) => {
                    let effects = self.chain.process(batch)?;
                    self.emitter.act(effects).await?;
                }
                Input::Watermark(watermark) => {
                    let effects = self.chain.advance(watermark)?;
                    self.emitter.act(effects).await?;
                    self.emitter.broadcast(StreamElement::Watermark(watermark)).await?;
                }
                Input::Barrier(barrier) => {
                    let effects = self.chain.flush()?;
                    self.emitter.act(effects).await?;
                    self.checkpointer.take(barrier.id, &mut self.chain, &mut self.emitter, None)?;
                    self.emitter.broadcast(StreamElement::Barrier(barrier)).await?;
                }
                Input::Closed => return Ok(()),
            }
        }
    }
}
