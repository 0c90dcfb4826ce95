//! What becomes of a job whose messages are lost: it says so and goes on where it is told to, or ends for good, because the
//! topic has become another one behind its back.

use std::time::Duration;

use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::source::Split;
use thalweg_core::error::chain;
use thalweg_core::time::Clock;
use thalweg_core::{Error, ErrorKind};

use super::topic::Log;
use super::topic_source::{TOPIC, partition_of};
use super::world::World;

/// What happens to the topic while nobody reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It is deleted and created again, and as long as before.
    CreatedAgain,
    /// A leader that lacks what was read last takes over one of its partitions, which grows again.
    CutShort,
}

/// What happens, in the seeds in which something does.
#[derive(Debug)]
pub(super) struct Endings {
    /// And when.
    planned: Option<(Duration, Ending)>,
    /// It has happened.
    came: Option<Ending>,
}

impl Endings {
    pub(super) fn new(world: &World) -> Self {
        let ending = match world.choose(6) {
            0 => Ending::CreatedAgain,
            1 => Ending::CutShort,
            _ => return Self { planned: None, came: None },
        };
        let extent = world.topic().extent;
        // What has an end is read soon.
        let (soonest, within) = if extent.bounded { (1_000, 10_000) } else { (20_000, 60_000) };
        let at = extent.begins + Duration::from_millis(soonest + world.choose(within));
        Self { planned: Some((at, ending)), came: None }
    }

    /// Whether the topic is another one from now on: whoever reads it must be gone by then. Where that would be no news to
    /// a source, it stays what it is.
    pub(super) fn comes(&mut self, world: &World) -> bool {
        let due = self.planned.take_if(|(at, _)| *at <= world.monotonic());
        let Some((_, ending)) = due.filter(|(_, ending)| ending.come(world).is_some()) else {
            return false;
        };
        self.came = Some(ending);
        true
    }

    /// A process has failed. Whether that is the end of the job: else its successors go on behind what is lost, as somebody
    /// sets them to. `None` where the source has not told that messages are lost, or it is not so.
    pub(super) fn is_the_end(&self, world: &World, error: &Error) -> Option<bool> {
        let told = chain(error);
        if error.kind() != ErrorKind::DataLoss || !told.contains(&format!("topic `{TOPIC}`")) {
            return None;
        }
        let mut topic = world.topic();
        if self.came.is_some_and(|ending| told.contains(ending.told())) {
            topic.counters.endings += 1;
            return Some(true);
        }
        // Of a log that was cut short beside, nobody has heard yet.
        let may_be = self.came != Some(Ending::CreatedAgain) && topic.has_deleted();
        if !may_be || !told.contains("were deleted before they were read") {
            return None;
        }
        topic.counters.losses += 1;
        topic.resets = self.came.is_none();
        Some(self.came.is_some())
    }
}

impl Ending {
    /// What a source says of it.
    fn told(self) -> &'static str {
        match self {
            Self::CreatedAgain => "was deleted and created again",
            Self::CutShort => "was cut short",
        }
    }

    fn come(self, world: &World) -> Option<()> {
        let newest = world.newest();
        let bytes = world.inner().created.get(&newest)?.last()?.clone();
        let splits = Manifest::decode(&bytes).ok()?.sources.first()?.splits.clone();
        let mut topic = world.topic();
        if topic.resets {
            return None;
        }
        let mut others = topic.logs.clone();
        match self {
            Self::CreatedAgain => {
                topic.id += 1;
                for log in &mut others {
                    let end = log.end();
                    *log = Log::default();
                    log.become_another(0, end);
                }
            }
            Self::CutShort => {
                let unread = splits.iter().filter(|snapshot| !snapshot.split.is_finished());
                let mut read = unread.filter_map(|snapshot| last_read(&snapshot.split));
                let (partition, behind) = read.find(|(partition, behind)| {
                    others.get(*partition).is_some_and(|log| log.low() < *behind)
                })?;
                let log = others.get_mut(partition)?;
                let end = log.end();
                log.become_another(behind - 1, end);
            }
        }
        topic.become_another(others);
        Some(())
    }
}

/// The partition of a split of which a message was read, and the offset behind the last one, as a checkpoint has them.
pub(super) fn last_read(split: &Split) -> Option<(usize, i64)> {
    split.properties.get("leader_epoch")?;
    let behind = match split.properties.get("leader_epoch_end") {
        Some(end) => end.parse::<i64>().ok()?,
        None => split.position,
    };
    Some((partition_of(&split.id) as usize, behind.min(split.position)))
}
