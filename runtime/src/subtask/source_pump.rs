//! The thread on which a source's reader blocks, and the bounded queue through which its rows come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as control;
use std::thread::JoinHandle;
use std::time::Duration;

use futures::executor::block_on;
use thalweg_core::connector::source::{Polled, SourceReader, Split};
use thalweg_core::{Error, Result, failpoint};
use tokio::sync::mpsc;

/// Batches that may wait between reader and subtask.
const QUEUE: usize = 8;
/// A reader that waits for room begins again once there is room for so many: the two take turns, and do not wake each
/// other for every batch.
const TURN: usize = QUEUE / 2;
/// How long a reader may wait in one poll: also how long stopping may take.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// The subtask's end.
pub(crate) struct Pump {
    pub(crate) items: mpsc::Receiver<Result<Polled>>,
    splits: control::Sender<Vec<Split>>,
    stop: Arc<AtomicBool>,
}

impl Pump {
    /// Starts the thread; it begins with `splits`.
    pub(crate) fn start(
        name: &str,
        mut reader: Box<dyn SourceReader>,
        splits: Vec<Split>,
    ) -> Result<(Self, JoinHandle<()>)> {
        let (items, receiver) = mpsc::channel(QUEUE);
        let (sender, added) = control::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(format!("read-{name}"))
            .spawn(move || {
                let guarded = std::panic::AssertUnwindSafe(|| {
                    pump(reader.as_mut(), splits, &added, &items, &stopped)
                });
                let failed = match std::panic::catch_unwind(guarded) {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error,
                    Err(_) => Error::internal("the source's reader panicked"),
                };
                // A dead reader must surface, not look like an empty input (F10).
                drop(items.blocking_send(Err(failed)));
            })
            .map_err(|e| Error::transient("cannot start a reader thread").with_source(e))?;
        Ok((Self { items: receiver, splits: sender, stop }, thread))
    }

    /// Starts a task instead, for a job that has one thread; the reader must not block, unless a simulation has a thread for
    /// it.
    pub(crate) fn start_here(
        mut reader: Box<dyn SourceReader>,
        splits: Vec<Split>,
        alive: mpsc::Sender<()>,
    ) -> Self {
        let (items, receiver) = mpsc::channel(QUEUE);
        let (sender, added) = control::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        #[cfg(test)]
        if let Some(steps) = crate::simulation::blocking_readers() {
            let work = move || beside::pump(reader.as_mut(), splits, &added, &items, &stopped);
            tokio::task::spawn_local(async move {
                steps.beside(Box::new(work)).await;
                drop(alive);
            });
            return Self { items: receiver, splits: sender, stop };
        }
        tokio::task::spawn_local(async move {
            let read = pump_here(reader.as_mut(), splits, &added, &items, &stopped).await;
            if let Err(error) = read {
                drop(items.send(Err(error)).await);
            }
            drop(alive);
        });
        Self { items: receiver, splits: sender, stop }
    }

    /// Hands more splits to the reader.
    pub(crate) fn add(&self, splits: Vec<Split>) -> Result<()> {
        self.splits.send(splits).map_err(|_| Error::internal("the source's reader is gone"))
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn pump(
    reader: &mut dyn SourceReader,
    splits: Vec<Split>,
    added: &control::Receiver<Vec<Split>>,
    items: &mpsc::Sender<Result<Polled>>,
    stop: &AtomicBool,
) -> Result<()> {
    reader.assign(splits)?;
    let mut exhausted = false;
    let mut room = None;
    while !stop.load(Ordering::Acquire) {
        // An exhausted reader waits for splits instead of being polled.
        let more =
            if exhausted { added.recv_timeout(MAX_WAIT).ok() } else { added.try_recv().ok() };
        if let Some(splits) = more {
            exhausted = false;
            reader.assign(splits)?;
        }
        if exhausted {
            continue;
        }
        let Some(place) = room.as_mut().and_then(Iterator::next) else {
            let Ok(more) = block_on(items.reserve_many(TURN)) else { return Ok(()) };
            room = Some(more);
            continue;
        };
        failpoint::hit("source.poll")?;
        match reader.poll(MAX_WAIT)? {
            Polled::Nothing => {}
            polled => {
                exhausted = matches!(polled, Polled::Exhausted);
                place.send(Ok(polled));
            }
        }
    }
    Ok(())
}

/// As [`pump`], waiting in the task's time.
async fn pump_here(
    reader: &mut dyn SourceReader,
    splits: Vec<Split>,
    added: &control::Receiver<Vec<Split>>,
    items: &mpsc::Sender<Result<Polled>>,
    stop: &AtomicBool,
) -> Result<()> {
    reader.assign(splits)?;
    let mut exhausted = false;
    while !stop.load(Ordering::Acquire) {
        if let Ok(splits) = added.try_recv() {
            exhausted = false;
            reader.assign(splits)?;
        }
        let polled = if exhausted { Polled::Nothing } else { reader.poll(Duration::ZERO)? };
        if matches!(polled, Polled::Nothing) {
            tokio::time::sleep(MAX_WAIT).await;
            continue;
        }
        exhausted = matches!(polled, Polled::Exhausted);
        if items.send(Ok(polled)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A reader that blocks, on a thread beside that of a simulation, which lets its time pass wherever this one waits.
#[cfg(test)]
mod beside {
    use super::{
        AtomicBool, MAX_WAIT, Ordering, Polled, Result, SourceReader, Split, control, mpsc,
    };
    use crate::simulation::{lives, wait};

    type Items = mpsc::Sender<Result<Polled>>;

    /// As [`super::pump`].
    pub(super) fn pump(
        reader: &mut dyn SourceReader,
        splits: Vec<Split>,
        added: &control::Receiver<Vec<Split>>,
        items: &Items,
        stop: &AtomicBool,
    ) {
        let goes_on = || lives() && !stop.load(Ordering::Acquire);
        if let Err(error) = read(reader, splits, added, items, &goes_on)
            && let Some(room) = place(items, &goes_on)
        {
            room.send(Err(error));
        }
    }

    fn read(
        reader: &mut dyn SourceReader,
        splits: Vec<Split>,
        added: &control::Receiver<Vec<Split>>,
        items: &Items,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<()> {
        reader.assign(splits)?;
        let mut exhausted = false;
        while let Some(room) = place(items, goes_on) {
            if let Ok(splits) = added.try_recv() {
                exhausted = false;
                reader.assign(splits)?;
            }
            if exhausted {
                wait(MAX_WAIT);
                continue;
            }
            match reader.poll(MAX_WAIT)? {
                Polled::Nothing => {}
                polled => {
                    exhausted = matches!(polled, Polled::Exhausted);
                    room.send(Ok(polled));
                }
            }
        }
        Ok(())
    }

    /// A place in the queue, once there is one; `None` when nobody takes anything from it any more.
    fn place<'a>(
        items: &'a Items,
        goes_on: &dyn Fn() -> bool,
    ) -> Option<mpsc::Permit<'a, Result<Polled>>> {
        while goes_on() {
            match items.try_reserve() {
                Ok(room) => return Some(room),
                Err(mpsc::error::TrySendError::Full(())) => {
                    wait(MAX_WAIT);
                }
                Err(mpsc::error::TrySendError::Closed(())) => return None,
            }
        }
        None
    }
}
