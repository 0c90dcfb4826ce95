//! Tools for tests of operators: push rows and watermarks, snapshot, restore at another parallelism, compare.

mod clock;
mod format;
mod harness;
mod staging;

pub use clock::ManualClock;
pub use format::NoColumns;
pub use harness::OperatorHarness;
pub use staging::MemoryStaging;
