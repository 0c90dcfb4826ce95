//! The brokers as one process reaches them: what librdkafka makes of calls, delays and errors.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use thalweg_core::{CheckpointId, Error, Result};

use super::super::cluster::{
    Answer, BrokerLimits, Cluster, Ends, FoundTopic, Message, Reading, Refusal, Transactions,
    attempts,
};
use super::super::sessions::locked;
use super::broker::{Denial, Luck, Request};
use super::world::{Fault, World};

/// How long one call waits.
const CALL: Duration = Duration::from_secs(10);
/// Between two looks at a transaction that is being ended.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub(super) struct SimCluster {
    pub(super) world: Arc<World>,
    pub(super) process: u64,
}

fn refusal(may_pass: bool, why: &str) -> Refusal {
    Refusal { may_pass, error: Error::transient(why) }
}

impl SimCluster {
    /// One call: on its way, done or not, answered or not, and waiting while a transaction is being ended. How often a
    /// request was sent for it.
    fn call<T>(
        &self,
        what: u64,
        request: Option<&Request>,
        mut ask: impl FnMut() -> Result<T, Denial>,
    ) -> Answer<(T, i64)> {
        let world = &self.world;
        let fault = world.touch(self.process, what);
        if !world.wait(self.process, world.delay(60), request.cloned()) {
            return Err(refusal(false, "killed"));
        }
        match fault {
            Fault::Before => return Err(refusal(false, "not done")),
            Fault::Slow => {
                world.count(|c| c.slow += 1);
                world.wait(self.process, CALL, None);
                return Err(refusal(true, "it takes long"));
            }
            Fault::Twice => {
                if let Some(request) = request {
                    let late = Duration::from_millis(world.choose(4_000));
                    let mut inner = world.inner();
                    let until = inner.now + late;
                    inner.broker.delay(until, request.clone());
                }
            }
            Fault::None | Fault::After => {}
        }
        let mut waited = Duration::ZERO;
        let answer = loop {
            match ask() {
                Err(Denial::Busy) if waited < CALL => {
                    world.count(|c| c.busy += 1);
                    waited += PAUSE;
                    if !world.wait(self.process, PAUSE, None) {
                        return Err(refusal(false, "killed"));
                    }
                }
                answer => break answer,
            }
        };
        // Another process is at work, which is as good a reason to come again as a fault.
        world.inner().faults += u64::from(answer.is_err());
        if fault == Fault::After {
            world.count(|c| c.lost_answers += 1);
            return Err(refusal(false, "not answered"));
        }
        match answer {
            Ok(value) => Ok((value, if fault == Fault::Twice { 2 } else { 1 })),
            Err(Denial::Fenced) => Err(refusal(false, "fenced")),
            Err(Denial::Busy) => Err(refusal(true, "a transaction is being ended")),
        }
    }

    /// How often it was sent, and the producer's epoch.
    fn request(&self, what: u64, request: &Request) -> Answer<(u64, i64)> {
        self.call(what, Some(request), || {
            let (shows, forgets) = (self.world.delay(10), self.world.choose(4) == 0);
            let mut inner = self.world.inner();
            let luck = Luck { shows, forgets: forgets && inner.dice.faulty };
            let now = inner.now;
            inner.broker.ask(request, now, luck)
        })
    }

    fn read(&self, id: &str, reading: Reading) -> Answer<Option<CheckpointId>> {
        let settled = reading == Reading::Settled;
        let (marker, _) = self.call(1, None, || self.world.inner().broker.marker(id, settled))?;
        Ok(marker.map(CheckpointId))
    }
}

impl Cluster for SimCluster {
    fn topic(&self, _: &str, create: bool) -> Result<Option<FoundTopic>> {
        let found = attempts(self, || self.call(0, None, || Ok(!self.world.inner().removed)))?.0;
        let topic = FoundTopic { cluster: "sim".to_owned(), limit: None };
        Ok((found || create).then_some(topic))
    }

    /// What these brokers forget is not told by a setting.
    fn broker_limits(&self, _: &str, _: &FoundTopic) -> Result<BrokerLimits> {
        Ok(BrokerLimits::NONE)
    }

    fn producer(&self, _: &str, app_id: &str) -> Result<Box<dyn Transactions>> {
        Ok(Box::new(SimProducer {
            cluster: self.clone(),
            id: app_id.to_owned(),
            epoch: AtomicU64::default(),
            sequence: AtomicU64::default(),
            queue: Mutex::default(),
            sent: Mutex::default(),
        }))
    }

    fn marker(&self, _: &str, app_id: &str, reading: Reading) -> Result<Option<CheckpointId>> {
        attempts(self, || self.read(app_id, reading))
    }

    fn now(&self) -> Instant {
        self.world.instant()
    }

    fn wait(&self, pause: Duration) {
        self.world.wait(self.process, pause, None);
    }
}

struct SimProducer {
    cluster: SimCluster,
    id: String,
    epoch: AtomicU64,
    sequence: AtomicU64,
    /// Messages that were not sent yet.
    queue: Mutex<Vec<u64>>,
    /// How often markers and ends were sent.
    sent: Mutex<(i64, i64)>,
}

impl SimProducer {
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    fn flush(&self) -> Answer<()> {
        let rows = locked(&self.queue).clone();
        if rows.is_empty() {
            return Ok(());
        }
        let sequence = self.sequence.load(Ordering::Relaxed);
        let (id, epoch) = (self.id.clone(), self.epoch());
        self.cluster.request(2, &Request::Send { id, epoch, sequence, rows })?;
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        locked(&self.queue).clear();
        Ok(())
    }
}

impl Ends for &SimProducer {
    fn look(&self, reading: Reading) -> Answer<BTreeMap<i32, i64>> {
        let settled = reading == Reading::Settled;
        let ask = || Ok(self.cluster.world.inner().broker.partition_end(&self.id, settled));
        let (end, _) = self.cluster.call(8, None, ask)?;
        Ok(BTreeMap::from([(0, end)]))
    }
}

impl Transactions for SimProducer {
    fn init(&self) -> Answer<()> {
        let (epoch, _) = self.cluster.request(3, &Request::Init { id: self.id.clone() })?;
        self.epoch.store(epoch, Ordering::Relaxed);
        Ok(())
    }

    fn begin(&self) -> Answer<()> {
        locked(&self.queue).clear();
        Ok(())
    }

    fn send(&self, message: Message<'_>) -> Result<()> {
        let row = std::str::from_utf8(message.value).ok().and_then(|text| text.parse().ok());
        let row = row.ok_or_else(|| Error::internal("a message that nobody has staged"))?;
        locked(&self.queue).push(row);
        if self.cluster.world.choose(3) == 0 {
            return attempts(&self.cluster, || self.flush());
        }
        Ok(())
    }

    fn mark(&self, n: CheckpointId) -> Answer<()> {
        let (id, epoch) = (self.id.clone(), self.epoch());
        let (_, sent) = self.cluster.request(4, &Request::Mark { id, epoch, n: n.0 })?;
        locked(&self.sent).0 += sent;
        Ok(())
    }

    fn commit(&self) -> Answer<()> {
        self.flush()?;
        let (id, epoch) = (self.id.clone(), self.epoch());
        let (_, sent) = self.cluster.request(5, &Request::Commit { id, epoch })?;
        locked(&self.sent).1 += sent;
        Ok(())
    }

    fn abort(&self) {
        let (id, epoch) = (self.id.clone(), self.epoch());
        drop(self.cluster.request(6, &Request::Abort { id, epoch }));
    }

    fn ends(&self) -> Result<Box<dyn Ends + '_>> {
        Ok(Box::new(self))
    }

    fn marker(&self) -> Answer<Option<CheckpointId>> {
        self.cluster.read(&self.id, Reading::Settled)
    }

    fn report(&self) -> u64 {
        0
    }

    fn sent_after(&self, _: u64) -> Option<i64> {
        let world = &self.cluster.world;
        world.wait(self.cluster.process, PAUSE, None);
        let (markers, ends) = *locked(&self.sent);
        (world.choose(50) > 0).then_some(markers.max(ends))
    }
}
