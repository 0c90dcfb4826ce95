//! Each fault, how workers end of it, and what of that counts.

use std::time::Duration;

use rand::Rng;
use thalweg_connectors::testing::kafka_server::KafkaServer;
use thalweg_core::time::Clock;
use thalweg_core::{Error, ErrorKind, Result};

use super::Torture;
use crate::ends::End;
use crate::faults::Fault;
use crate::process::{News, Worker};
use crate::told::note;
use crate::worker::WorkerArgs;

/// Tables that another writer changes.
const DISTURBED: [&str; 4] =
    ["silver/events", "bronze/events", "gold/patient_vitals", "quarantine/events"];
/// How long a worker may take to see that another owns its job.
const FENCE: Duration = Duration::from_mins(5);
/// How long a worker may take to meet a full disk or a jump of its clock.
const MEET: Duration = Duration::from_mins(2);

impl Torture {
    /// The worker that runs afterwards. A fault counts when it happened: to a process that was alive, or to a table that
    /// was changed.
    pub(super) fn inflict(
        &mut self,
        fault: Fault,
        mut worker: Worker,
        kafka: &KafkaServer,
    ) -> Result<Worker> {
        match fault {
            Fault::Kill9 => {
                let killed = self.kill(&mut worker)?;
                self.counts.kill9 += u64::from(killed);
                self.start(kafka, None, None)
            }
            Fault::Zombie => {
                if !worker.signal("-STOP")? {
                    return Ok(worker);
                }
                self.counts.stop += 1;
                let owner = self.start_beside(&mut worker, kafka)?;
                self.pause(1_000..5_000);
                // Who wakes up may find the other one, and end, before this is known. How it ended is judged in any case.
                if !worker.signal("-CONT")? {
                    note("it has ended as soon as it woke up");
                }
                self.one_of(worker, owner)
            }
            Fault::Copy => {
                if self.has_ended(&mut worker)? {
                    return self.start(kafka, None, None);
                }
                let copy = self.start_beside(&mut worker, kafka)?;
                self.counts.copies += 1;
                self.one_of(worker, copy)
            }
            Fault::Broker => {
                worker.met.broker = true;
                let failed = |e| Error::transient(format!("the broker: {e}"));
                self.counts.broker += 1;
                if self.args.brokers == 1 {
                    kafka.kill9().map_err(failed)?;
                    self.pause(100..2_000);
                    kafka.start_again().map_err(failed)?;
                } else {
                    let node = self.random.random_range(0..usize::from(self.args.brokers));
                    kafka.kill9_node(node).map_err(failed)?;
                    // Long enough for the others to find out and to lead.
                    self.pause(2_000..15_000);
                    kafka.start_node_again(node).map_err(failed)?;
                }
                Ok(worker)
            }
            Fault::Optimize => {
                // Of two compactions that meet Python's `deltalake` lets the later one remove what the earlier one has removed, and
                // the rows stand twice: <https://github.com/delta-io/delta-rs/pull/3982>.
                self.kill(&mut worker)?;
                let arguments = WorkerArgs { keep_files: true, ..self.arguments(kafka) };
                let worker = self.spawn(&arguments)?;
                self.pause(1_000..4_000);
                let table = DISTURBED[self.random.random_range(0..DISTURBED.len())];
                if self.disturb(table, "optimize") {
                    self.counts.optimize += 1;
                    // What it removed is there for the next vacuum to delete.
                    self.optimized = table;
                }
                Ok(worker)
            }
            Fault::Vacuum => {
                let deleted = self.disturb(self.optimized, "vacuum");
                self.counts.vacuum += u64::from(deleted);
                Ok(worker)
            }
            Fault::Column => {
                let table = DISTURBED[self.random.random_range(0..DISTURBED.len())];
                let added = self.disturb(table, "column");
                self.counts.column += u64::from(added);
                Ok(worker)
            }
            Fault::Disk => {
                self.kill(&mut worker)?;
                let every = self.random.random_range(5..60);
                let mut worker = self.start(kafka, Some(every), None)?;
                self.await_met(fault, &mut worker)?;
                Ok(worker)
            }
            Fault::Clock => {
                self.kill(&mut worker)?;
                let by = [-86_400, -60, 60, 86_400][self.random.random_range(0..4)];
                let mut worker = self.start(kafka, None, Some(by))?;
                self.await_met(fault, &mut worker)?;
                Ok(worker)
            }
        }
    }

    /// Two workers on one job: one of them finds that out and gives way; the other goes on.
    fn one_of(&mut self, mut a: Worker, mut b: Worker) -> Result<Worker> {
        let begun = self.clock.monotonic();
        loop {
            if self.has_ended(&mut a)? {
                return Ok(b);
            }
            if self.has_ended(&mut b)? {
                return Ok(a);
            }
            if self.clock.monotonic().saturating_sub(begun) > FENCE {
                return Err(Error::internal("two workers ran on one job, and neither gave way"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether another writer changed a table. One that loses a race against the job gives up; that is no fault of the job.
    fn disturb(&self, table: &str, what: &str) -> bool {
        match self.python.disturb(&self.data().join(table), what) {
            Ok(0) => {
                note(&format!("{what} of {table}: there was nothing to do"));
                false
            }
            Ok(_) => true,
            Err(error) => {
                note(&format!("{what} of {table}: {error}"));
                false
            }
        }
    }

    /// Lets a worker meet the fault that was prepared for it. One that does not is not counted, and one that ends of it is
    /// judged like any other.
    fn await_met(&mut self, fault: Fault, worker: &mut Worker) -> Result<()> {
        let (begun, before) = (self.clock.monotonic(), self.counts.of(fault));
        while worker.ended()?.is_none() && self.clock.monotonic().saturating_sub(begun) < MEET {
            self.listen(worker)?;
            if self.counts.of(fault) > before {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Counts what a worker has met since it was last asked.
    fn listen(&mut self, worker: &mut Worker) -> Result<()> {
        let News { full, jumps, merged, trimmed, vacuumed } = worker.news()?;
        self.counts.disk += full;
        self.counts.clock += jumps;
        self.counts.merged += merged;
        self.counts.trimmed += trimmed;
        self.counts.vacuumed += vacuumed;
        Ok(())
    }

    /// A worker that gave up is started again, as an operator would, if what it met explains that.
    pub(super) fn revived(&mut self, mut worker: Worker, kafka: &KafkaServer) -> Result<Worker> {
        if self.has_ended(&mut worker)? { self.start(kafka, None, None) } else { Ok(worker) }
    }

    /// Whether it was alive and died of this.
    pub(super) fn kill(&mut self, worker: &mut Worker) -> Result<bool> {
        let end = worker.kill()?;
        self.bury(worker, end)?;
        Ok(end.is_none())
    }

    fn has_ended(&mut self, worker: &mut Worker) -> Result<bool> {
        let end = worker.ended()?;
        if end.is_some() {
            self.bury(worker, end)?;
        }
        Ok(end.is_some())
    }

    /// Judges how a worker ended, and counts what it met until then. `None`: it was killed.
    fn bury(&mut self, worker: &mut Worker, end: Option<End>) -> Result<()> {
        worker.judge(end)?;
        self.listen(worker)?;
        match end {
            Some(End::Failed(ErrorKind::Fenced)) => self.counts.fenced += 1,
            Some(_) => self.counts.gave_up += 1,
            None => {}
        }
        Ok(())
    }
}
