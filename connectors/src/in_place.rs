//! Blocking work done where it is asked for: how a simulation, which has one thread and a time of its own, makes steps of it.

use std::cell::RefCell;
use std::sync::Arc;

use futures::FutureExt;
use thalweg_core::connector::sink::BoxFuture;

/// Who makes steps of blocking work.
pub trait InPlace: Send + Sync {
    /// Waits until the work may begin. Nothing is awaited between this and [`InPlace::end`].
    fn begin(&self) -> BoxFuture<'_, ()>;

    /// The work is done.
    fn end(&self) {}

    /// Does `work` that waits by a clock: a simulation whose own is meant gives it a thread. Nobody can call it off.
    fn beside(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'_, ()> {
        async move {
            self.begin().await;
            work();
            self.end();
        }
        .boxed()
    }
}

thread_local! {
    static STEPS: RefCell<Option<Arc<dyn InPlace>>> = const { RefCell::new(None) };
}

/// From now on what this thread's futures would hand to others is done here; `None`: handed over again.
pub fn work_in_place(steps: Option<Arc<dyn InPlace>>) {
    STEPS.with(|of_thread| *of_thread.borrow_mut() = steps);
}

pub(crate) fn steps() -> Option<Arc<dyn InPlace>> {
    STEPS.with(|of_thread| of_thread.borrow().clone())
}
