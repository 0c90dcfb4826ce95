//! The state of the merging phase in a checkpoint: per key group the open windows as partial rows, Arrow IPC, and up to
//! which watermark windows have been emitted. That outlives the windows: what was emitted is not emitted again.
//!
//! The barrier shares columns and rows, at the price of a reference per page; which groups belong to which key group, Arrow
//! arrays and bytes are made on another thread. As long as nothing changes the same chunks are handed out again.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use thalweg_core::key::{KeyGroup, KeyGroupRange};
use thalweg_core::operator::{StateChunk, StatePayload};
use thalweg_core::time::EventTime;
use thalweg_core::window::{SlidingEventTimeWindows, state};
use thalweg_core::{Error, Result};

use super::plan::Plan;
use super::store::{SharedWindows, WindowStore};

/// Name of the chunks.
pub(super) const CHUNK: &str = "windows";
const FORMAT: u16 = 1;
const WATERMARK: &str = "thalweg.watermark";
const WINDOW_SIZE: &str = "thalweg.window_size";
/// Only there when it is not the size.
const WINDOW_SLIDE: &str = "thalweg.window_slide";
/// The state of a sum and that of a maximum have the same columns. Not there in older checkpoints.
const FUNCTIONS: &str = "thalweg.functions";
/// The format of a key group without an open window, mostly one of many: the watermark as text.
const NONE_OPEN: u16 = 2;

/// Open windows at one instant.
struct Instant {
    windows: SharedWindows,
    sizes: SlidingEventTimeWindows,
    functions: String,
    max_parallelism: u16,
    /// Made when it is first asked for.
    by_key_group: OnceLock<Vec<Vec<u32>>>,
}

impl Instant {
    fn groups(&self, KeyGroup(key_group): KeyGroup) -> &[u32] {
        let groups =
            self.by_key_group.get_or_init(|| self.windows.by_key_group(self.max_parallelism));
        groups.get(usize::from(key_group)).map_or(&[], Vec::as_slice)
    }

    fn encode(&self, groups: &[u32], watermark: EventTime) -> Result<Vec<u8>> {
        let mut notes = HashMap::from([
            (WATERMARK.to_owned(), watermark.to_string()),
            (WINDOW_SIZE.to_owned(), self.sizes.size_micros().to_string()),
            (FUNCTIONS.to_owned(), self.functions.clone()),
        ]);
        if self.sizes.overlap() > 1 {
            notes.insert(WINDOW_SLIDE.to_owned(), self.sizes.slide_micros().to_string());
        }
        state::encode(FORMAT, &self.windows.partials(groups)?, notes)
    }
}

/// Whether a watermark has closed windows of which a checkpoint must tell. At the end of time none is left, and nobody goes
/// on from there.
fn is_told(watermark: EventTime) -> bool {
    watermark > EventTime::MIN && watermark < EventTime::MAX
}

/// Those of one key group.
struct OpenWindows {
    instant: Arc<Instant>,
    key_group: KeyGroup,
    watermark: EventTime,
}

impl StatePayload for OpenWindows {
    fn encode(&self) -> Result<Vec<u8>> {
        match self.instant.groups(self.key_group) {
            [] => Ok(state::encode_text(NONE_OPEN, &self.watermark.to_string())),
            groups => self.instant.encode(groups, self.watermark),
        }
    }

    fn is_empty(&self) -> bool {
        !is_told(self.watermark) && self.instant.groups(self.key_group).is_empty()
    }
}

/// The aggregate's functions by name, in their order. A sketch answers for any quantile.
fn functions(plan: &Plan) -> String {
    let names: Vec<&str> = plan.calls.iter().map(|call| call.function.name()).collect();
    names.join(", ")
}

/// The chunks of the last snapshot, while they are still true.
#[derive(Debug, Default)]
pub(super) struct Snapshots(Option<Vec<StateChunk>>);

impl Snapshots {
    /// The state has changed.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// A chunk per key group; none at all when no window is open and none has been emitted.
    pub(super) fn take(
        &mut self,
        store: &mut WindowStore,
        plan: &Plan,
        watermark: impl Fn(KeyGroup) -> EventTime,
        key_groups: KeyGroupRange,
        max_parallelism: u16,
    ) -> Vec<StateChunk> {
        if let Some(chunks) = &self.0 {
            return chunks.clone();
        }
        let key_groups = (key_groups.start..key_groups.end).map(KeyGroup);
        if store.len() == 0 && !key_groups.clone().any(|key_group| is_told(watermark(key_group))) {
            return Vec::new();
        }
        let instant = Arc::new(Instant {
            windows: store.share(),
            sizes: plan.windows,
            functions: functions(plan),
            max_parallelism,
            by_key_group: OnceLock::new(),
        });
        let chunks = key_groups.map(|key_group| {
            let (instant, watermark) = (Arc::clone(&instant), watermark(key_group));
            let payload = Arc::new(OpenWindows { instant, key_group, watermark });
            StateChunk { name: CHUNK, key_group, payload }
        });
        self.0.insert(chunks.collect()).clone()
    }

    /// Adds a stored chunk to the store; returns the watermark it was taken at.
    pub(super) fn restore(store: &mut WindowStore, plan: &Plan, bytes: &[u8]) -> Result<EventTime> {
        let missing = || Error::corrupt("the stored state of a window lacks its notes");
        if state::version(bytes) == Some(NONE_OPEN) {
            return state::decode_text(NONE_OPEN, bytes)?.parse().map_err(|_| missing());
        }
        let rows = state::decode(FORMAT, bytes)?;
        let note = |name: &str| rows.schema_ref().metadata().get(name)?.parse::<i64>().ok();
        let watermark = note(WATERMARK).ok_or_else(missing)?;
        let size = note(WINDOW_SIZE).ok_or_else(missing)?;
        let sizes = (size, note(WINDOW_SLIDE).unwrap_or(size));
        let stored = rows.schema_ref().metadata().get(FUNCTIONS);
        let same = stored.is_none_or(|stored| *stored == functions(plan))
            && store.stores(rows.schema_ref().fields().iter().map(AsRef::as_ref));
        if !same || sizes != (plan.windows.size_micros(), plan.windows.slide_micros()) {
            return Err(Error::incompatible(
                "the checkpoint holds windows of another aggregate: give the changed one a new uid",
            ));
        }
        store.merge(&rows)?;
        Ok(watermark)
    }
}
