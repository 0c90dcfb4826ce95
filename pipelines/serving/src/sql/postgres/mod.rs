//! The server.
//!
//! A connection (`connection.rs`, its bytes in `wire.rs`) waits outside (`outside.rs`), comes in with TLS and SCRAM
//! (`login.rs`, `scram.rs`) and becomes a session (`session.rs`), which has a role and settings (`settings.rs`,
//! `functions.rs`) and keeps statements (`held.rs`, `prepared.rs`). Each statement is taken apart (`tokens.rs`), made
//! plannable where clients expect more than `DataFusion` plans (`keys.rs`, `lookups.rs` with `empty.rs` and `arrays.rs`,
//! `names.rs`, `booleans.rs`; functions in `constants.rs` and `formats.rs`) or something else (`operators.rs`, `zones.rs`,
//! `times.rs`, `templates.rs`), weighed (`weight.rs`), sorted (`statement.rs`), given its parameters (`declared.rs`,
//! `parameters.rs`), planned over the newest versions of the tables that the role may see (`engine.rs`, `query.rs`,
//! `tables.rs`), and run within bounds of time, rows and memory on threads of its own (`run.rs`, `rows.rs`), for as
//! many rows as are asked for (`demand.rs`), at once or by a cursor (`cursors.rs`). The two ways of asking
//! (`service.rs`) have one answer (`answer.rs`). What does not only read is refused.

mod answer;
mod arrays;
mod booleans;
mod connection;
mod constants;
mod cursors;
mod declared;
mod demand;
mod empty;
mod engine;
mod failure;
mod formats;
mod functions;
mod held;
mod information;
mod keys;
mod login;
mod lookups;
mod names;
mod operators;
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
mod templates;
mod times;
mod tls;
mod tokens;
mod weight;
mod wire;
mod zones;

pub use server::SqlServer;

/// Where all tables are for queries.
const SCHEMA: &str = "public";
