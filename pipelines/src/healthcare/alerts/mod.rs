//! Alerts about patients: limits of single vitals, NEWS2, lost signals, and values that are unusual for their patient.
//!
//! [`config`] has the rules as data and [`rules`] makes of them what can be asked per row. [`readings`] says what of an
//! event they are asked about. [`patient`] is what is remembered of a patient and the decisions, purely; [`operator`] is
//! the operator around it. How an alert goes from pending to resolved is [`thalweg_operators::alert`]'s. [`command`] is
//! what people say about alerts.
//!
//! **Where in the graph**: beside validation and in front of the check for lateness; no identity comes so far. Events that
//! are not valid are seen, since what is out of a range may be somebody who is dying. Late events are seen, so that they
//! can be told from new ones by patient and rule, and each row still carries its split's watermark, by which time passes
//! for its patient: so alerts are a function of the input, whatever the batch cuts, parallelism or restarts, as long as
//! a patient's events come by one partition that does not fall idle, and nobody gives commands: those take effect where
//! time stands when they are read.

pub mod command;
pub mod config;
pub mod news2;
pub mod operator;
pub mod patient;
pub mod readings;
pub mod record;
pub mod rules;
pub mod vital;

pub use operator::PatientAlerts;
pub use record::{AlertEvent, Observation};
