//! Tools for tests of operators: push rows and watermarks, snapshot, restore at another parallelism, compare.

mod clock;
mod harness;

pub use clock::ManualClock;
pub use harness::OperatorHarness;
