//! What can be set.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use thalweg_core::{Error, Result};

/// Files of a certificate chain and its key, in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Address and port; port 0: any that is free.
    pub address: SocketAddr,
    /// With them, connections without TLS are refused.
    pub tls: Option<TlsFiles>,
    /// Whether other machines may reach it.
    pub allow_remote: bool,
}

impl Listen {
    /// Whether this is safe.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: other machines could reach it, and nobody said that they may, or
    /// there is no TLS.
    pub fn check(&self) -> Result<()> {
        if self.address.ip().is_loopback() {
            return Ok(());
        }
        if !self.allow_remote {
            return Err(Error::config(format!(
                "{} can be reached from other machines: pass --allow-remote, or listen on 127.0.0.1",
                self.address
            )));
        }
        if self.tls.is_none() {
            return Err(Error::config(format!(
                "{} can be reached from other machines: pass --tls-cert and --tls-key",
                self.address
            )));
        }
        Ok(())
    }
}

/// What one query, and all of them, may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a statement may run; a client may ask for less.
    pub statement_timeout: Duration,
    /// How many rows a statement may return.
    pub rows: u64,
    /// How many bytes all running statements may hold.
    pub memory: usize,
    /// How many threads queries run on.
    pub threads: usize,
    /// How many connections there may be.
    pub connections: usize,
    /// How long a client may take to log in.
    pub login: Duration,
    /// How long a connection may be silent.
    pub idle: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub stalled: Duration,
    /// How long a server that stops waits for what running queries write down at their end.
    pub ending: Duration,
}

impl Default for Limits {
    /// A minute; the 1 000 001 rows that `DirectQuery` asks for at most; half a GiB; two threads; 64 connections; 15 seconds;
    /// an hour; a minute; two seconds.
    fn default() -> Self {
        Self {
            statement_timeout: Duration::from_mins(1),
            rows: 1_000_001,
            memory: 512 << 20,
            threads: 2,
            connections: 64,
            login: Duration::from_secs(15),
            idle: Duration::from_hours(1),
            stalled: Duration::from_mins(1),
            ending: Duration::from_secs(2),
        }
    }
}

/// A server of SQL.
#[derive(Debug, Clone)]
pub struct SqlSettings {
    /// Where.
    pub listen: Listen,
    /// The database's name, which clients must give.
    pub database: String,
    /// How much.
    pub limits: Limits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_need_a_word_and_a_certificate() {
        let tls = || Some(TlsFiles { cert: "c".into(), key: "k".into() });
        let listen = |address: &str, tls, allow_remote| {
            Listen { address: address.parse().unwrap(), tls, allow_remote }.check()
        };
        assert!(listen("127.0.0.1:1", None, false).is_ok());
        assert!(listen("[::1]:1", None, false).is_ok());
        assert!(
            listen("0.0.0.0:1", tls(), false).unwrap_err().to_string().contains("--allow-remote")
        );
        assert!(listen("10.0.0.1:1", None, true).unwrap_err().to_string().contains("--tls-cert"));
        assert!(listen("10.0.0.1:1", tls(), true).is_ok());
    }
}
