//! The live dashboards: what is shown, and where it comes from.
//!
//! Committed figures are read from the gold tables ([`feed`]), each checkpoint as a whole. Between two checkpoints the
//! minutes that are still open are shown from a [`tap`] behind the masks: provisional, and replaced by what is committed.
//! Neither has a part in the job: the tables are read beside it, and the tap is no state of it. While nobody looks,
//! nothing is read and nothing is counted. What somebody says about an alert ([`Answers`]) goes to the job through its
//! topic, like everybody's.
//!
//! | Section | A row | From | Table that one must be allowed to read |
//! |---|---|---|---|
//! | `kpis` | a minute | `gold/kpis`, tap | `gold_kpis` |
//! | `types` | a minute and kind of event | `gold/vitals_by_minute`, tap | `gold_vitals_by_minute` |
//! | `categories` | a minute and category of blood pressure | `gold/vitals_by_bp_category`, tap | `gold_vitals_by_bp_category` |
//! | `medications` | a minute and medication | `gold/medications`, tap | `gold_medications` |
//! | `alerts` | an alert, as it last was | `alerts/events` | `alerts_events` |
//! | `checkpoints` | a checkpoint | `meta/checkpoints` | `meta_checkpoints` |
//! | `graph`, `job` | the pipeline; its counters | the job | `meta_checkpoints` |
//!
//! A row of the first four has `t` (start of the minute, ms), `w` (its length, ms), `k` (the kind, category, medication),
//! `n` (events), `p` (patients), `live` (true while provisional), and but for medications the vitals `hr`, `sys`, `dia`,
//! `temp`, `spo2`, `rr`, each as mean, least and greatest. Rows of a patient are such rows without `k`, from
//! `gold/patient_vitals` and, for the few whose pages are open ([`tap`]), the tap.

mod alerts;
mod answers;
mod arrivals;
mod assets;
mod counts;
mod cuts;
pub mod feed;
mod followed;
mod live;
mod looks;
mod metrics;
#[cfg(test)]
mod palette;
mod patients;
mod pipeline;
mod row;
mod site;
pub mod tap;

pub use answers::Answers;
pub use pipeline::Observed;
pub use site::{Desk, site};
