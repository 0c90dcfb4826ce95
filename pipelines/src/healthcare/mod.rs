//! The healthcare pipeline: vitals as JSON in, Delta tables out.
//!
//! * bronze: every message as received, its bytes encrypted;
//! * silver: every valid event, identities masked;
//! * quarantine: every other message, with the codes that say why ([`reason`]);
//! * alerts: what somebody should know at once ([`alerts`]);
//! * gold: what happened per minute, over the events that came in time; the others are in `late/events`.
//!
//! [`commands`] carries what people say about alerts to the job. [`config`] says what can be set, [`graph`] puts it together, [`event`] turns messages into columns, [`rules`] judges
//! them. [`hospital`] simulates a hospital, [`produce`] sends its events, [`decrypt`] opens what bronze and quarantine
//! keep, [`maintain`] keeps the tables in shape, [`daily`] judges, repairs and reports a day, [`monitor`] looks at the
//! job from outside, [`dashboard`] shows what is in the tables, [`serve`] says who may see what of them. Nothing here
//! knows how a graph is executed.

pub mod alerts;
pub mod blood_pressure;
pub mod commands;
pub mod config;
pub mod daily;
pub mod dashboard;
pub mod decrypt;
pub mod event;
pub mod feed;
pub mod gold;
pub mod graph;
pub mod hospital;
mod identifiers;
pub mod keys;
pub mod maintain;
pub(crate) mod manifests;
pub mod monitor;
pub mod produce;
pub mod quarantine;
pub mod reason;
pub mod record;
pub mod rules;
pub mod serve;
pub mod topics;
mod webhook;

pub use config::HealthcareConfig;
pub use event::{DecodeCounters, HealthcareFormat};
pub use graph::{healthcare_graph, tapped_graph};
