//! Work that blocks, in a world of one thread: a step or, where it waits by itself, a thread that the world's waits for. One of
//! the two runs at a time, so a seed still is one schedule.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::FutureExt;
use thalweg_connectors::testing::InPlace;
use thalweg_core::connector::sink::BoxFuture;
use tokio::runtime::Handle;

use super::world::World;

/// The connectors' blocking work, in one world.
pub(super) struct Steps(pub(super) Arc<World>);

impl InPlace for Steps {
    fn begin(&self) -> BoxFuture<'_, ()> {
        async move {
            self.0.brief().await;
            self.0.begin_step();
        }
        .boxed()
    }

    fn end(&self) {
        self.0.end_step();
    }

    fn beside(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'_, ()> {
        let time = Handle::current();
        // It goes on when nobody waits for it any more, and ends with its process.
        let driven =
            tokio::task::spawn_local(async move { Beside::start(time, work).drive().await });
        async move {
            if let Err(error) = driven.await
                && let Ok(panic) = error.try_into_panic()
            {
                resume_unwind(panic);
            }
        }
        .boxed()
    }
}

thread_local! {
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// What a thread beside the world's has of it.
struct Turn {
    waits: Sender<Duration>,
    goes_on: Receiver<()>,
    lives: bool,
}

/// Lets the world go on for `long`. Whether this thread's process lives afterwards; where it was killed, nothing of the world
/// may be touched any more.
pub(crate) fn wait(long: Duration) -> bool {
    TURN.with_borrow_mut(|turn| {
        let Some(turn) = turn else { return true };
        turn.lives = turn.lives && turn.waits.send(long).is_ok() && turn.goes_on.recv().is_ok();
        turn.lives
    })
}

/// Whether this thread is one beside the world's.
pub(super) fn is_beside() -> bool {
    TURN.with_borrow(Option::is_some)
}

/// Whether this thread's process was not killed.
pub(crate) fn lives() -> bool {
    TURN.with_borrow(|turn| turn.as_ref().is_none_or(|turn| turn.lives))
}

/// The world's end of a thread's turns. Dropping it kills the process of which the thread is.
struct Beside {
    waiting: Receiver<Duration>,
    go_on: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Beside {
    fn start(time: Handle, work: Box<dyn FnOnce() + Send>) -> Self {
        let ((waits, waiting), (go_on, goes_on)) = (channel(), channel());
        let thread = thread::spawn(move || {
            let _virtual = time.enter();
            TURN.set(Some(Turn { waits, goes_on, lives: true }));
            work();
            TURN.set(None);
        });
        Self { waiting, go_on: Some(go_on), thread: Some(thread) }
    }

    async fn drive(mut self) {
        while let Ok(long) = self.waiting.recv() {
            tokio::time::sleep(long).await;
            if let Some(go_on) = &self.go_on {
                go_on.send(()).ok();
            }
        }
        self.end();
    }

    fn end(&mut self) {
        self.go_on = None;
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.end();
    }
}
