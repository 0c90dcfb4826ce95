//! Makes rows up, the same ones every time, at a chosen rate.
//!
//! A row is a function of its index alone, so a position is an index and a restart repeats nothing and loses nothing.
//! Splits own blocks of indices in turn: together they cover every index once, however many they are, and event times
//! that follow the index stay close to each other.

mod reader;
mod rows;
mod source;

pub use rows::{FromFn, RowGenerator, from_fn};
pub use source::{BLOCK_ROWS, GeneratorSource};
