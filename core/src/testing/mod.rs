//! Tools for tests of operators: push rows and watermarks, snapshot, restore at another parallelism, compare. And what
//! seeded simulations share.

mod clock;
mod format;
mod harness;
pub mod simulation;
mod staging;

pub use clock::ManualClock;
pub use format::NoColumns;
pub use harness::OperatorHarness;
pub use staging::MemoryStaging;
