//! What a stream is: batches, time, the graph, the contracts of operators, sources and sinks, keyed state, windows,
//! and the checkpoint protocol as pure code.
//!
//! This crate computes and decides; it never acts. It knows no executor, no actor, no Kafka and no Delta Lake, reads
//! no clock and spawns nothing.

// The derive names this crate by its own name, here too.
extern crate self as thalweg_core;

pub mod checkpoint;
pub mod connector;
pub mod crypto;
pub mod durable;
pub mod element;
pub mod error;
pub mod failpoint;
pub mod graph;
pub mod id;
pub mod key;
pub mod operator;
pub mod prelude;
pub mod record;
pub mod restart;
pub mod sensitivity;
pub mod state;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod time;
pub mod watermark;
pub mod window;

pub use element::{Barrier, BarrierKind, StreamElement, Watermark};
pub use error::{Error, ErrorKind, Result};
pub use id::{Attempt, CheckpointId, OperatorUid, SubtaskIndex};
pub use record::{Batch, Column, Record};
pub use sensitivity::{Clearance, Sensitivity};
pub use thalweg_derive::Record;
