//! Connectors to what is at hand: files, generators, memory.

mod file_identity;
mod file_lines;
mod file_support;
mod generator_rows;
mod memory_commit;
mod memory_source;
