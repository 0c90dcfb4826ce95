//! What becomes of a job whose messages are lost: it says so and goes on where it is told to, or ends for good, because the
//! topic has become another one behind its back.

use std::time::Duration;

use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::source::Split;
use thalweg_core::time::Clock;

use super::topic::Log;
use super::topic_source::partition_of;
use super::world::World;

/// What happens to the topic while nobody reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It is deleted and created again, and as long as before.
    CreatedAgain,
    /// A leader that lacks what was read last takes over one of its partitions, which grows again.
    CutShort,
}

/// When it happens, in the seeds in which it does.
#[derive(Debug)]
pub(super) struct Endings(Option<(Duration, Ending)>);

impl Endings {
    pub(super) fn new(world: &World) -> Self {
        let ending = match world.choose(6) {
            0 => Ending::CreatedAgain,
            1 => Ending::CutShort,
            _ => return Self(None),
        };
        Self(Some((Duration::from_millis(20_000 + world.choose(60_000)), ending)))
    }

    /// Whether the topic is another one from now on: whoever reads it must be gone by then. Where that would be no news to
    /// a source, it stays what it is.
    pub(super) fn comes(&mut self, world: &World) -> bool {
        let due = self.0.take_if(|(at, _)| *at <= world.monotonic());
        due.is_some_and(|(_, ending)| ending.come(world).is_some())
    }
}

impl Ending {
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
                let mut read = splits.iter().filter_map(|snapshot| last_read(&snapshot.split));
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
fn last_read(split: &Split) -> Option<(usize, i64)> {
    split.properties.get("leader_epoch")?;
    let behind = match split.properties.get("leader_epoch_end") {
        Some(end) => end.parse::<i64>().ok()?,
        None => split.position,
    };
    Some((partition_of(&split.id) as usize, behind.min(split.position)))
}

/// A process says that messages are lost. Whether that is the end of it: else its successors go on behind what is lost, as
/// somebody sets them to.
pub(super) fn is_the_end(world: &World) -> bool {
    let mut topic = world.topic();
    if topic.is_another() {
        topic.counters.endings += 1;
        return true;
    }
    topic.counters.losses += 1;
    topic.resets = true;
    if !topic.has_deleted() {
        world.violation("a loss was told although nothing is lost".to_owned());
    }
    false
}
