//! Tools for tests of operators: push rows and watermarks, snapshot, restore at another parallelism, compare.

mod clock;
mod format;
mod harness;
mod seeds;
mod staging;

pub use clock::ManualClock;
pub use format::NoColumns;
pub use harness::OperatorHarness;
pub use seeds::{first_wrong, seeds};
pub use staging::MemoryStaging;
