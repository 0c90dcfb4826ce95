//! Delta Lake tables as sinks: rows appear once, whatever crashes.
//!
//! A table is a folder of Parquet files and a log of numbered JSON entries; a file belongs to the table when an entry
//! says so. Thalweg splits an append in two. The *writers* put the rows of one epoch into Parquet files that no
//! entry names yet, sync them, and describe them as `add` actions, which travel in the manifest ([`DeltaSink`]). Once
//! the manifest exists, the *committer* creates one log entry that holds the actions of all writers and a `txn`
//! action with the checkpoint's number ([`DeltaCommitter`]). Creating an entry is atomic and fails when its number is
//! taken, so an entry either names all files of the epoch or does not exist; and the `txn` tells whoever comes later
//! that the epoch is in.
//!
//! Invariants:
//! * One entry per table and epoch; the epoch's number never goes back under one application id.
//! * What is described is durable; what is committed is durable before it is reported (`DurableStore`).
//! * No entry is created whose predecessor does not stand (P13), no file is named that does not exist (P14), and none
//!   whose columns the table no longer has (P15). The decisions are pure functions in `decide` and `compatibility`.
//! * The commit path neither lists the log nor holds the table's files in memory, so a commit costs the same after a
//!   million others. Log checkpoints and clean-up run beside it (`maintenance`).
//! * Rows of a stretch of time can be replaced ([`DeltaMaintenance::overwrite`]) by an entry that loses to whoever touches
//!   the same files.
//! * Columns that a table lacks are added, where the sink asks for it ([`SchemaEvolution`]), by an entry that has nothing
//!   else and stands between two epochs.
//! * Other maintenance ([`DeltaMaintenance`]) changes no row: it puts merged files in the place of small ones by an entry like
//!   any other's, and removes files only that no version younger than a retention names and no manifest waits for.
//! * Texts of Delta, Arrow and Parquet errors can quote values: they never enter ours (`failure`).
//!
//! It does not know graphs, barriers or manifests, and it never chooses between epochs: it does what it is told or
//! says why it cannot.

mod active;
mod align;
mod commit;
mod committer;
mod compact;
mod compatibility;
mod count;
mod cuts;
mod decide;
mod encode;
mod entry;
mod evolve;
mod failure;
mod follow;
mod footer;
mod instants;
mod maintain;
mod maintenance;
mod named;
mod overwrite;
mod paths;
mod plan;
mod reach;
mod read;
mod readable;
mod replace;
mod rewrite;
mod scan;
mod schema;
#[cfg(test)]
mod simulation;
mod sink;
mod statistics;
mod storage;
mod store;
mod table;
mod vacuum;
mod values;
mod withheld;

pub use committer::DeltaCommitter;
pub use cuts::{COMMITTED_AT, JOB as CUT_JOB, TABLE as CUTS, newest_cuts};
pub use evolve::SchemaEvolution;
pub use follow::{DeltaFollower, TableFile, TableVersion};
pub use maintain::{
    Compacted, Compaction, DeltaMaintenance, LogUpkeep, SAFE_RETENTION, Vacuum, Vacuumed,
};
pub use overwrite::Overwritten;
pub use plan::newest_until;
pub use read::{DeltaReader, OpenTable, TableColumn, read_table};
pub use sink::DeltaSink;
pub use statistics::FileStatistics;
pub use store::DurableStore;

/// What [`thalweg_core::connector::sink::Target::kind`] says for a Delta table.
pub const KIND: &str = "delta";

/// Delta's Arrow is ours: batches are handed over without a copy. Fails to compile when the versions part.
const _: fn(arrow_array::RecordBatch) -> deltalake::arrow::record_batch::RecordBatch =
    |batch| batch;
