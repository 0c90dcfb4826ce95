//! Late rows where nobody keeps them: they are in no window, and there is a count of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_connectors::memory::MemorySource;
use thalweg_core::operator::LeftOut;
use thalweg_core::prelude::*;
use thalweg_runtime::JobMetrics;

use super::world::{Reading, World, readings, run, source};

#[test]
fn late_rows_that_a_window_leaves_out_are_counted() {
    let world = World::new();
    // Seconds 0 to 199, then the first ten of them again: their minute has closed by then.
    let batches = [readings(0, 0, 200), readings(0, 0, 10)];
    let late = MemorySource::new(Reading::schema()).split("a", batches);
    let metrics = Arc::new(JobMetrics::default());
    let summary = run(world.job(late).metrics(Arc::clone(&metrics))).unwrap();
    assert!(summary.finished);
    assert_eq!(world.store.rows("all"), 210);
    let late = LeftOut { late: 10, ..LeftOut::default() };
    assert_eq!(summary.left_out, BTreeMap::from([("per-minute-partial".to_owned(), late)]));
    assert_eq!(metrics.left_out(), summary.left_out);

    let calm = run(World::new().job(source(500))).unwrap();
    assert!(calm.left_out.is_empty(), "{calm:?}");
}
