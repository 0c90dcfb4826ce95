//! Runs workers, and does to them what operators, clouds and colleagues do.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thalweg_connectors::testing::kafka_server::{KafkaServer, unique_topic};
use thalweg_core::time::Clock;
use thalweg_core::{Error, Result, error};
use thalweg_runtime::SystemClock;

use crate::TortureArgs;
use crate::faults::{Counts, Fault};
use crate::feeder::{PARTITIONS, feed};
use crate::foreign::Python;
use crate::oracle::{dump, judge};
use crate::told::{note, say};
use crate::worker::WorkerArgs;

/// Tables that another writer changes.
const DISTURBED: [&str; 4] =
    ["silver/events", "bronze/events", "gold/patient_vitals", "quarantine/events"];
/// How long a worker may take to see that another owns its job.
const FENCE: Duration = Duration::from_mins(1);
/// How long the last worker may take to read what is left.
const CATCH_UP: Duration = Duration::from_mins(10);

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
    workers: u32,
}

impl Torture {
    /// Starts what is needed.
    pub(crate) fn prepare(args: TortureArgs) -> Result<Self> {
        let seed = args.seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000_000));
        let python = Python::find()?;
        let unavailable = |e: &dyn std::fmt::Display| Error::config(e.to_string());
        let kafka = Arc::new(KafkaServer::start_own(1).map_err(|e| unavailable(&e))?);
        let topic = unique_topic("torture");
        kafka.create_topic(&topic, PARTITIONS, &[]).map_err(|e| unavailable(&e))?;
        let folder = match &args.keep {
            Some(folder) => folder.clone(),
            None => std::env::temp_dir().join(&topic),
        };
        fs::create_dir_all(&folder).map_err(|e| error::io("create the folder", e))?;
        let (random, clock) = (StdRng::seed_from_u64(seed), SystemClock::default());
        let counts = Counts::default();
        Ok(Self { args, seed, random, kafka, python, folder, topic, clock, counts, workers: 0 })
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
        let (input, mirror) = (self.folder.join("input"), self.folder.join("mirror"));
        let events = dump(&kafka, &self.topic, &input)?;
        note(&format!("{events} events in the topic; the last worker reads what is left"));
        self.catch_up(&kafka, events)?;
        dump(&kafka, &self.mirror(), &mirror)?;
        let verdict = judge(&self.python, &self.data(), &input, &mirror)?;
        let Counts { kill9, stop, copies, broker, writer, disk, clock, fenced } = self.counts;
        say(&format!(
            "seed={} copies={copies} fenced={fenced} disk={disk} clock={clock}",
            self.seed
        ));
        say(&format!(
            "events={events} kill9={kill9} stop={stop} broker={broker} writer={writer} lost {} duplicated {}",
            verdict.lost, verdict.duplicated
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
        let mut number = 0;
        while self.clock.monotonic().saturating_sub(begun) < length {
            self.pause(300..3_000);
            let fault = Fault::next(number, &mut self.random);
            number += 1;
            note(&format!("{fault:?} after {} events", sent.load(Ordering::Relaxed)));
            worker = self.inflict(fault, worker, kafka)?;
        }
        kill(&mut worker)
    }

    /// The worker that runs afterwards.
    fn inflict(&mut self, fault: Fault, mut worker: Child, kafka: &KafkaServer) -> Result<Child> {
        match fault {
            Fault::Kill9 => {
                self.counts.kill9 += 1;
                kill(&mut worker)?;
                self.start(kafka, None, None)
            }
            Fault::Zombie => {
                signal(&worker, "-STOP")?;
                self.counts.stop += 1;
                let owner = self.start_beside(kafka)?;
                self.pause(1_000..5_000);
                signal(&worker, "-CONT")?;
                self.one_of(worker, owner)
            }
            Fault::Copy => {
                self.counts.copies += 1;
                let copy = self.start_beside(kafka)?;
                self.one_of(worker, copy)
            }
            Fault::Broker => {
                self.counts.broker += 1;
                let failed = |e| Error::transient(format!("the broker: {e}"));
                kafka.kill9().map_err(failed)?;
                self.pause(100..2_000);
                kafka.start_again().map_err(failed)?;
                self.revived(worker, kafka)
            }
            Fault::Writer => {
                let table = DISTURBED[self.random.random_range(0..DISTURBED.len())];
                let what =
                    ["optimize", "optimize", "vacuum", "column"][self.random.random_range(0..4)];
                // A writer that loses a race against the job gives up; that is no fault of the job.
                match self.python.disturb(&self.data().join(table), what) {
                    Ok(()) => self.counts.writer += 1,
                    Err(error) => note(&format!("{what} of {table}: {error}")),
                }
                self.revived(worker, kafka)
            }
            Fault::Disk => {
                self.counts.disk += 1;
                kill(&mut worker)?;
                let every = self.random.random_range(5..60);
                self.start(kafka, Some(every), None)
            }
            Fault::Clock => {
                self.counts.clock += 1;
                kill(&mut worker)?;
                let by = [-86_400, -60, 60, 86_400][self.random.random_range(0..4)];
                self.start(kafka, None, Some(by))
            }
        }
    }

    /// Two workers on one job: one of them finds that out and gives way; the other goes on.
    fn one_of(&mut self, mut a: Child, mut b: Child) -> Result<Child> {
        let begun = self.clock.monotonic();
        loop {
            if has_ended(&mut a)? {
                self.counts.fenced += 1;
                return Ok(b);
            }
            if has_ended(&mut b)? {
                self.counts.fenced += 1;
                return Ok(a);
            }
            if self.clock.monotonic().saturating_sub(begun) > FENCE {
                kill(&mut a)?;
                kill(&mut b)?;
                return Err(Error::internal("two workers ran on one job, and neither gave way"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A worker that gave up is started again, as an operator would.
    fn revived(&mut self, mut worker: Child, kafka: &KafkaServer) -> Result<Child> {
        if has_ended(&mut worker)? { self.start(kafka, None, None) } else { Ok(worker) }
    }

    /// Reads everything that is left and flushes it.
    fn catch_up(&mut self, kafka: &KafkaServer, events: u64) -> Result<()> {
        let begun = self.clock.monotonic();
        let arguments = WorkerArgs { events: Some(events), ..self.arguments(kafka) };
        let mut worker = self.spawn(&arguments)?;
        while self.clock.monotonic().saturating_sub(begun) < CATCH_UP {
            match worker.try_wait().map_err(|e| error::io("wait for a worker", e))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let log = self.log(self.workers);
                    let told = fs::read_to_string(&log).unwrap_or_default();
                    let last = told.lines().last().unwrap_or("nothing").to_owned();
                    return Err(Error::internal(format!(
                        "the last worker ended with {status}: {last}"
                    )));
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        kill(&mut worker)?;
        Err(Error::internal("the last worker did not catch up"))
    }

    fn start(
        &mut self,
        kafka: &KafkaServer,
        full: Option<u64>,
        clock: Option<i64>,
    ) -> Result<Child> {
        let arguments =
            WorkerArgs { full_every: full, clock_jumps: clock, ..self.arguments(kafka) };
        self.spawn(&arguments)
    }

    /// Beside a worker that runs or sleeps: its lock is only a courtesy, so it is taken away.
    fn start_beside(&mut self, kafka: &KafkaServer) -> Result<Child> {
        match fs::remove_file(self.data().join("checkpoints/.lock")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(error::io("remove the lock", e))
            }
            _ => self.start(kafka, None, None),
        }
    }

    fn arguments(&mut self, kafka: &KafkaServer) -> WorkerArgs {
        WorkerArgs {
            servers: kafka.bootstrap_servers().to_owned(),
            topic: self.topic.clone(),
            mirror: self.mirror(),
            data_dir: self.data(),
            events: None,
            parallelism: self.random.random_range(1..4),
            full_every: None,
            clock_jumps: None,
        }
    }

    fn spawn(&mut self, arguments: &WorkerArgs) -> Result<Child> {
        self.workers += 1;
        let log = File::create(self.log(self.workers)).map_err(|e| error::io("create a log", e))?;
        let program = std::env::current_exe().map_err(|e| error::io("find this program", e))?;
        Command::new(program)
            .args(arguments.to_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| error::io("start a worker", e))
    }

    fn log(&self, worker: u32) -> PathBuf {
        self.folder.join(format!("worker-{worker:04}.log"))
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

fn has_ended(worker: &mut Child) -> Result<bool> {
    let ended = worker.try_wait().map_err(|e| error::io("wait for a worker", e))?;
    Ok(ended.is_some())
}

fn kill(worker: &mut Child) -> Result<()> {
    // It may have ended by itself a moment ago.
    drop(worker.kill());
    worker.wait().map(drop).map_err(|e| error::io("wait for a worker", e))
}

fn signal(worker: &Child, signal: &str) -> Result<()> {
    let pid = worker.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status();
    sent.map(drop).map_err(|e| error::io("send a signal", e))
}
