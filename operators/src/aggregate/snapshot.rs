//! The state of the merging phase in a checkpoint: per key group the open windows as partial rows, Arrow IPC, and up to
//! which end windows have been emitted. That outlives the windows: what was emitted is not emitted again, whatever lateness
//! the next run allows.
//!
//! The barrier shares columns and rows, at the price of a reference per page; which groups belong to which key group, Arrow
//! arrays and bytes are made on another thread. As long as nothing changes the same chunks are handed out again.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use thalweg_core::key::{KeyGroup, KeyGroupRange};
use thalweg_core::operator::{StateChunk, StatePayload};
use thalweg_core::time::EventTime;
use thalweg_core::window::{SlidingEventTimeWindows, state};
use thalweg_core::{Error, Result};

use super::plan::Plan;
use super::store::{SharedWindows, WindowStore};

/// Name of the chunks.
pub(super) const CHUNK: &str = "windows";
const FORMAT: u16 = 3;
/// Up to which end windows have been emitted.
const EMITTED: &str = "thalweg.emitted";
const WINDOW_SIZE: &str = "thalweg.window_size";
/// Only there when it is not the size.
const WINDOW_SLIDE: &str = "thalweg.window_slide";
/// The state of a sum and that of a maximum have the same columns. Not there in older checkpoints.
const FUNCTIONS: &str = "thalweg.functions";
/// The format of a key group without an open window, mostly one of many, as text: up to which end windows have been emitted,
/// their size and their slide.
const NONE_OPEN: u16 = 4;

/// The formats of older checkpoints. They tell the watermark up to which windows were emitted, and not what lateness was
/// allowed: what is allowed now is taken for it. That without open windows has the watermark and nothing else.
const FORMAT_BY_WATERMARK: u16 = 1;
const NONE_OPEN_BY_WATERMARK: u16 = 2;
const WATERMARK: &str = "thalweg.watermark";

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

    fn encode(&self, groups: &[u32], emitted: EventTime) -> Result<Vec<u8>> {
        let mut notes = HashMap::from([
            (EMITTED.to_owned(), emitted.to_string()),
            (WINDOW_SIZE.to_owned(), self.sizes.size_micros().to_string()),
            (FUNCTIONS.to_owned(), self.functions.clone()),
        ]);
        if self.sizes.overlap() > 1 {
            notes.insert(WINDOW_SLIDE.to_owned(), self.sizes.slide_micros().to_string());
        }
        state::encode(FORMAT, &self.windows.partials(groups)?, notes)
    }

    fn encode_none(&self, emitted: EventTime) -> Vec<u8> {
        let (size, slide) = (self.sizes.size_micros(), self.sizes.slide_micros());
        state::encode_text(NONE_OPEN, &format!("{emitted} {size} {slide}"))
    }
}

/// Whether windows up to this end have been emitted of which a checkpoint must tell. At the end of time none is left, and
/// nobody goes on from there.
fn is_told(emitted: EventTime) -> bool {
    emitted > EventTime::MIN && emitted < EventTime::MAX
}

/// Those of one key group.
struct OpenWindows {
    instant: Arc<Instant>,
    key_group: KeyGroup,
    emitted: EventTime,
}

impl StatePayload for OpenWindows {
    fn encode(&self) -> Result<Vec<u8>> {
        match self.instant.groups(self.key_group) {
            [] => Ok(self.instant.encode_none(self.emitted)),
            groups => self.instant.encode(groups, self.emitted),
        }
    }

    fn is_empty(&self) -> bool {
        !is_told(self.emitted) && self.instant.groups(self.key_group).is_empty()
    }
}

/// The aggregate's functions by name, in their order, of those that have state: what another one's state tells as well may
/// come and go. A sketch answers for any quantile.
fn functions(plan: &Plan) -> String {
    let stored = plan.calls.iter().filter(|call| call.counted_by.is_none());
    let names: Vec<&str> = stored.map(|call| call.function.name()).collect();
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
        emitted: impl Fn(KeyGroup) -> EventTime,
        key_groups: KeyGroupRange,
        max_parallelism: u16,
    ) -> Vec<StateChunk> {
        if let Some(chunks) = &self.0 {
            return chunks.clone();
        }
        let key_groups = (key_groups.start..key_groups.end).map(KeyGroup);
        if store.len() == 0 && !key_groups.clone().any(|key_group| is_told(emitted(key_group))) {
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
            let (instant, emitted) = (Arc::clone(&instant), emitted(key_group));
            let payload = Arc::new(OpenWindows { instant, key_group, emitted });
            StateChunk { name: CHUNK, key_group, payload }
        });
        self.0.insert(chunks.collect()).clone()
    }

    /// Adds a stored chunk to the store; returns up to which end windows had been emitted.
    pub(super) fn restore(store: &mut WindowStore, plan: &Plan, bytes: &[u8]) -> Result<EventTime> {
        match state::version(bytes) {
            Some(NONE_OPEN) => {
                let text = state::decode_text(NONE_OPEN, bytes)?;
                let [emitted, size, slide] = numbers::<3>(text).ok_or_else(missing)?;
                check_sizes(plan, (size, slide))?;
                Ok(emitted)
            }
            Some(NONE_OPEN_BY_WATERMARK) => {
                let text = state::decode_text(NONE_OPEN_BY_WATERMARK, bytes)?;
                let [watermark] = numbers::<1>(text).ok_or_else(missing)?;
                Ok(plan.closed_end(watermark))
            }
            Some(FORMAT_BY_WATERMARK) => {
                let rows = state::decode(FORMAT_BY_WATERMARK, bytes)?;
                let watermark = note(&rows, WATERMARK).ok_or_else(missing)?;
                restore_rows(store, plan, &rows)?;
                Ok(plan.closed_end(watermark))
            }
            _ => {
                let rows = state::decode(FORMAT, bytes)?;
                let emitted = note(&rows, EMITTED).ok_or_else(missing)?;
                restore_rows(store, plan, &rows)?;
                Ok(emitted)
            }
        }
    }
}

/// Adds the rows of open windows, which must be those of this aggregate.
fn restore_rows(store: &mut WindowStore, plan: &Plan, rows: &RecordBatch) -> Result<()> {
    let size = note(rows, WINDOW_SIZE).ok_or_else(missing)?;
    check_sizes(plan, (size, note(rows, WINDOW_SLIDE).unwrap_or(size)))?;
    let stored = rows.schema_ref().metadata().get(FUNCTIONS);
    let same = stored.is_none_or(|stored| *stored == functions(plan))
        && store.stores(rows.schema_ref().fields().iter().map(AsRef::as_ref));
    if !same {
        return Err(another());
    }
    store.merge(rows)
}

/// Windows of another size or slide would begin in the middle of what has been emitted.
fn check_sizes(plan: &Plan, stored: (i64, i64)) -> Result<()> {
    let sizes = (plan.windows.size_micros(), plan.windows.slide_micros());
    if stored == sizes { Ok(()) } else { Err(another()) }
}

/// One of the notes that are numbers.
fn note(rows: &RecordBatch, name: &str) -> Option<i64> {
    rows.schema_ref().metadata().get(name)?.parse().ok()
}

/// Exactly `N` numbers with a space between two.
fn numbers<const N: usize>(text: &str) -> Option<[i64; N]> {
    let numbers = text.split(' ').map(|number| number.parse::<i64>().ok());
    numbers.collect::<Option<Vec<i64>>>()?.try_into().ok()
}

fn missing() -> Error {
    Error::corrupt("the stored state of a window lacks its notes")
}

fn another() -> Error {
    Error::incompatible(
        "the checkpoint holds windows of another aggregate: set size, slide, keys and functions as they were, or begin anew with --fresh",
    )
}
