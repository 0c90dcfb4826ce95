//! Where Thalweg touches the world: sources and sinks for Kafka, Delta Lake, files, and memory.

#[cfg(any(feature = "delta", feature = "kafka"))]
mod background;
#[cfg(any(feature = "delta", feature = "kafka"))]
mod calendar;
pub mod clock;
#[cfg(feature = "delta")]
pub mod delta;
#[cfg(any(feature = "delta", feature = "kafka"))]
mod epoch_writer;
pub mod file;
pub mod generator;
#[cfg(all(any(test, feature = "test-util"), any(feature = "delta", feature = "kafka")))]
mod in_place;
pub mod json;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
pub mod provenance;
#[cfg(feature = "test-util")]
pub mod testing;
