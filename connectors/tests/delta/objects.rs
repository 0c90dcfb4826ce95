//! Tables on object stores: the same commits, over requests that break, hang or arrive late.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::{Array, BinaryArray, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use thalweg_connectors::delta::{DeltaCommitter, DeltaSink, read_table};
use thalweg_core::connector::sink::{
    Committed, Committer, PendingCommit, Sink, Staged, TargetExpectation,
};
use thalweg_core::{CheckpointId, ErrorKind, Result};
use thalweg_objects::testing::{Emulator, Fault, Store};
use thalweg_objects::{Access, Place, Remote};

use crate::support::faults::Plan;
use crate::support::{self, APP, TABLE, decided};

struct Lake {
    place: Remote,
    access: Access,
    committer: Arc<DeltaCommitter>,
    id: String,
}

impl Lake {
    async fn new(
        place: Remote,
        access: Access,
        with: impl FnOnce(DeltaCommitter) -> DeltaCommitter,
    ) -> Self {
        let committer = DeltaCommitter::at(&Place::Remote(place.clone()), &access).unwrap();
        let committer = Arc::new(with(committer));
        let mut lake = Self { place, access, committer, id: String::new() };
        lake.id = lake.open(&TargetExpectation::default()).await.unwrap();
        lake
    }

    async fn on(emulator: &Emulator) -> Self {
        Self::new(emulator.place("lake"), emulator.access(), |c| c).await
    }

    async fn open(&self, expected: &TargetExpectation) -> Result<String> {
        let target = self.sink().target(&support::schema()).unwrap();
        Ok(self.committer.open(&target, APP, expected, false).await?.id)
    }

    fn sink(&self) -> DeltaSink {
        DeltaSink::append(&self.committer, TABLE)
    }

    /// Another instance on the same table.
    fn again(&self) -> Self {
        let committer = DeltaCommitter::at(&Place::Remote(self.place.clone()), &self.access);
        Self {
            place: self.place.clone(),
            access: self.access.clone(),
            committer: Arc::new(committer.unwrap()),
            id: self.id.clone(),
        }
    }

    fn pending(&self, n: u64, staged: Staged) -> PendingCommit {
        support::pending(&self.id, n, staged)
    }

    async fn stage(&self, ids: std::ops::Range<i64>) -> Staged {
        support::stage(&self.sink(), ids).await
    }

    async fn append(&self, n: u64, ids: std::ops::Range<i64>) -> Result<Committed> {
        let staged = self.stage(ids).await;
        self.committer.commit(&self.pending(n, staged), &decided()).await
    }

    /// Every id in the table, ascending, by the reader of tools.
    async fn ids(&self) -> Vec<i64> {
        let (place, access) = (Place::Remote(self.place.clone()), self.access.clone());
        let read = move || {
            let mut ids = Vec::new();
            let visit = |batch: RecordBatch| {
                let column = batch.column_by_name("id").unwrap();
                ids.extend(column.as_any().downcast_ref::<Int64Array>().unwrap().values());
                Ok(())
            };
            read_table(&place, &access, TABLE, &["id"], visit).unwrap();
            ids.sort_unstable();
            ids
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }
}

/// Runs `test` on each of these stores, side by side.
fn on_each(stores: &[Store], test: impl AsyncFn(&Emulator) + Sync) {
    Emulator::on_each(stores, move |emulator| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(test(emulator));
    });
}

#[test]
fn commits_on_every_store_cost_no_listing_and_a_new_instance_goes_on() {
    on_each(&Store::ALL, async |emulator| {
        let plan = Plan::new();
        let with = |committer: DeltaCommitter| plan.apply()(committer).checkpoint_every(4);
        let lake = Lake::new(emulator.place("lake"), emulator.access(), with).await;
        lake.append(1, 0..10).await.unwrap();
        let lists = plan.lists.load(Ordering::Relaxed);
        for n in 2..4 {
            let committed = lake.append(n, n as i64 * 10 - 10..n as i64 * 10).await.unwrap();
            assert_eq!((committed.version, committed.replayed), (n, false));
        }
        assert_eq!(plan.lists.load(Ordering::Relaxed), lists, "{}", lake.place);
        // The fourth writes a log checkpoint; whoever opens the table then reads it.
        lake.append(4, 30..40).await.unwrap();
        lake.committer.maintained().await;
        let store = lake.place.open(&lake.access).unwrap();
        let hint = format!("{}/{TABLE}/_delta_log/_last_checkpoint", lake.place.prefix());
        assert!(store.head(&Path::from(hint)).await.is_ok(), "{}", lake.place);

        let again = lake.again();
        let replayed =
            again.committer.commit(&again.pending(4, again.stage(30..40).await), &decided()).await;
        assert!(replayed.unwrap().replayed);
        again.append(5, 40..50).await.unwrap();
        assert_eq!(lake.ids().await, (0..50).collect::<Vec<_>>(), "{}", lake.place);
        assert_eq!(lake.committer.count_rows(TABLE).await.unwrap(), Some(50));
        let late = lake.append(3, 0..1).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Fenced);
    });
}

#[test]
fn an_entry_of_others_is_never_overwritten() {
    let entry = r#"{"commitInfo":{"operation":"SOMETHING","timestamp":1}}"#;
    on_each(&Store::SERVICES, async |emulator| {
        let lake = Lake::on(emulator).await;
        lake.append(1, 0..10).await.unwrap();
        let store = lake.place.open(&lake.access).unwrap();
        let log = format!("{}/{TABLE}/_delta_log", lake.place.prefix());
        let theirs = Path::from(format!("{log}/{:020}.json", 2));
        store.put(&theirs, entry.into()).await.unwrap();
        assert_eq!(lake.append(2, 10..20).await.unwrap().version, 3, "{}", lake.place);
        assert_eq!(store.get(&theirs).await.unwrap().bytes().await.unwrap(), entry);
        assert_eq!(lake.ids().await, (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn whatever_happens_to_the_request_of_an_entry_it_is_committed_once() {
    on_each(&Store::SERVICES, async |emulator| {
        let lake = Lake::on(emulator).await;
        let faults = [
            &[Fault::LoseAnswer][..],
            &[Fault::FailAfter],
            &[Fault::FailAfter, Fault::LoseAnswer],
            &[Fault::Answer(503), Fault::Answer(500)],
            &[Fault::Answer(409)],
            &[Fault::Answer(409), Fault::Answer(409), Fault::LoseAnswer],
        ];
        let mut n = 0;
        for faults in faults {
            n += 1;
            for fault in faults {
                emulator.proxy().next("PUT", &format!("_delta_log/{n:020}.json"), *fault);
            }
            let committed = lake.append(n, n as i64 * 10 - 10..n as i64 * 10).await.unwrap();
            assert_eq!(committed.version, n, "{faults:?}");
        }
        assert_eq!(emulator.proxy().met(), 10);
        assert_eq!(lake.ids().await, (0..n as i64 * 10).collect::<Vec<_>>());
    });
}

#[test]
fn a_commit_that_hangs_ends_is_read_and_tried_again() {
    on_each(&Store::SERVICES, async |emulator| {
        let proxy = emulator.proxy();
        let access = emulator.access().request_timeout(Duration::from_secs(3));
        let lake = Lake::new(emulator.place("lake"), access, |c| c).await;
        // Never done; done after we have looked; and one that never works.
        proxy.next("PUT", "_delta_log/00000000000000000001.json", Fault::Hang);
        lake.append(1, 0..10).await.unwrap();
        proxy.next("PUT", "_delta_log/00000000000000000002.json", Fault::Late);
        lake.append(2, 10..20).await.unwrap();
        proxy.release();
        support::wait_until(Duration::from_mins(1), || proxy.late() > 0).await;
        assert_eq!(lake.ids().await, (0..20).collect::<Vec<_>>());

        let lake = Lake { access: lake.access.clone().retry_for(Duration::ZERO), ..lake }.again();
        for _ in 0..10 {
            proxy.next("PUT", "_delta_log/00000000000000000003.json", Fault::Answer(503));
        }
        let error = lake.append(3, 20..30).await.unwrap_err();
        assert!(error.kind().is_retryable(), "{error}");
        assert!(error.to_string().contains("cannot create log entry 3"), "{error}");
    });
}

#[test]
fn reads_and_data_files_survive_broken_requests_and_a_missing_file_is_terminal() {
    on_each(&Store::SERVICES, async |emulator| {
        let lake = Lake::on(emulator).await;
        for (method, part) in [
            ("PUT", ".parquet"),
            ("HEAD", ".parquet"),
            ("GET", ".parquet"),
            ("HEAD", "_delta_log/00000000000000000000.json"),
            ("GET", "_last_checkpoint"),
        ] {
            emulator.proxy().next(method, part, Fault::LoseAnswer);
        }
        lake.append(1, 0..10).await.unwrap();
        assert_eq!(emulator.proxy().met(), 5, "every fault was met");

        let staged = lake.stage(10..20).await;
        let name = support::add(&staged.items[0]).path;
        let store = lake.place.open(&lake.access).unwrap();
        store.delete(&lake.place.join(TABLE).join(&name).prefix()).await.unwrap();
        let gone = lake.committer.commit(&lake.pending(2, staged), &decided()).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::DataLoss);
        assert_eq!(lake.ids().await, (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn two_instances_that_commit_the_same_checkpoint_at_once_commit_it_once() {
    on_each(&Store::SERVICES, async |emulator| {
        let lake = Lake::on(emulator).await;
        for n in 1..6 {
            let staged = lake.stage(n * 10 - 10..n * 10).await;
            let pending = lake.pending(n as u64, staged);
            let (a, b) = (lake.again(), lake.again());
            let decided = decided();
            let (a, b) = tokio::join!(
                a.committer.commit(&pending, &decided),
                b.committer.commit(&pending, &decided)
            );
            assert_eq!(a.unwrap().version, b.unwrap().version);
        }
        assert_eq!(lake.ids().await, (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn a_file_of_many_parts_is_uploaded_whole() {
    let columns = Arc::new(Schema::new(vec![Field::new("payload", DataType::Binary, false)]));
    // Bytes that no encoding shortens: 32 MiB, four parts and more.
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let mut batch = || {
        let rows: Vec<Vec<u8>> = (0..4).map(|_| (0..1 << 20).map(|_| random()).collect()).collect();
        let payload = Arc::new(BinaryArray::from_iter_values(&rows));
        assert_eq!(payload.len(), 4);
        RecordBatch::try_new(Arc::clone(&columns), vec![payload]).unwrap()
    };
    let batches: Vec<RecordBatch> = (0..8).map(|_| batch()).collect();
    on_each(&Store::SERVICES, async |emulator| {
        // Parts that are many times as long as other requests, to three stores at once.
        let (long, longer) = (Duration::from_mins(2), Duration::from_mins(5));
        let access = emulator.access().request_timeout(long).retry_for(longer);
        let lake = Lake::new(emulator.place("lake"), access, |c| c).await;
        let sink = DeltaSink::append(&lake.committer, "bronze/large").uncompressed(["payload"]);
        let target = sink.target(&columns).unwrap();
        let expected = TargetExpectation::default();
        let id = lake.committer.open(&target, APP, &expected, false).await.unwrap().id;
        // S3 and GCS number the parts, Azure names its blocks.
        for part in ["partNumber=", "blockid="] {
            emulator.proxy().next("PUT", part, Fault::LoseAnswer);
            emulator.proxy().next("PUT", part, Fault::FailAfter);
        }
        let mut writer = support::writer(&sink, Arc::clone(&columns));
        for batch in &batches {
            writer.write(batch.clone()).await.unwrap();
        }
        let staged = writer.close_epoch(CheckpointId(1)).await.unwrap();
        let pending = PendingCommit {
            path: "bronze/large".to_owned(),
            target_id: id,
            ..lake.pending(1, staged)
        };
        lake.committer.commit(&pending, &decided()).await.unwrap();
        assert_eq!(lake.committer.count_rows("bronze/large").await.unwrap(), Some(32));
        assert_eq!(emulator.proxy().met(), 2);
    });
}
