//! A graph that is not the one of its checkpoint: what is refused, what is gone on with, and that neither loses a row.

use std::sync::Arc;
use std::time::Duration;

use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::prelude::*;
use thalweg_core::record::ColumnName;
use thalweg_operators::{Project, REJECTED, Validate};
use thalweg_runtime::cli::CheckpointsCommand;
use thalweg_runtime::{JobBuilder, Settings};

use super::world::{Death, Drawing, Reading, USUAL, World, run, settings, source};

const ROWS: i64 = 2_000;

/// What a job says that is refused, in one line.
fn refused(world: &World, drawing: Drawing) -> Error {
    let refused = run(world.drawn(drawing, source(ROWS))).unwrap_err();
    assert_eq!(refused.to_string().lines().count(), 1, "{refused}");
    refused
}

#[test]
fn a_sink_renamed_with_a_commit_pending_is_refused_and_nothing_is_lost() {
    let calm = World::calm(ROWS);
    for adopted in [false, true] {
        let world = World::new();
        run(world.job(source(ROWS)).events(Some(1_000))).unwrap();
        let last = world.newest().next();
        assert!(run(world.mortal(Death::Behind(last), source(ROWS)).events(Some(2_000))).is_err());
        assert_eq!((world.newest(), world.store.rows("all")), (last, 1_000));
        assert!(world.manifest(last).pending.iter().any(|p| p.sink == "all"));

        let renamed = Drawing { all: "everything", ..USUAL };
        let told = refused(&world, renamed);
        assert_eq!(told.kind(), ErrorKind::InvalidConfig, "{told}");
        let text = told.to_string();
        assert!(text.contains("everything") && text.contains("--adopt-tables"), "{told}");
        // What was decided is committed all the same, under the name that decided it (P11). Nothing else was done.
        assert_eq!((world.newest(), world.store.rows("all")), (last, 2_000));

        let drawing = if adopted { renamed } else { USUAL };
        let job = world.drawn(drawing, source(ROWS)).adopt_tables(adopted);
        assert!(run(job).unwrap().finished);
        world.assert_same(&calm);
        // Rows of a table that was adopted count, too.
        world.verify(source(ROWS));
    }
}

#[test]
fn a_graph_that_does_not_fit_its_checkpoint_is_refused_until_it_does() {
    let calm = World::calm(ROWS);
    let world = World::new();
    run(world.job(source(ROWS)).events(Some(1_000))).unwrap();
    let head = world.newest();
    let cases = [
        (Drawing { readings: "measurements", ..USUAL }, "holds state of node `readings`"),
        (Drawing { per_minute: "by-minute", ..USUAL }, "holds state of node `per-minute"),
        (Drawing { key_groups: 64, ..USUAL }, "has 128 key groups, the graph 64"),
        (Drawing { more: true, ..USUAL }, "does not know source `more`"),
    ];
    for (drawing, says) in cases {
        let told = refused(&world, drawing);
        assert_eq!(told.kind(), ErrorKind::IncompatibleState, "{told}");
        assert!(told.to_string().contains(says), "{told}");
    }
    assert_eq!(world.newest(), head, "nothing was decided");
    assert!(run(world.job(source(ROWS))).unwrap().finished);
    world.assert_same(&calm);
    world.verify(source(ROWS));
}

/// Passes readings on and remembers whose there were.
#[derive(Debug, Clone)]
struct Remember;

const SEEN: ValueStateDescriptor<bool> = ValueStateDescriptor::new("seen");

impl KeyedOperator for Remember {
    type In = Reading;
    type Out = Reading;

    fn process(
        &mut self,
        batch: Batch<Reading>,
        context: &KeyedContext,
        out: &mut Collector,
    ) -> Result<()> {
        let seen = context.value_state(&SEEN);
        for key in context.keys() {
            seen.put(key, true)?;
        }
        out.emit(batch.into_record_batch());
        Ok(())
    }
}

/// A job with state by ward or by patient; `changed` in what may change: an operator without state in front of the one
/// with state, parallelism, and a sink more.
fn remembering(world: &World, by: &'static str, changed: bool) -> JobBuilder {
    let env = StreamEnvironment::new("remembering");
    let mut readings = env.source::<Reading>("readings", source(ROWS));
    if changed {
        readings = readings.apply("columns", Project::to::<Reading>());
    }
    let passed = readings.key_by(ColumnName(by)).process("remember", Remember);
    passed.sink("all", world.store.sink("all"));
    if changed {
        passed.sink("copy", world.store.sink("copy"));
    }
    let (graph, storage) = (env.build().unwrap(), Arc::clone(&world.storage));
    let parallelism = if changed { 3 } else { 2 };
    JobBuilder::new(graph, storage as _, Arc::clone(&world.key))
        .settings(Settings { parallelism, ..settings() })
}

#[test]
fn state_by_one_column_is_not_gone_on_with_by_another() {
    let world = World::new();
    run(remembering(&world, "ward", false).events(Some(1_000))).unwrap();
    let head = world.newest();
    for changed in [false, true] {
        let told = run(remembering(&world, "patient", changed)).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::IncompatibleState, "{told}");
        let says =
            r#"state of node `remember` by ["ward"], and the graph groups its rows by ["patient"]"#;
        assert!(told.to_string().contains(says), "{told}");
    }
    assert_eq!(world.newest(), head, "nothing was decided");
    assert!(run(remembering(&world, "ward", true)).unwrap().finished);
    assert_eq!((world.store.rows("all"), world.store.rows("copy")), (6_000, 5_000));
}

#[test]
fn a_sink_that_is_added_begins_with_what_comes_and_one_that_is_removed_is_forgotten() {
    let calm = World::calm(ROWS);
    let world = World::new();
    run(world.job(source(ROWS)).events(Some(1_000))).unwrap();
    let with_copy = Drawing { copy: true, ..USUAL };
    run(world.drawn(with_copy, source(ROWS)).events(Some(2_500))).unwrap();
    assert_eq!(world.store.rows("copy"), 1_500);
    assert!(run(world.job(source(ROWS))).unwrap().finished);
    assert_eq!(world.store.rows("copy"), 1_500);
    world.assert_same(&calm);
    world.verify(source(ROWS));
}

#[test]
fn a_sink_that_comes_back_goes_on_with_the_rows_that_it_had() {
    let world = World::new();
    let with_copy = Drawing { copy: true, ..USUAL };
    run(world.drawn(with_copy, source(ROWS)).events(Some(1_000))).unwrap();
    run(world.job(source(ROWS)).events(Some(2_500))).unwrap();
    assert!(run(world.drawn(with_copy, source(ROWS))).unwrap().finished);
    assert_eq!(world.store.rows("all"), 6_000);
    assert_eq!(world.store.rows("copy"), 6_000 - 1_500);
    world.verify(source(ROWS));
}

/// Of sinks by uid, store and path one is refused because of another.
fn assert_refused(sinks: &[(&str, &MemoryStore, &str)], node: &str, because_of: &str) {
    let env = StreamEnvironment::new("refused");
    let readings = env.source::<Reading>("readings", MemorySource::new(Reading::schema()));
    for (uid, store, path) in sinks {
        readings.sink(uid, store.sink(path));
    }
    let told = env.build().unwrap_err();
    assert_eq!(told.problems().len(), 1, "{told}");
    let (text, node) = (told.to_string(), format!("node `{node}`"));
    assert!(text.contains(&node) && text.contains(&format!("sink `{because_of}`")), "{text}");
}

#[test]
fn two_sinks_of_one_table_do_not_build() {
    let store = MemoryStore::default();
    let sinks = [("one", &store, "all"), ("two", &store, "other"), ("three", &store, "all")];
    assert_refused(&sinks, "three", "one");
}

#[test]
fn a_sink_inside_of_another_sinks_table_does_not_build() {
    let store = MemoryStore::default();
    let sinks = [
        ("late", &store, "events/late/rows"),
        ("all", &store, "events"),
        ("beside", &store, "events-late"),
        ("other", &store, "other/events"),
    ];
    assert_refused(&sinks, "late", "all");
}

#[test]
fn rows_of_which_only_a_side_output_is_read_do_not_build() {
    let store = MemoryStore::default();
    for is_read in [true, false] {
        let env = StreamEnvironment::new("refused");
        let readings = env.source::<Reading>("readings", MemorySource::new(Reading::schema()));
        let known = Validate::new().required("ward", "ward.missing");
        let valid = readings.apply("known", known);
        valid.side_output(&REJECTED).sink("rejected", store.sink("rejected"));
        if is_read {
            valid.sink("all", store.sink("all"));
            assert!(env.build().is_ok());
        } else {
            let told = env.build().unwrap_err().to_string();
            assert!(told.contains("node `known`: nothing consumes its rows"), "{told}");
        }
    }
}

#[test]
fn two_committers_of_one_kind_do_not_build() {
    let (here, there) = (MemoryStore::default(), MemoryStore::default());
    let sinks = [("one", &here, "all"), ("two", &here, "other"), ("three", &there, "all-there")];
    assert_refused(&sinks, "three", "one");
}

#[test]
fn a_sink_taken_out_of_the_graph_may_lose_its_target_when_nothing_is_owed_to_it() {
    let calm = World::calm(ROWS);
    let world = World::new();
    let with_copy = Drawing { copy: true, ..USUAL };
    run(world.drawn(with_copy, source(ROWS)).events(Some(1_000))).unwrap();
    // Nothing more may be read: another checkpoint, without rows.
    run(world.drawn(with_copy, source(ROWS)).events(Some(1_000))).unwrap();
    assert!(world.manifest(world.newest()).pending.is_empty());
    assert!(world.store.remove("copy"));
    let told = run(world.drawn(with_copy, source(ROWS))).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::DataLoss, "{told}");
    assert!(run(world.job(source(ROWS))).unwrap().finished);
    world.assert_same(&calm);
    world.verify(source(ROWS));
}

#[test]
fn a_fresh_chain_gets_past_a_target_that_is_gone_with_its_sink_or_without() {
    for still_there in [true, false] {
        let world = World::new();
        let with_copy = Drawing { copy: true, ..USUAL };
        run(world.drawn(with_copy, source(ROWS)).events(Some(1_000))).unwrap();
        assert!(world.store.remove("copy"));
        let drawing = if still_there { with_copy } else { USUAL };
        let told = run(world.drawn(drawing, source(ROWS))).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::DataLoss, "{told}");
        assert!(run(world.drawn(drawing, source(ROWS)).fresh(true)).unwrap().finished);
        assert_eq!(world.store.rows("all"), 1_000 + 3 * ROWS as u64);
        assert_eq!(world.store.rows("copy"), if still_there { 3 * ROWS as u64 } else { 0 });
    }
}

#[test]
fn the_last_sink_of_its_kind_may_go_before_a_rewind() {
    let world = World::new();
    let lake = tempfile::tempdir().unwrap();
    let tables = Arc::new(DeltaCommitter::new(lake.path()).unwrap());
    let job = |with_table: bool| {
        let env = StreamEnvironment::new("kinds");
        let readings = env.source::<Reading>("readings", source(ROWS));
        readings.sink("all", world.store.sink("all"));
        if with_table {
            readings.sink("table", DeltaSink::append(&tables, "table"));
        }
        let (graph, storage) = (env.build().unwrap(), Arc::clone(&world.storage));
        // One checkpoint has all that is read.
        let once = Settings { checkpoint_interval: Duration::from_mins(1), ..settings() };
        JobBuilder::new(graph, storage as _, Arc::clone(&world.key)).settings(once)
    };
    run(job(true).events(Some(1_000))).unwrap();
    let back = world.newest();
    // Nothing more may be read: another checkpoint, without rows.
    run(job(true).events(Some(1_000))).unwrap();
    assert!(world.newest() > back && world.manifest(world.newest()).pending.is_empty());
    let kind = "this program has no sink of kind `delta`";
    let told = CheckpointsCommand::Verify.act(job(false)).unwrap();
    assert!(told.contains(&format!("table is not counted: {kind}")), "{told}");
    let told = CheckpointsCommand::Rewind { to: back.0 }.act(job(false)).unwrap();
    assert!(told.contains(&format!("  table  keeps them: {kind}")), "{told}");
    let told = CheckpointsCommand::Verify.act(job(false)).unwrap();
    assert!(told.contains("as they should be"), "{told}");
    assert!(run(job(false)).unwrap().finished);
    assert_eq!(world.store.rows("all"), 3 * ROWS as u64);
}
