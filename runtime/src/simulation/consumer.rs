//! The brokers as the Kafka source of one process reaches them: questions, and a consumer in librdkafka's place.
//!
//! What readers ask takes time, on threads of their own (`steps.rs`); at a start, and where the coordinator looks for
//! partitions, it is part of one step.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thalweg_connectors::testing::kafka_topic::{
    Ask, Assigned, Cluster, Consumer, Played, PlayedError, PlayedMessage, Player, Topic,
};
use thalweg_core::time::Clock;
use thalweg_core::{Error, Result};

use super::lines::line;
use super::steps;
use super::topic::{self, Found, sent_at};
use super::world::{Fault, World};

/// Two in so many questions go wrong.
const SIDES: u32 = 200;
/// So many looks at what has come.
const LOOKS: u32 = 3_000;
/// Of them four find that something goes wrong, and the others what they have found before.
const ODD: u32 = 24;
/// One in so many looks at a partition meets a broker that does not know it, where some do not.
const UNKNOWN: u32 = 300;
/// One in so many messages is the last of a burst, where they come in bursts.
const BURST: u64 = 16;
/// What a message is in the trace, together with its partition.
const MESSAGE: u64 = 32;

#[derive(Debug, Clone)]
pub(super) struct SourceCluster {
    pub(super) world: Arc<World>,
    pub(super) process: u64,
    /// Whether brokers give a consumer a burst at a time, and then nothing for up to a second: what is there already would be
    /// read at once else, and nobody killed meanwhile.
    pub(super) bursts: bool,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl SourceCluster {
    /// Whether the process lives behind a question's way to the brokers, or an answer's back.
    fn passes(&self) -> bool {
        steps::lives() && steps::wait(self.world.delay(1_000))
    }

    fn ask<T>(&self, what: u64, answer: impl FnOnce(&mut topic::Topic) -> T) -> Result<T> {
        let silent = || Error::transient("cannot reach the simulated brokers");
        if !self.passes() {
            return Err(silent());
        }
        let fault = self.world.ask(self.process, what, SIDES);
        if fault == Fault::Before {
            return Err(silent());
        }
        let answer = answer(&mut self.world.topic());
        if !self.passes() || fault == Fault::After {
            return Err(silent());
        }
        Ok(answer)
    }
}

impl Cluster for SourceCluster {
    fn topic(&self) -> Result<Arc<dyn Topic>> {
        Ok(Arc::new(self.clone()))
    }

    fn consumer(&self) -> Result<Consumer> {
        Ok(Consumer::played(Box::new(Fetcher {
            cluster: self.clone(),
            fetches: BTreeMap::new(),
            turns: VecDeque::new(),
            away_until: Duration::ZERO,
            is_deaf: false,
        })))
    }

    fn now(&self) -> Instant {
        now()
    }
}

impl Topic for SourceCluster {
    fn partitions(&self) -> Result<Option<Vec<i32>>> {
        self.ask(16, |topic| {
            let all = topic.logs.len();
            // Whoever is asked may be behind.
            let known = if self.world.choose(2) == 0 { topic.known_late() } else { all };
            topic.counters.behind += u64::from(known < all);
            Some((0..known as i32).collect())
        })
    }

    fn offsets(&self, partitions: &[i32], ask: Ask, _: Duration) -> Result<BTreeMap<i32, i64>> {
        self.ask(17, |topic| {
            let offset = |partition: i32| {
                let log = topic.logs.get(partition as usize)?;
                match ask {
                    Ask::Low => Some((partition, log.low())),
                    Ask::High => Some((partition, log.stable())),
                    Ask::At(millis) => Some((partition, log.since(millis * 1_000)?)),
                }
            };
            partitions.iter().filter_map(|partition| offset(*partition)).collect()
        })
    }

    fn cluster_id(&self) -> Option<String> {
        Some("simulated".to_owned())
    }

    fn id(&self) -> Result<Option<String>> {
        self.ask(18, |topic| Some(topic.id.to_string()))
    }

    fn commit(&self, positions: &[(i32, i64)]) -> Result<()> {
        self.ask(19, |topic| topic.group.extend(positions.iter().copied()))
    }
}

/// A partition that is being read.
#[derive(Debug)]
struct Fetch {
    next: i64,
    /// Still to be compared with what the leader knows.
    epoch: Option<i32>,
    /// The leader that was met last.
    leader: Option<i32>,
    /// The end that was told.
    told: Option<i64>,
    /// The message that came last.
    last: Option<PlayedMessage>,
    /// Refused, and asked for no more.
    stopped: bool,
}

/// A consumer.
#[derive(Debug)]
struct Fetcher {
    cluster: SourceCluster,
    fetches: BTreeMap<i32, Fetch>,
    /// Whose turn is next.
    turns: VecDeque<i32>,
    /// Nobody answers until then.
    away_until: Duration,
    /// It has forgotten its brokers.
    is_deaf: bool,
}

impl Player for Fetcher {
    fn assign(&mut self, partitions: &[Assigned]) {
        for assigned in partitions {
            let Assigned { partition, from, epoch } = *assigned;
            let fetch =
                Fetch { next: from, epoch, leader: None, told: None, last: None, stopped: false };
            self.fetches.insert(partition, fetch);
            self.turns.push_back(partition);
        }
    }

    fn unassign(&mut self, partition: i32) {
        self.fetches.remove(&partition);
        self.turns.retain(|turn| *turn != partition);
    }

    fn poll(&mut self, timeout: Duration) -> Option<Played> {
        let found = self.look();
        if found.is_some() || timeout.is_zero() {
            return found;
        }
        steps::wait(timeout);
        self.look()
    }

    fn now(&self) -> Instant {
        now()
    }
}

impl Fetcher {
    fn look(&mut self) -> Option<Played> {
        let world = Arc::clone(&self.cluster.world);
        if !steps::lives() || self.is_deaf || world.monotonic() < self.away_until {
            return None;
        }
        let thrown = world.inner().dice.fault(LOOKS).filter(|thrown| *thrown < ODD);
        if let Some(thrown) = thrown {
            return self.trouble(thrown, &world);
        }
        for _ in 0..self.turns.len() {
            let turn = self.turns.pop_front()?;
            self.turns.push_back(turn);
            let fetch = self.fetches.get_mut(&turn)?;
            if let Some(found) = fetch.look(turn, &world) {
                if let Played::Message(PlayedMessage { partition, offset, .. }) = &found {
                    let (what, which) = (MESSAGE + *partition as u64, *offset as u64);
                    world.inner().dice.note(world.monotonic(), self.cluster.process, what, which);
                    if self.cluster.bursts && world.choose(BURST) == 0 {
                        let pause = Duration::from_millis(world.choose(1_000));
                        self.away_until = world.monotonic() + pause;
                    }
                }
                if found == Played::Refused(PlayedError::NoLeader) {
                    self.away_until =
                        world.monotonic() + Duration::from_millis(world.choose(3_000));
                }
                return Some(found);
            }
        }
        None
    }

    /// Something goes wrong, which may be that nothing comes, or a message once more.
    fn trouble(&mut self, thrown: u32, world: &World) -> Option<Played> {
        world.inner().dice.note(world.monotonic(), self.cluster.process, 20, thrown.into());
        match thrown {
            0 => {
                self.away_until = world.monotonic() + Duration::from_millis(world.choose(15_000));
                Some(Played::Refused(PlayedError::NoAnswer))
            }
            1 => Some(Played::Refused(PlayedError::Unknown)),
            2 => {
                let turn = *self.turns.front()?;
                self.fetches.get_mut(&turn)?.stopped = true;
                world.topic().counters.denials += 1;
                Some(Played::Refused(PlayedError::OutOfRange))
            }
            3 => {
                self.is_deaf = true;
                world.topic().counters.deaf += 1;
                None
            }
            _ => {
                let again = self.fetches.get(self.turns.front()?)?.last.clone()?;
                world.topic().counters.repeats += 1;
                Some(Played::Message(again))
            }
        }
    }
}

impl Fetch {
    fn look(&mut self, partition: i32, world: &World) -> Option<Played> {
        if self.stopped {
            return None;
        }
        let mut topic = world.topic();
        let Some(log) = topic.logs.get(partition as usize) else {
            return Some(Played::Refused(PlayedError::Unknown));
        };
        let is_unknown = partition as usize >= topic.known_late();
        if is_unknown && world.inner().dice.fault(UNKNOWN) == Some(0) {
            return Some(Played::Refused(PlayedError::Unknown));
        }
        if self.epoch.take().is_some_and(|epoch| log.end_of_epoch(epoch) < self.next) {
            self.stopped = true;
            return Some(Played::Refused(PlayedError::CutShort));
        }
        if self.next < log.low() || self.next > log.end() {
            self.stopped = true;
            return Some(Played::Refused(PlayedError::OutOfRange));
        }
        let (leader, found) = (log.epoch, log.next(self.next));
        if self.leader.replace(leader).is_some_and(|before| before != leader) {
            topic.counters.led += 1;
            return Some(Played::Refused(PlayedError::NoLeader));
        }
        match found {
            Found::Message { offset, epoch, tick, foreign } => {
                self.next = offset + 1;
                drop(topic);
                if foreign {
                    world.violation("a message of another log was read".to_owned());
                }
                let payload = Some(line(i64::from(partition), tick).into_bytes());
                let timestamp_ms = sent_at(tick) / 1_000;
                let message = PlayedMessage { partition, offset, epoch, timestamp_ms, payload };
                self.last = Some(message.clone());
                Some(Played::Message(message))
            }
            Found::End(end) if end >= self.next && self.told != Some(end) => {
                (self.next, self.told) = (end, Some(end));
                Some(Played::End { partition, offset: end })
            }
            Found::End(_) => None,
        }
    }
}
