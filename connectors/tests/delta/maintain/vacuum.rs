//! Files and log entries go when nobody needs them, and no earlier.

use std::time::{Duration, SystemTime};

use arrow_array::RecordBatch;
use thalweg_connectors::delta::{DeltaSink, Vacuum};
use thalweg_core::ErrorKind;
use thalweg_core::connector::sink::{Committer, PendingCommit, Sink, Staged, TargetExpectation};

use super::keeper::{
    NOTHING, actions, age, at_once, compact, files_on_disk, maintenance, troubled,
};
use crate::support::{self, Lake, TABLE, schema};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_manifest_or_a_running_job_may_still_commit_is_never_removed() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    let old = |staged: &Staged| {
        for item in &staged.items {
            let path = lake.table_folder().join(support::add(item).path);
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
    };
    let (decided, lost, young) =
        (lake.stage(10..20).await, lake.stage(20..30).await, lake.stage(30..40).await);
    old(&decided);
    old(&lost);
    for half in ["part-1.snappy.parquet#1", "_delta_log/.tmp-1-1"] {
        std::fs::write(lake.table_folder().join(half), b"half").unwrap();
        let file = std::fs::File::options().write(true).open(lake.table_folder().join(half));
        file.unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    let decided = lake.pending(2, decided);
    let pending = || Ok(vec![decided.clone()]);
    let safe = Vacuum { retention: Duration::from_hours(1), ..Vacuum::default() };
    let gone = maintenance(&lake).vacuum(TABLE, &safe, &pending).await.unwrap();
    assert_eq!(gone.files, 3, "the lost one, and two that were half-written");
    // Forced, while nobody writes: only what is decided stays.
    let gone = maintenance(&lake).vacuum(TABLE, &at_once(), &pending).await.unwrap();
    assert_eq!(gone.files, young.items.len() as u64);
    assert!(!lake.committer.commit(&decided, &support::decided()).await.unwrap().replayed);
    assert_eq!(lake.ids().await, (0..20).collect::<Vec<_>>());
    // A manifest that cannot be read stops it.
    let unreadable = || Err(thalweg_core::Error::corrupt("a checkpoint manifest is damaged"));
    let error = maintenance(&lake).vacuum(TABLE, &safe, &unreadable).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_below_another_keeps_its_files_when_that_is_vacuumed() {
    let (inner, app) = ("silver/events/by/late", "job/chain/0/late");
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    let sink = DeltaSink::append(&lake.committer, inner);
    let (target, nothing) = (sink.target(&schema()).unwrap(), TargetExpectation::default());
    let id = lake.committer.open(&target, app, &nothing, false).await.unwrap().id;
    let staged = support::stage(&sink, 10..20).await;
    let pending = PendingCommit {
        path: inner.to_owned(),
        target_id: id,
        app_id: app.to_owned(),
        ..lake.pending(1, staged)
    };
    lake.committer.commit(&pending, &support::decided()).await.unwrap();
    let folder = lake.folder.path().join(inner);
    // What its writers have half-written is its own, too. What no table knows, beside it, goes.
    let half = folder.join("part-1.snappy.parquet#1");
    let lost = lake.table_folder().join("by/part-1.snappy.parquet");
    for file in [&half, &lost] {
        std::fs::write(file, b"rows").unwrap();
    }
    age(&lake.table_folder());
    let safe = Vacuum { retention: Duration::from_hours(1), ..Vacuum::default() };
    let gone = maintenance(&lake).vacuum(TABLE, &safe, NOTHING).await.unwrap();
    assert_eq!((gone.files, half.exists(), lost.exists()), (1, true, false));
    let rows = support::read_files(&support::open_table(&folder).await);
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 10);
    assert_eq!(lake.ids().await, (0..10).collect::<Vec<_>>());
    // It is vacuumed by its own name.
    assert_eq!(maintenance(&lake).vacuum(inner, &safe, NOTHING).await.unwrap().files, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_deletion_vectors_stay() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    lake.append(2, 10..20).await.unwrap();
    std::fs::create_dir(lake.table_folder().join("ab")).unwrap();
    let file = |name: &str| lake.table_folder().join(name);
    let vectors = ["deletion_vector_1.bin", "ab/deletion_vector_2.bin"].map(file);
    let lost = file("part-1.snappy.parquet");
    for file in vectors.iter().chain([&lost]) {
        std::fs::write(file, b"bytes").unwrap();
    }
    age(&lake.table_folder());
    let safe = Vacuum { retention: Duration::from_hours(1), ..Vacuum::default() };
    // The table makes use of them: nothing goes, and it is said why.
    lake.foreign_vectors(3);
    lake.foreign_deletion(4);
    let before = files_on_disk(&lake);
    for vacuum in [&safe, &at_once()] {
        let gone = maintenance(&lake).vacuum(TABLE, vacuum, NOTHING).await.unwrap();
        let why = gone.skipped.unwrap();
        assert!(why.contains(TABLE) && why.contains("deletionVectors"), "{why}");
        assert_eq!((gone.files, gone.bytes, why.lines().count()), (0, 0, 1));
        assert_eq!(files_on_disk(&lake), before);
    }
    // It does not, by what we read of it: what is no data file stays.
    for entry in [3, 4] {
        std::fs::remove_file(lake.entry(entry)).unwrap();
    }
    let gone = maintenance(&lake).vacuum(TABLE, &safe, NOTHING).await.unwrap();
    assert_eq!((gone.files, gone.skipped, lost.exists()), (1, None, false));
    assert!(vectors.iter().all(|file| file.exists()));
}

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_stay_readable_until_the_retention_is_over() {
    let (lake, _, _) = troubled().await;
    compact(&lake).await;
    let safe = Vacuum { retention: Duration::from_hours(1), ..Vacuum::default() };
    for entry in std::fs::read_dir(lake.table_folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
    }
    let gone = maintenance(&lake).vacuum(TABLE, &safe, NOTHING).await.unwrap();
    assert_eq!(gone.files, 0, "they are old, but were removed a moment ago");
    let mut table = lake.table().await;
    table.load_version(8).await.unwrap();
    assert_eq!(support::read_files(&table).iter().map(RecordBatch::num_rows).sum::<usize>(), 80);
    // The log remembers it through a log checkpoint.
    maintenance(&lake).checkpoint_log(TABLE).await.unwrap();
    assert_eq!(maintenance(&lake).vacuum(TABLE, &safe, NOTHING).await.unwrap().files, 0);
    assert_eq!(maintenance(&lake).vacuum(TABLE, &at_once(), NOTHING).await.unwrap().files, 8);
    assert_eq!(lake.ids().await, (10..90).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_that_is_not_safe_or_not_understood_is_refused() {
    let (lake, _, _) = troubled().await;
    let tables = maintenance(&lake);
    for hours in [0, 8 * 24] {
        let vacuum = Vacuum { retention: Duration::from_hours(hours), ..Vacuum::default() };
        let error = tables.vacuum(TABLE, &vacuum, NOTHING).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{hours}");
    }
    let path = actions(&lake, 3).iter().find_map(|a| a["add"]["path"].as_str().map(str::to_owned));
    let path = lake.table_folder().join(path.unwrap());
    std::fs::rename(&path, path.with_extension("elsewhere")).unwrap();
    let error = tables.vacuum(TABLE, &at_once(), NOTHING).await.unwrap_err();
    assert_eq!((error.kind(), files_on_disk(&lake)), (ErrorKind::DataLoss, 8));
    let absent = tables.vacuum("no/table", &at_once(), NOTHING).await.unwrap();
    assert_eq!(absent.files, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_checkpointed_once_per_version_and_cleaned() {
    let keep_none =
        |sink: DeltaSink| sink.configuration("delta.logRetentionDuration", "interval 0 seconds");
    let lake = Lake::with(|c| c.checkpoint_every(0), keep_none).await;
    let tables = maintenance(&lake);
    assert_eq!(tables.checkpoint_log(TABLE).await.unwrap().checkpoint, None, "nothing is in it");
    for n in 1..=10 {
        lake.append(n, n as i64..n as i64 + 1).await.unwrap();
    }
    let done = tables.checkpoint_log(TABLE).await.unwrap();
    assert_eq!((done.checkpoint, done.removed), (Some(10), 10));
    let done = tables.checkpoint_log(TABLE).await.unwrap();
    assert_eq!((done.checkpoint, done.removed), (None, 0));
    assert_eq!(lake.append(11, 11..12).await.unwrap().version, 11);
    assert_eq!(lake.ids().await, (1..=11).collect::<Vec<_>>());
}
