//! Blocking work done where it is asked for: how a simulation, which has one thread and a time of its own, makes a step of
//! it.

use std::cell::RefCell;
use std::sync::Arc;

use thalweg_core::connector::sink::BoxFuture;

/// Who makes steps of blocking work.
pub trait InPlace: Send + Sync {
    /// Waits until the work may begin. Nothing is awaited between this and [`InPlace::end`].
    fn begin(&self) -> BoxFuture<'_, ()>;

    /// The work is done.
    fn end(&self) {}
}

thread_local! {
    static STEPS: RefCell<Option<Arc<dyn InPlace>>> = const { RefCell::new(None) };
}

/// From now on what this thread's futures would hand to others is done here; `None`: handed over again.
pub fn work_in_place(steps: Option<Arc<dyn InPlace>>) {
    STEPS.with(|of_thread| *of_thread.borrow_mut() = steps);
}

pub(super) fn steps() -> Option<Arc<dyn InPlace>> {
    STEPS.with(|of_thread| of_thread.borrow().clone())
}
