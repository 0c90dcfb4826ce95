//! What of the tables is served to whom.

pub mod files;
mod policy;

pub use policy::{ROLES, TABLES, roles};
