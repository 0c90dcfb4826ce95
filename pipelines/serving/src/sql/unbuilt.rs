//! What a build without `DataFusion` says.

use std::net::SocketAddr;

use thalweg_core::{Error, Result};

use super::{Served, SqlSettings};

/// There is none in this build.
#[derive(Debug)]
pub struct SqlServer {
    address: SocketAddr,
}

impl SqlServer {
    /// Says which feature is missing.
    ///
    /// # Errors
    /// Always [`thalweg_core::ErrorKind::InvalidConfig`].
    pub fn start(_served: &Served, _settings: &SqlSettings) -> Result<Self> {
        Err(Error::config("SQL needs a build with feature `sql`"))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
