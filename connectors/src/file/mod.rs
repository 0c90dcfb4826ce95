//! Reads files of lines (JSON Lines and the like) with exact positions (P26).
//!
//! A file is cut into byte ranges when the job begins; each is a split, and a line belongs to the split in which it
//! starts. Positions are bytes, so any number of readers, stopped and restarted anywhere, hand on the same lines.
//! Only the length seen at the beginning is ever read. What a line means is none of this module's business: a
//! [`thalweg_core::connector::decode::Format`] decodes it.

mod content;
mod identity;
mod lines;
mod reader;
mod seals;
mod source;

pub use source::{JsonLinesSource, MAX_LINE, SPLIT_BYTES};
