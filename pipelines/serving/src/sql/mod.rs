//! SQL over the PostgreSQL protocol.
//!
//! A connection (`connection.rs`) comes in with TLS and SCRAM (`login.rs`, `scram.rs`) and becomes a session
//! (`session.rs`), which has a role. Each statement is sorted (`statement.rs`), planned by `DataFusion` over the newest versions of the tables
//! that the role may see (`engine.rs`, `tables.rs`), and run within bounds of time, rows and memory on threads of its
//! own (`run.rs`). What does not only read is refused.

#[cfg(feature = "sql")]
mod connection;
#[cfg(feature = "sql")]
mod engine;
#[cfg(feature = "sql")]
mod failure;
#[cfg(feature = "sql")]
mod held;
#[cfg(feature = "sql")]
mod information;
#[cfg(feature = "sql")]
mod login;
#[cfg(feature = "sql")]
mod refusals;
#[cfg(feature = "sql")]
mod roles;
#[cfg(feature = "sql")]
mod run;
#[cfg(feature = "sql")]
mod scram;
#[cfg(feature = "sql")]
mod server;
#[cfg(feature = "sql")]
mod service;
#[cfg(feature = "sql")]
mod session;
mod settings;
#[cfg(feature = "sql")]
mod statement;
#[cfg(feature = "sql")]
mod system;
#[cfg(feature = "sql")]
mod tables;
#[cfg(feature = "sql")]
mod tls;
#[cfg(feature = "sql")]
mod tokens;
#[cfg(not(feature = "sql"))]
mod unbuilt;
#[cfg(feature = "sql")]
mod wire;

use std::sync::Arc;

use thalweg_core::time::Clock;
use thalweg_objects::Place;

use crate::access::{Directory, Roles};
use crate::audit::AuditLog;

#[cfg(feature = "sql")]
pub use server::SqlServer;
pub use settings::{Limits, Listen, SqlSettings, TlsFiles};
#[cfg(not(feature = "sql"))]
pub use unbuilt::SqlServer;

/// Where all tables are for queries.
#[cfg(feature = "sql")]
const SCHEMA: &str = "public";

/// What is served to whom.
#[derive(Debug, Clone)]
pub struct Served {
    /// Folder or prefix of the tables.
    pub place: Place,
    /// Names for queries, and paths below the place.
    pub tables: Vec<(String, String)>,
    /// What each role may see.
    pub roles: Arc<Roles>,
    /// Who there is.
    pub directory: Arc<Directory>,
    /// Where it is written down.
    pub audit: Arc<AuditLog>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}
