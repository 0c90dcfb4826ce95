//! `healthcare produce`.

use std::sync::Arc;

use thalweg_core::Result;
use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

use crate::healthcare::produce::{ProduceArgs, produce};

/// Everything that is told goes to standard error.
pub(super) fn execute(args: &ProduceArgs) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    produce(args, &clock, &mut std::io::stderr()).map(drop)
}
