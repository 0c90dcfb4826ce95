//! Executes a Thalweg graph: actors on worker threads, bounded channels between them, checkpoints, restarts.
//!
//! Control plane: actix messages. Data plane: channels bounded in rows. Storage work: a tokio runtime of its own.

mod attempt;
pub mod checkpoint;
pub mod cli;
mod clock;
mod deploy;
mod disk;
mod exchange;
mod execution_graph;
mod job;
mod memory;
pub mod metrics;
mod placement;
pub mod settings;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]
mod simulation;
mod subtask;

pub use bytesize::ByteSize;
#[cfg(feature = "objects")]
pub use checkpoint::objects::ObjectStorage;
pub use checkpoint::storage::{CheckpointStorage, Created, LocalStorage, MemoryStorage};
pub use clock::SystemClock;
pub use job::{JobBuilder, JobHandle, JobStopper, JobSummary};
pub use metrics::JobMetrics;
pub use settings::Settings;
