//! `healthcare produce`.

use std::sync::Arc;

use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

use super::load_config;
use super::outcome::Failure;
use crate::healthcare::produce::{ProduceArgs, produce};

/// Everything that is told goes to standard error.
pub(super) fn execute(args: &ProduceArgs) -> Result<(), Failure> {
    let mut kafka = load_config(args.config.as_deref())?.kafka;
    args.apply(&mut kafka);
    kafka.servers().map_err(Failure::Usage)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    produce(args, &kafka, &clock, &mut std::io::stderr()).map(drop).map_err(Failure::Other)
}
