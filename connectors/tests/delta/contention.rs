//! Many who commit at once: a version that somebody else took costs a step more, and never the attempt (C3).

use std::sync::atomic::Ordering;

use futures::FutureExt;
use thalweg_core::connector::sink::{Committer, PendingCommit};

use crate::support::faults::{Fault, Plan};
use crate::support::{Lake, decided};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_others_forestall_forty_times_is_made_behind_them() {
    let plan = Plan::new();
    let lake = Lake::with(plan.apply(), |sink| sink).await;
    lake.append(1, 0..10).await.unwrap();
    // Each time that we would create an entry, somebody else has it already.
    for v in 2..42 {
        let other = lake.restarted();
        plan.on_log(Fault::Before(Box::new(move || {
            async move { other.foreign_entries([v]) }.boxed()
        })));
    }
    let before = plan.entries.load(Ordering::Relaxed);
    let committed = lake.append(2, 10..20).await.unwrap();
    assert_eq!((committed.version, committed.replayed), (42, false));
    let tried = plan.entries.load(Ordering::Relaxed) - before;
    assert_eq!(tried, 41, "each version is tried once");
    assert_eq!(lake.ids().await, (0..20).collect::<Vec<_>>());
    assert_eq!(lake.append(3, 20..30).await.unwrap().version, 43);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_that_commit_to_the_same_tables_at_once_all_get_through() {
    const TABLES: usize = 2;
    const JOBS: u64 = 6;
    const EPOCHS: u64 = 5;
    let plan = Plan::new();
    let mut tables = Vec::new();
    for _ in 0..TABLES {
        tables.push(Lake::new().await);
    }
    let mut jobs = Vec::new();
    for lake in &tables {
        for job in 0..JOBS {
            let lake = lake.restarted_with(plan.apply());
            jobs.push(tokio::spawn(async move {
                for n in 1..=EPOCHS {
                    let id = (job * EPOCHS + n) as i64;
                    let staged = lake.stage(id..id + 1).await;
                    let app_id = format!("job-{job}/chain/0/silver");
                    let pending = PendingCommit { app_id, ..lake.pending(n, staged) };
                    let committed = lake.committer.commit(&pending, &decided()).await.unwrap();
                    assert!(!committed.replayed, "{committed:?}");
                }
            }));
        }
    }
    for job in jobs {
        job.await.unwrap();
    }
    let commits = JOBS * EPOCHS;
    let tried = plan.entries.load(Ordering::Relaxed);
    println!("{tried} entries were tried for {} commits", commits as usize * TABLES);
    for lake in &tables {
        assert_eq!(lake.version().await, commits, "an entry each");
        assert_eq!(lake.ids().await, (1..=commits as i64).collect::<Vec<_>>());
    }
}
