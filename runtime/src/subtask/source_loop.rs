//! The loop of a subtask that begins with a source: rows from the reader, barriers from the coordinator.
//!
//! The position that a checkpoint stores is behind the last row that entered the chain before the barrier (P24).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use thalweg_core::checkpoint::manifest::SplitSnapshot;
use thalweg_core::connector::source::{Polled, SplitBatch};
use thalweg_core::failpoint;
use thalweg_core::operator::Promised;
use thalweg_core::time::Clock;
use thalweg_core::watermark::{SourceWatermarks, SplitWatermarks};
use thalweg_core::{Barrier, BarrierKind, Error, OperatorUid, Result, StreamElement, Watermark};
use tokio::sync::mpsc;

use super::chain::Chain;
use super::emitter::Emitter;
use super::report::{Checkpointer, Event, SourceReport};
use super::source_pump::Pump;

/// How often idleness is looked at, and how far behind the others an idle subtask's watermark may be.
const TICK: Duration = Duration::from_millis(50);

/// Orders from the coordinator.
#[derive(Debug)]
pub(crate) enum Order {
    Inject(Barrier),
    AddSplits(Vec<SplitSnapshot>),
    /// Whether to take rows: the coordinator pauses sources while a checkpoint drags on (P16).
    Pace(bool),
}

/// Rows that may still be read, over all sources of the job; `None` for no limit.
#[derive(Debug, Clone)]
pub(crate) struct Budget(pub(crate) Option<Arc<AtomicI64>>);

impl Budget {
    /// Takes up to `rows`.
    fn take(&self, rows: usize) -> usize {
        let Some(left) = &self.0 else { return rows };
        let want = rows as i64;
        let before = left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |l| Some(l - want.min(l.max(0))))
            .unwrap_or(0);
        want.min(before.max(0)) as usize
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.0.as_ref().is_some_and(|left| left.load(Ordering::Acquire) <= 0)
    }
}

/// What the loop owns.
pub(crate) struct SourceWork {
    pub(crate) uid: OperatorUid,
    /// What the source has promised to emit.
    pub(crate) promised: Promised,
    /// Whether more splits may be found, however many were read to their end: the budget alone ends such an input.
    pub(crate) grows: bool,
    pub(crate) pump: Pump,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) watermarks: Option<SplitWatermarks>,
    pub(crate) splits: BTreeMap<String, SplitSnapshot>,
    pub(crate) chain: Chain,
    pub(crate) emitter: Emitter,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) budget: Budget,
    /// Rises with every row or position: an interval without it needs no checkpoint (P17).
    pub(crate) activity: Arc<AtomicU64>,
    /// What all subtasks of this source say, and which of them this is.
    pub(crate) source_time: Arc<SourceWatermarks>,
    /// What the job's other sources with event time say.
    pub(crate) other_times: Vec<Arc<SourceWatermarks>>,
    pub(crate) subtask: usize,
    pub(crate) rows: u64,
    /// The watermark emitted last; at first what all subtasks had emitted at the checkpoint.
    pub(crate) said: Watermark,
    pub(crate) exhausted: bool,
    /// Since when no rows are taken (P16).
    pub(crate) paused: Option<Duration>,
}

impl SourceWork {
    /// Runs until the attempt ends or something fails.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        if self.splits.values().all(|s| s.split.is_finished()) && !self.splits.is_empty() {
            tracing::debug!(source = %self.uid, "every split is finished already");
        }
        // First of all, so that nobody behind this falls back behind what the checkpoint knows.
        if self.said > Watermark::MIN {
            self.emit(self.said).await?;
        }
        self.tell_time(true).await?;
        loop {
            if self.budget.is_spent() {
                self.set_exhausted();
            }
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Inject(barrier)) => {
                        self.barrier(barrier).await?;
                        if barrier.kind != BarrierKind::Periodic {
                            return std::future::pending().await;
                        }
                    }
                    Some(Order::AddSplits(splits)) => self.add_splits(splits)?,
                    Some(Order::Pace(go)) => self.pace(go),
                    None => return Ok(()),
                },
                item = self.pump.items.recv(), if self.paused.is_none() && !self.budget.is_spent() => match item {
                    Some(item) => {
                        self.take(item?).await?;
                        // Orders come by the mailbox, which this thread serves as well: behind a reader that always
                        // has rows a barrier would wait.
                        tokio::task::yield_now().await;
                    }
                    None => return Err(Error::internal("the source's reader ended by itself")),
                },
                _ = tick.tick() => {
                    let caught_up = self.paused.is_none() && self.pump.items.is_empty();
                    self.tell_time(caught_up).await?;
                }
            }
        }
    }

    async fn take(&mut self, polled: Polled) -> Result<()> {
        match polled {
            Polled::Rows(rows) => self.rows(rows).await?,
            Polled::Advanced { split, position } => {
                self.activity.fetch_add(1, Ordering::Relaxed);
                self.advance(&split, position)?;
                self.tell_time(false).await?;
            }
            Polled::Properties { split, properties } => {
                self.split(&split)?.split.properties = properties;
            }
            Polled::Nothing => {}
            Polled::Exhausted => {
                // In this order: who hears of the end of all splits knows how far event time got.
                self.tell_time(false).await?;
                if !self.grows {
                    self.set_exhausted();
                }
            }
        }
        Ok(())
    }

    /// Refuses rows of other columns than promised, which would be read, and masked, as something else.
    fn check(&self, rows: &SplitBatch) -> Result<()> {
        self.promised.check(None, &rows.batch)?;
        let (count, positions) = (rows.batch.num_rows(), rows.next_positions.len());
        if count == positions {
            return Ok(());
        }
        Err(Error::graph(format!("it has {positions} positions for a batch of {count} rows")))
    }

    async fn rows(&mut self, mut rows: SplitBatch) -> Result<()> {
        failpoint::hit("source.rows")?;
        self.check(&rows).map_err(|e| e.at(format!("source `{}`", self.uid)))?;
        let allowed = self.budget.take(rows.batch.num_rows());
        if allowed == 0 {
            return Ok(());
        }
        if allowed < rows.batch.num_rows() {
            rows.batch = rows.batch.slice(0, allowed);
            rows.next_positions.truncate(allowed);
        }
        let Some(position) = rows.next_positions.last().copied() else {
            return Err(Error::internal("a source batch without positions"));
        };
        // Only a source whose policy is to reset may go back, and it says so by `Advanced` first.
        if self.splits.get(&rows.split).is_none_or(|s| position < s.split.position) {
            return Err(Error::internal("rows behind the position of their split"));
        }
        self.activity.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.monotonic();
        let batch = match &mut self.watermarks {
            Some(watermarks) => watermarks.observe(&rows.split, &rows.batch, now)?,
            None => rows.batch,
        };
        self.rows += batch.num_rows() as u64;
        let effects = self.chain.process(batch)?;
        self.emitter.act(effects).await?;
        self.stood_still(now);
        self.advance(&rows.split, position)?;
        self.tell_time(false).await
    }

    fn advance(&mut self, split: &str, position: i64) -> Result<()> {
        let state = self.split(split)?;
        state.split.position = position;
        let is_finished = state.split.is_finished();
        if let Some(watermarks) = &mut self.watermarks
            && is_finished
        {
            watermarks.finish(split);
        }
        Ok(())
    }

    fn split(&mut self, id: &str) -> Result<&mut SplitSnapshot> {
        self.splits.get_mut(id).ok_or_else(|| Error::internal("a position of an unknown split"))
    }

    /// Says how far event time has advanced, if that is news.
    async fn tell_time(&mut self, caught_up: bool) -> Result<()> {
        let now = self.clock.monotonic();
        let Some(watermarks) = &mut self.watermarks else { return Ok(()) };
        let time = watermarks.current(now, caught_up);
        let own = self.source_time.post(self.subtask, time);
        let watermark = self.source_time.beside(own, &self.other_times);
        if watermark > self.said { self.emit(watermark).await } else { Ok(()) }
    }

    async fn emit(&mut self, watermark: Watermark) -> Result<()> {
        let begun = self.clock.monotonic();
        self.activity.fetch_add(1, Ordering::Relaxed);
        self.said = watermark;
        if let Some(watermarks) = &mut self.watermarks {
            watermarks.emitted(watermark);
        }
        let effects = self.chain.advance(watermark)?;
        self.emitter.act(effects).await?;
        self.emitter.broadcast(StreamElement::Watermark(watermark)).await?;
        self.stood_still(begun);
        Ok(())
    }

    fn pace(&mut self, go: bool) {
        if !go {
            self.paused = self.paused.or_else(|| Some(self.clock.monotonic()));
        } else if let Some(since) = self.paused.take() {
            self.stood_still(since);
        }
    }

    /// Since then this waited for others, and rows that there may be waited behind it: that is no silence of their splits.
    /// Less than a tick is how work goes on all the time.
    fn stood_still(&mut self, since: Duration) {
        let now = self.clock.monotonic();
        if let Some(watermarks) = &mut self.watermarks
            && now.saturating_sub(since) > TICK
        {
            watermarks.stood_still(since, now);
        }
    }

    async fn barrier(&mut self, barrier: Barrier) -> Result<()> {
        failpoint::hit("barrier.inject")?;
        if barrier.kind == BarrierKind::Final {
            // How far event time really got is said first: for some the end of the input is not the end of time. All
            // subtasks have told theirs by now, so that all say the same.
            self.tell_time(false).await?;
            // The end of time precedes the final barrier, so that every window fires into its epoch (P21).
            self.emit(Watermark::MAX).await?;
        }
        let begun = self.clock.monotonic();
        let effects = self.chain.flush()?;
        self.emitter.act(effects).await?;
        if let Some(watermarks) = &self.watermarks {
            for (id, split) in &mut self.splits {
                split.watermark = watermarks.of_split(id);
            }
        }
        let source = SourceReport {
            uid: self.uid.clone(),
            splits: self.splits.values().cloned().collect(),
            rows: self.rows,
            said: self.said,
        };
        self.checkpointer.take(barrier.id, &mut self.chain, &mut self.emitter, Some(source))?;
        self.emitter.broadcast(StreamElement::Barrier(barrier)).await?;
        self.stood_still(begun);
        Ok(())
    }

    fn add_splits(&mut self, splits: Vec<SplitSnapshot>) -> Result<()> {
        let now = self.clock.monotonic();
        self.activity.fetch_add(1, Ordering::Relaxed);
        for snapshot in &splits {
            if let Some(watermarks) = &mut self.watermarks {
                watermarks.add(snapshot, now);
            }
            self.splits.insert(snapshot.split.id.clone(), snapshot.clone());
        }
        self.pump.add(splits.into_iter().map(|s| s.split).collect())
    }

    fn set_exhausted(&mut self) {
        if !self.exhausted {
            self.exhausted = true;
            self.checkpointer.tell(Event::Exhausted);
        }
    }
}

#[cfg(test)]
mod tests;
