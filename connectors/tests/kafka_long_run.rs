//! A long life of a Kafka sink in short: a transaction per checkpoint, now and then by another process, and nothing grows.
//!
//! `THALWEG_LONG_RUN=100000 cargo test --release --test kafka_long_run -- --nocapture` makes a twentieth of so many commits,
//! since each waits for two reports of the library on the one before, and prints a line per tenth.
#![cfg(all(feature = "kafka", feature = "test-util", target_os = "linux"))]

#[cfg(test)]
#[path = "kafka/job.rs"]
#[expect(dead_code, reason = "shared with the tests of single commits, which use all of it")]
mod job;
mod long_support;

#[cfg(test)]
mod long_run {
    use std::sync::Arc;

    use thalweg_connectors::testing::kafka_server::KafkaServer;
    use thalweg_core::CheckpointId;
    use thalweg_core::testing::MemoryStaging;

    use crate::job::{Job, all, known};
    use crate::long_support::{Held, Times, Turns, asked, comes_true, now};

    /// Commits until another process goes on with the job.
    const ROUND: u64 = 25;
    const ROWS: i64 = 10;
    /// Commits at the end, by turns with those of a new job.
    const TURNS: u64 = 12;

    #[test]
    fn times_memory_threads_and_descriptors_of_exactly_once_commits_stay_flat() {
        let Some(kafka) = KafkaServer::shared() else { return };
        let commits = asked().map_or(120, |asked| (asked / 20).max(120));
        let mut job = Job::begin(kafka, 2);
        let (mut samples, mut times, begun) = (Vec::new(), Vec::new(), now());
        for n in 1..=commits {
            let first = (n as i64 - 1) * ROWS;
            let staged = job.stage(n, first..first + ROWS);
            let begun_commit = now();
            assert!(!job.commit(&staged).unwrap().replayed);
            times.push(begun_commit.elapsed());
            if n % (commits / 10) == 0 {
                let sample = (Times::take(&mut times), Held::now());
                println!("{n} commits, {:?}: {sample:?}", begun.elapsed());
                samples.push(sample);
            }
            if n % ROUND == 0 {
                job = job.copy();
                // What was committed leaves the checkpoints.
                job.staging = Arc::new(MemoryStaging::default());
            }
        }
        let ((early_times, early), (last_times, last)) = (samples[1], samples[samples.len() - 1]);
        last_times.assert_as_short_as(early_times);
        last.assert_resident_as_at(early);
        // The sessions of the processes before have gone, and brokers close their ends a moment later.
        let is_as_before = |held: Held| {
            held.descriptors < early.descriptors + 32 && held.threads < early.threads + 16
        };
        assert!(comes_true(|| is_as_before(Held::now())), "{early:?} became {:?}", Held::now());

        // The first of a session takes longer.
        let (fresh, mut turns) = (Job::begin(kafka, 2), Turns::default());
        for turn in 0..=TURNS {
            for (job, n, times) in
                [(&job, commits + turn, &mut turns.old), (&fresh, turn, &mut turns.new)]
            {
                let staged = job.stage(n + 1, n as i64 * ROWS..(n as i64 + 1) * ROWS);
                let begun_commit = now();
                assert!(!job.commit(&staged).unwrap().replayed);
                if turn > 0 {
                    times.push(begun_commit.elapsed());
                }
            }
        }
        turns.assert_as_short();
        let commits = commits + TURNS + 1;
        assert_eq!(job.copy().open(&known(commits)).unwrap().txn, Some(CheckpointId(commits)));
        assert_eq!(job.read("read_committed"), all(0..commits as i64 * ROWS));
    }
}
