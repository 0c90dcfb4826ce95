//! Sources and sinks inside the process, for tests, examples and documentation.
//!
//! They keep every promise that the real ones keep (positions, staging, commits that happen once, fencing) and add
//! handles with which a test makes things go wrong. What they hold lives as long as the [`MemoryStore`] or
//! [`MemorySource`] that made it: longer than an attempt, never longer than the process.

mod committer;
mod decide;
mod handle;
mod input;
mod reader;
mod sink;
mod source;
mod store;
mod table;

pub use committer::MemoryCommitter;
pub use handle::MemorySourceHandle;
pub use sink::MemorySink;
pub use source::MemorySource;
pub use store::MemoryStore;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; what a panicking test left behind is still whole, since every change is made in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
