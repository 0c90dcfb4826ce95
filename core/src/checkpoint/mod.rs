//! The checkpoint protocol as pure code: facts in, decisions out. Rule numbers (P1 to P31) are those of
//! `docs/architecture.md`.

pub mod align;
pub mod coordinate;
pub mod manifest;
pub mod resolve;

pub use align::{Aligned, BarrierAligner};
pub use coordinate::{Action, CheckpointCoordinator, Fact};
pub use manifest::{Manifest, ManifestKind};
