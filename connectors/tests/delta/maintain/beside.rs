//! Beside other writers and stores that misbehave: whoever was first is first, and what is unclear is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use serde_json::json;
use thalweg_connectors::delta::Vacuum;
use thalweg_core::connector::sink::Committer;

use super::keeper::{NOTHING, actions, all_files, compact, files_on_disk, maintenance, troubled};
use crate::support::faults::Fault;
use crate::support::{Lake, TABLE, foreign_cleanup};

#[tokio::test(flavor = "multi_thread")]
async fn a_committing_job_and_maintenance_do_not_disturb_each_other() {
    let lake = Arc::new(Lake::with(|c| c.checkpoint_every(20), |sink| sink).await);
    // As long as it takes until files were merged beside it again and again, however slow the machine is at that.
    let merged = Arc::new(AtomicBool::new(false));
    let job = tokio::spawn({
        let (lake, merged) = (Arc::clone(&lake), Arc::clone(&merged));
        async move {
            let mut n = 0;
            while n < 150 || !merged.load(Ordering::Relaxed) {
                n += 1;
                assert!(n < 3_000, "nothing is merged beside the commits");
                let committed = lake.append(n, n as i64..n as i64 + 1).await.unwrap();
                assert!(!committed.replayed);
            }
            n
        }
    });
    // As another process would: it knows nothing of the committer.
    let (other, mut merges) = (maintenance(&lake), 0);
    while !job.is_finished() {
        let report = other.compact(TABLE, &all_files()).await.unwrap();
        merges += report.merges;
        assert_eq!(report.abandoned, 0, "appends are no conflict");
        merged.store(merges > 1, Ordering::Relaxed);
        other.checkpoint_log(TABLE).await.unwrap();
        let kept = Vacuum { retention: Duration::from_hours(1), ..Vacuum::default() };
        other.vacuum(TABLE, &kept, NOTHING).await.unwrap();
    }
    let commits: u64 = job.await.unwrap();
    println!("{merges} merges beside {commits} commits");
    assert!(merges > 1);
    let all: Vec<i64> = (1..=commits as i64).collect();
    assert_eq!(lake.ids().await, all);
    assert_eq!(lake.committer.count_rows(TABLE).await.unwrap(), Some(commits));
    compact(&lake).await;
    assert!(lake.restarted().append(commits, 0..1).await.unwrap().replayed);
    assert_eq!(lake.ids().await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn someone_who_removed_one_of_the_files_was_first() {
    let (lake, plan, faulty) = troubled().await;
    let first = actions(&lake, 1);
    let removed = first.iter().find_map(|a| a["add"]["path"].as_str()).unwrap().to_owned();
    let other = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move {
            let remove = json!({ "remove": { "path": removed, "dataChange": true, "deletionTimestamp": 1 } });
            other.foreign_entry(9, &[remove]);
        }
        .boxed()
    })));
    let report = faulty.compact(TABLE, &all_files()).await.unwrap();
    assert_eq!((report.merges, report.abandoned), (0, 1));
    assert_eq!((lake.version().await, files_on_disk(&lake)), (9, 8), "the merged file is gone");
    assert_eq!(lake.ids().await, (20..90).collect::<Vec<_>>());
    // The next run takes the table as it is now.
    assert_eq!(compact(&lake).await.merges, 1);
    assert_eq!(lake.ids().await, (20..90).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_of_others_move_the_entry_and_a_change_of_the_table_stops_it() {
    let (lake, plan, faulty) = troubled().await;
    let other = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move {
            other.append(9, 90..100).await.unwrap();
            other.foreign_entries(10..12);
        }
        .boxed()
    })));
    assert_eq!(faulty.compact(TABLE, &all_files()).await.unwrap().merges, 1);
    assert_eq!((lake.version().await, lake.ids().await), (12, (10..100).collect::<Vec<_>>()));
    let other = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move { other.foreign_change(13, |_, _| ()) }.boxed()
    })));
    let report = faulty.compact(TABLE, &all_files()).await.unwrap();
    assert_eq!((report.merges, report.abandoned), (0, 1));
    assert_eq!((lake.version().await, lake.ids().await), (13, (10..100).collect::<Vec<_>>()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_or_refused_is_read_and_decided() {
    for fault in [Fault::LoseAnswer, Fault::Refuse] {
        let (lake, plan, faulty) = troubled().await;
        plan.on_log(fault);
        let report = faulty.compact(TABLE, &all_files()).await.unwrap();
        assert_eq!((report.merges, report.files_after), (1, 1));
        assert_eq!((lake.version().await, lake.ids().await), (9, (10..90).collect::<Vec<_>>()));
    }
    let (lake, plan, faulty) = troubled().await;
    plan.on_log(Fault::DiskFull);
    let error = faulty.compact(TABLE, &all_files()).await.unwrap_err();
    assert!(error.to_string().contains("disk is full"), "{error}");
    plan.on_data(Fault::DiskFull);
    let error = faulty.compact(TABLE, &all_files()).await.unwrap_err();
    assert!(error.to_string().contains("disk is full"), "{error}");
    assert_eq!((lake.version().await, lake.ids().await), (8, (10..90).collect::<Vec<_>>()));
    assert_eq!(compact(&lake).await.merges, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_in_a_hole_that_others_have_cleaned_is_not_believed() {
    let (lake, plan, faulty) = troubled().await;
    let other = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move {
            other.foreign_entries(9..40);
            foreign_cleanup(&other.table_folder()).await;
        }
        .boxed()
    })));
    let report = faulty.compact(TABLE, &all_files()).await.unwrap();
    assert!(lake.entry(9).exists(), "it stands in the hole, and nobody reads it");
    assert_eq!((report.merges, report.abandoned, lake.version().await), (1, 0, 40));
    assert!(lake.entry(40).exists(), "what counts is behind the log checkpoint");
    assert_eq!(lake.ids().await, (10..90).collect::<Vec<_>>());
    assert_eq!(lake.table().await.snapshot().unwrap().log_data().num_files(), 1);
    assert_eq!(lake.restarted().append(9, 90..100).await.unwrap().version, 41);
    assert_eq!(lake.ids().await, (10..100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_cleaned_while_files_are_merged_is_read_anew() {
    let (lake, plan, faulty) = troubled().await;
    let other = lake.restarted();
    plan.on_data(Fault::Before(Box::new(move || {
        async move {
            other.append(9, 90..100).await.unwrap();
            other.foreign_entries(10..40);
            foreign_cleanup(&other.table_folder()).await;
        }
        .boxed()
    })));
    let report = faulty.compact(TABLE, &all_files()).await.unwrap();
    assert_eq!((report.merges, report.abandoned), (1, 0));
    assert_eq!((lake.version().await, lake.ids().await), (40, (10..100).collect::<Vec<_>>()));
}
