//! SQL over the PostgreSQL protocol: `postgres/` in a build with cargo feature `sql`, and `unbuilt.rs`, which says so, in
//! another one.

#[cfg(feature = "sql")]
mod postgres;
mod settings;
#[cfg(not(feature = "sql"))]
mod unbuilt;

use std::sync::Arc;

use thalweg_core::time::Clock;
use thalweg_objects::Place;

use crate::access::{Directory, Roles};
use crate::audit::AuditLog;

#[cfg(feature = "sql")]
pub use postgres::SqlServer;
pub use settings::{Limits, Listen, SqlSettings, TlsFiles};
#[cfg(not(feature = "sql"))]
pub use unbuilt::SqlServer;

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
