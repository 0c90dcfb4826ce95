//! What every pipeline's binary offers on its command line: `run`, `graph`, `checkpoints`.

mod args;
mod checkpoints;
mod end;
mod logging;
mod progress;
mod repair;
mod run;
mod signals;

pub use args::{GraphArgs, GraphFormat, RunArgs};
pub use checkpoints::{CheckpointsArgs, CheckpointsCommand};
pub use end::report_error;
pub use logging::init_logging;
pub use run::run_job;
pub use signals::Signals;
