//! The brokers as the committer of one process reaches them, call by call: it is the one for topics, and blocks
//! (`steps.rs` has its threads).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use thalweg_connectors::kafka::{KafkaCommitter, KafkaSinkConfig};
use thalweg_connectors::testing::kafka_cluster::{
    Answer, BrokerLimits, Cluster, Ends, FoundTopic, Message, Reading, Refusal, Transactions,
    attempts,
};
use thalweg_core::time::Clock;
use thalweg_core::{CheckpointId, Error, Result};

use super::broker::{self, Broker, OPEN};
use super::steps;
use super::world::{Fault, World};

/// Two in so many calls go wrong: a commit makes a dozen.
const SIDES: u32 = 200;
/// After how long a marker is written again; so soon that it happens.
const REFRESH: Duration = Duration::from_secs(3);

/// The committer of one process.
pub(super) fn committer(world: &Arc<World>, process: u64) -> Arc<KafkaCommitter> {
    let config = KafkaSinkConfig {
        transaction_timeout: OPEN,
        marker_refresh: REFRESH,
        ..KafkaSinkConfig::new("simulated")
    };
    let cluster = SimCluster { world: Arc::clone(world), process };
    Arc::new(KafkaCommitter::on_cluster(config, Arc::new(cluster)))
}

#[derive(Debug, Clone)]
struct SimCluster {
    world: Arc<World>,
    process: u64,
}

fn refusal(may_pass: bool, why: &str) -> Refusal {
    Refusal { may_pass, error: Error::transient(why) }
}

/// Nothing of a dead process tries again.
fn killed() -> Refusal {
    Refusal { may_pass: false, error: Error::internal("killed") }
}

impl SimCluster {
    /// Whether the process lives behind a request's way to the brokers, or an answer's back.
    fn passes(&self) -> bool {
        steps::lives() && steps::wait(self.world.delay(1_000))
    }

    /// One call: done or not, answered or not.
    fn call<T>(
        &self,
        what: u64,
        ask: impl FnOnce(&mut Broker, Duration) -> std::result::Result<T, broker::Refusal>,
    ) -> Answer<T> {
        if !self.passes() {
            return Err(killed());
        }
        let fault = self.world.ask(self.process, what, SIDES);
        if fault == Fault::Before {
            return Err(refusal(false, "not done"));
        }
        let now = self.world.monotonic();
        let answer = {
            let mut inner = self.world.inner();
            inner.broker.settle(now);
            ask(&mut inner.broker, now)
        };
        if !self.passes() {
            return Err(killed());
        }
        if fault == Fault::After {
            return Err(refusal(false, "not answered"));
        }
        answer.map_err(|denied| match denied {
            broker::Refusal::Fenced => {
                self.world.count(|c| c.refused += 1);
                refusal(false, "another producer has taken over")
            }
            broker::Refusal::Busy => refusal(true, "a transaction is being ended"),
        })
    }

    fn read(&self, app_id: &str, reading: Reading) -> Answer<Option<CheckpointId>> {
        let settled = reading == Reading::Settled;
        let marker = self.call(9, |broker, _| broker.marker(app_id, settled))?;
        Ok(marker.map(CheckpointId))
    }
}

impl Cluster for SimCluster {
    fn topic(&self, _: &str, _: bool) -> Result<Option<FoundTopic>> {
        attempts(self, || self.call(14, |_, _| Ok(())))?;
        Ok(Some(FoundTopic { cluster: "simulated".to_owned(), limit: None }))
    }

    fn broker_limits(&self, _: &str, _: &FoundTopic) -> Result<BrokerLimits> {
        Ok(BrokerLimits::NONE)
    }

    fn producer(&self, _: &str, app_id: &str) -> Result<Box<dyn Transactions>> {
        Ok(Box::new(SimProducer {
            cluster: self.clone(),
            id: app_id.to_owned(),
            epoch: AtomicU64::default(),
            has_sent: AtomicBool::default(),
            queue: Mutex::default(),
        }))
    }

    fn marker(&self, _: &str, app_id: &str, reading: Reading) -> Result<Option<CheckpointId>> {
        attempts(self, || self.read(app_id, reading))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn wait(&self, pause: Duration) {
        steps::wait(pause);
    }
}

struct SimProducer {
    cluster: SimCluster,
    id: String,
    epoch: AtomicU64,
    /// Whether a transaction of it was ended.
    has_sent: AtomicBool,
    /// Messages that the library has not sent yet.
    queue: Mutex<Vec<Vec<i64>>>,
}

impl SimProducer {
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Vec<i64>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self) -> Answer<()> {
        let rows = self.queue().clone();
        if !rows.is_empty() {
            let send = |broker: &mut Broker, now| broker.send(&self.id, self.epoch(), &rows, now);
            self.cluster.call(10, send)?;
            self.queue().clear();
        }
        Ok(())
    }
}

/// The row that a message is.
fn row(message: Message<'_>) -> Option<Vec<i64>> {
    let object: Value = serde_json::from_slice(message.value).ok()?;
    ["partition", "position", "key"].iter().map(|column| object.get(column)?.as_i64()).collect()
}

impl Ends for &SimProducer {
    fn look(&self, reading: Reading) -> Answer<BTreeMap<i32, i64>> {
        let settled = reading == Reading::Settled;
        let end = self.cluster.call(15, |broker, _| Ok(broker.end_of_log(settled)))?;
        Ok(BTreeMap::from([(0, end)]))
    }
}

impl Transactions for SimProducer {
    fn init(&self) -> Answer<()> {
        let mutation = self.cluster.world.mutation;
        let (epoch, aborted) =
            self.cluster.call(8, |broker, _| broker.begin(&self.id, mutation))?;
        self.cluster.world.count(|c| c.aborted += u64::from(aborted));
        self.epoch.store(epoch, Ordering::Relaxed);
        Ok(())
    }

    fn begin(&self) -> Answer<()> {
        self.queue().clear();
        Ok(())
    }

    fn send(&self, message: Message<'_>) -> Result<()> {
        let row =
            row(message).ok_or_else(|| Error::internal("a message that nobody has staged"))?;
        self.queue().push(row);
        // Now and then the library finds that they are enough for a request.
        if self.queue().len() >= 4 && self.cluster.world.choose(4) == 0 {
            return attempts(&self.cluster, || self.flush());
        }
        Ok(())
    }

    fn mark(&self, n: CheckpointId) -> Answer<()> {
        let marked = self
            .cluster
            .call(11, |broker, now| broker.move_marker(&self.id, self.epoch(), n.0, now));
        if steps::lives() {
            self.cluster.world.audit_marker(&self.id, n);
        }
        marked
    }

    fn commit(&self) -> Answer<()> {
        self.flush()?;
        let later = self.cluster.world.later();
        self.cluster.call(12, |broker, now| broker.commit(&self.id, self.epoch(), now + later))?;
        self.has_sent.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn abort(&self) {
        drop(self.cluster.call(13, |broker, _| broker.abort(&self.id, self.epoch())));
    }

    fn ends(&self) -> Result<Box<dyn Ends + '_>> {
        Ok(Box::new(self))
    }

    fn marker(&self) -> Answer<Option<CheckpointId>> {
        let marker = self.cluster.read(&self.id, Reading::Settled)?;
        let world = &self.cluster.world;
        let is_done = marker.is_some_and(|n| n.0 == world.newest());
        if is_done && !self.has_sent.load(Ordering::Relaxed) {
            world.count(|c| c.marked += 1);
        }
        Ok(marker)
    }

    fn report(&self) -> u64 {
        0
    }

    /// Now and then the library does not tell.
    fn sent_after(&self, _: u64) -> Option<i64> {
        let tells = self.cluster.passes() && self.cluster.world.choose(50) > 0;
        tells.then_some(0)
    }
}
