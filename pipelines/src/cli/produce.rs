//! `healthcare produce`.

use std::sync::Arc;

use thalweg_core::Result;
use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;
use thalweg_runtime::cli::init_logging;

use crate::healthcare::produce::{ProduceArgs, produce};

/// Everything that is told goes to standard error.
pub(super) fn execute(args: &ProduceArgs) -> Result<()> {
    init_logging(args.quiet);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    produce(args, &clock, &mut std::io::stderr()).map(drop)
}
