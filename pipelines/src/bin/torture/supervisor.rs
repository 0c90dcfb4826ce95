//! Runs workers, and does to them what operators, clouds and colleagues do.

mod inflict;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thalweg_connectors::testing::kafka_server::{KafkaServer, unique_topic};
use thalweg_core::time::Clock;
use thalweg_core::{Error, Result, error};
use thalweg_pipelines::healthcare::graph::SILVER;
use thalweg_runtime::SystemClock;

use crate::TortureArgs;
use crate::ends::End;
use crate::faults::{Counts, Turns};
use crate::feeder::{PARTITIONS, feed};
use crate::foreign::Python;
use crate::oracle::{Evidence, dump, judge};
use crate::process::Worker;
use crate::told::{note, say};
use crate::worker::WorkerArgs;

/// How much longer a run may take for faults that did not happen in its time.
const GRACE: Duration = Duration::from_mins(10);
/// How long the last worker may take to read what is left.
const CATCH_UP: Duration = Duration::from_mins(30);

/// A prepared run.
pub(crate) struct Torture {
    args: TortureArgs,
    seed: u64,
    random: StdRng,
    kafka: Arc<KafkaServer>,
    python: Python,
    folder: PathBuf,
    topic: String,
    clock: SystemClock,
    counts: Counts,
    turns: Turns,
    /// The table that another writer compacted last.
    optimized: &'static str,
    workers: u32,
}

impl Torture {
    /// Starts what is needed.
    pub(crate) fn prepare(args: TortureArgs) -> Result<Self> {
        let seed = args.seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000_000));
        let python = Python::find()?;
        let unavailable = |e: &dyn std::fmt::Display| Error::config(e.to_string());
        let kafka =
            Arc::new(KafkaServer::start_own(args.brokers.into()).map_err(|e| unavailable(&e))?);
        let topic = unique_topic("torture");
        // The broker's clock does not jump with the workers'.
        let any_time = [("message.timestamp.after.max.ms", "9223372036854775807")];
        for name in [topic.clone(), dead_letters(&topic), alerts(&topic)] {
            kafka.create_topic(&name, PARTITIONS, &any_time).map_err(|e| unavailable(&e))?;
        }
        let folder = match &args.keep {
            Some(folder) => folder.clone(),
            None => std::env::temp_dir().join(&topic),
        };
        fs::create_dir_all(&folder).map_err(|e| error::io("create the folder", e))?;
        let (random, clock) = (StdRng::seed_from_u64(seed), SystemClock::default());
        let (counts, optimized, workers) = (Counts::default(), SILVER, 0);
        Ok(Self {
            args,
            seed,
            random,
            kafka,
            python,
            folder,
            topic,
            clock,
            counts,
            turns: Turns::default(),
            optimized,
            workers,
        })
    }

    /// Tortures for the time asked for, lets the job catch up, and judges. `false`: something is wrong.
    pub(crate) fn run(mut self) -> Result<bool> {
        note(&format!("seed {}, {} minutes", self.seed, self.args.minutes));
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let (topic, seed, rate) = (self.topic.clone(), self.seed, self.args.rate);
        // The broker is shared with the thread that feeds it.
        let kafka = Arc::clone(&self.kafka);
        let tortured = std::thread::scope(|scope| {
            scope.spawn(|| feed(&kafka, &topic, seed, rate, &stop, &sent));
            let tortured = self.torture(&kafka, &sent);
            stop.store(true, Ordering::Release);
            tortured
        });
        tortured?;
        let evidence = Evidence::below(&self.folder, &self.data(), &self.topic);
        let events = dump(&kafka, &self.topic, &evidence.input)?;
        note(&format!("{events} events in the topic; the last worker reads what is left"));
        self.catch_up(&kafka, events)?;
        for (topic, file) in [
            (self.mirror(), &evidence.mirror),
            (dead_letters(&self.topic), &evidence.dead_letters),
            (alerts(&self.topic), &evidence.alerts),
        ] {
            let unread = |e| Error::transient(format!("cannot read topic `{topic}`: {e}"));
            // By Kafka's own consumer, for which a transaction is what Kafka says it is.
            kafka.committed_to(&topic, file).map_err(unread)?;
        }
        let verdict = judge(&self.python, &evidence)?;
        let Counts { kill9, stop, broker, .. } = self.counts;
        say(&format!("seed={} {}", self.seed, self.counts));
        say(&format!(
            "events={events} kill9={kill9} stop={stop} broker={broker} writer={} lost {} duplicated {}",
            self.counts.writer(),
            verdict.lost,
            verdict.duplicated
        ));
        let exact = verdict.lost == 0 && verdict.duplicated == 0;
        if !self.counts.is_torture() {
            note("not every kind of fault happened: run longer");
        }
        if exact && self.args.keep.is_none() {
            fs::remove_dir_all(&self.folder).map_err(|e| error::io("clean up", e))?;
        } else {
            note(&format!("tables, messages and logs are in {}", self.folder.display()));
        }
        Ok(exact && self.counts.is_torture() && events > 0)
    }

    fn torture(&mut self, kafka: &KafkaServer, sent: &AtomicU64) -> Result<()> {
        let length = Duration::from_secs_f64(self.args.minutes * 60.0);
        let begun = self.clock.monotonic();
        let mut worker = self.start(kafka, None, None)?;
        loop {
            let passed = self.clock.monotonic().saturating_sub(begun);
            // However short the run, each fault has its turn.
            if passed >= length && (self.counts.is_torture() || passed >= length + GRACE) {
                break;
            }
            self.pause(300..3_000);
            let fault = self.turns.next(&self.counts, &mut self.random);
            note(&format!("{fault:?} after {} events", sent.load(Ordering::Relaxed)));
            worker = self.inflict(fault, worker, kafka)?;
            worker = self.revived(worker, kafka)?;
        }
        self.kill(&mut worker).map(drop)
    }

    /// Reads everything that is left and flushes it.
    fn catch_up(&mut self, kafka: &KafkaServer, events: u64) -> Result<()> {
        let begun = self.clock.monotonic();
        let arguments = WorkerArgs { events: Some(events), ..self.arguments(kafka) };
        let mut worker = self.spawn(&arguments)?;
        while self.clock.monotonic().saturating_sub(begun) < CATCH_UP {
            match worker.ended()? {
                // A panic that it recovered from is one.
                Some(End::Finished) => return worker.judge(None),
                Some(end) => return worker.judge(Some(end)),
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        Err(Error::internal("the last worker did not catch up"))
    }

    fn start(
        &mut self,
        kafka: &KafkaServer,
        full: Option<u64>,
        clock: Option<i64>,
    ) -> Result<Worker> {
        let arguments =
            WorkerArgs { full_every: full, clock_jumps: clock, ..self.arguments(kafka) };
        self.spawn(&arguments)
    }

    /// Beside a worker that runs or sleeps: its lock is only a courtesy, so it is taken away.
    fn start_beside(&mut self, worker: &mut Worker, kafka: &KafkaServer) -> Result<Worker> {
        match fs::remove_file(self.data().join("checkpoints/.lock")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(error::io("remove the lock", e));
            }
            _ => {}
        }
        let mut rival = self.start(kafka, None, None)?;
        worker.met.rival = true;
        rival.met.rival = true;
        Ok(rival)
    }

    fn arguments(&mut self, kafka: &KafkaServer) -> WorkerArgs {
        WorkerArgs {
            servers: kafka.bootstrap_servers().to_owned(),
            topic: self.topic.clone(),
            mirror: self.mirror(),
            dead_letters: dead_letters(&self.topic),
            alerts: alerts(&self.topic),
            data_dir: self.data(),
            events: None,
            parallelism: self.random.random_range(1..4),
            full_every: None,
            clock_jumps: None,
            keep_files: false,
        }
    }

    fn spawn(&mut self, arguments: &WorkerArgs) -> Result<Worker> {
        self.workers += 1;
        let log = self.folder.join(format!("worker-{:04}.log", self.workers));
        Worker::start(arguments, log)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn mirror(&self) -> String {
        format!("{}-mirror", self.topic)
    }

    fn pause(&mut self, millis: std::ops::Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.random.random_range(millis)));
    }
}

// The oracle knows what topics are called, too.

fn dead_letters(topic: &str) -> String {
    format!("{topic}-dead-letters")
}

fn alerts(topic: &str) -> String {
    format!("{topic}-alerts")
}
