//! What of the tables is served to whom.

pub mod files;
mod policy;

pub use policy::{ANSWERING, ROLES, TABLES, roles};
