//! The server.
//!
//! A connection (`connection.rs`, its bytes in `wire.rs`) waits outside (`outside.rs`), comes in with TLS and SCRAM
//! (`login.rs`, `scram.rs`) and becomes a session (`session.rs`), which has a role and settings (`settings.rs`,
//! `functions.rs`) and keeps statements (`held.rs`, `prepared.rs`). Each statement is taken apart (`tokens.rs`), made
//! plannable where clients expect more than `DataFusion` plans, or something else (`dialect/`), weighed (`weight.rs`),
//! sorted (`statement.rs`), given its parameters (`declared.rs`, `parameters.rs`), planned over the newest versions of
//! the tables that the role may see (`engine.rs`, `query.rs`, `tables.rs`, `limited.rs`), and run within bounds of time, rows and
//! memory (`growth.rs`) on threads of its own (`run.rs`, `rows.rs`), for as many rows as are asked for (`demand.rs`),
//! at once or by a cursor (`cursors.rs`). The two ways of asking (`service.rs`) have one answer (`answer.rs`). What
//! does not only read is refused.

mod answer;
mod connection;
mod cursors;
mod declared;
mod demand;
mod dialect;
mod engine;
mod failure;
mod functions;
mod growth;
mod held;
mod information;
mod limited;
mod login;
mod outside;
mod parameters;
mod prepared;
mod query;
mod roles;
mod rows;
mod run;
mod scram;
mod server;
mod service;
mod session;
mod settings;
mod statement;
mod system;
mod tables;
mod tls;
mod tokens;
mod weight;
mod wire;

pub use server::SqlServer;

/// Where all tables are for queries.
const SCHEMA: &str = "public";
