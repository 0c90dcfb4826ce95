//! The state of the merging phase in a checkpoint: per key group the open windows as partial rows, Arrow IPC.
//!
//! Arrow arrays are made from the accumulators at the barrier, once for all key groups, and shared by slices; encoding
//! them happens on another thread. As long as nothing changes the same chunks are handed out again.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use thalweg_core::key::{KeyGroup, key_group_of};
use thalweg_core::operator::{StateChunk, StatePayload};
use thalweg_core::time::EventTime;
use thalweg_core::window::state;
use thalweg_core::{Error, Result};

use super::plan::Plan;
use super::store::WindowStore;

/// Name of the chunks.
pub(super) const CHUNK: &str = "windows";
const FORMAT: u16 = 1;
const WATERMARK: &str = "thalweg.watermark";
const WINDOW_SIZE: &str = "thalweg.window_size";

/// Open windows of one key group at one instant.
struct OpenWindows {
    rows: RecordBatch,
    watermark: EventTime,
    window_size: i64,
}

impl StatePayload for OpenWindows {
    fn encode(&self) -> Result<Vec<u8>> {
        let notes = HashMap::from([
            (WATERMARK.to_owned(), self.watermark.to_string()),
            (WINDOW_SIZE.to_owned(), self.window_size.to_string()),
        ]);
        state::encode(FORMAT, &self.rows, notes)
    }
}

/// The chunks of the last snapshot, while they are still true.
#[derive(Debug, Default)]
pub(super) struct Snapshots(Option<Vec<StateChunk>>);

impl Snapshots {
    /// The state has changed.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// A chunk per key group that has open windows.
    pub(super) fn take(
        &mut self,
        store: &WindowStore,
        plan: &Plan,
        watermark: impl Fn(KeyGroup) -> EventTime,
        max_parallelism: u16,
    ) -> Result<Vec<StateChunk>> {
        if let Some(chunks) = &self.0 {
            return Ok(chunks.clone());
        }
        let mut owned: Vec<(KeyGroup, u32)> = store
            .groups
            .open()
            .map(|group| (key_group_of(store.groups.key_hash(group), max_parallelism), group))
            .collect();
        // Stable: within a key group windows stay in order.
        owned.sort_by_key(|(key_group, _)| *key_group);
        let groups: Vec<u32> = owned.iter().map(|(_, group)| *group).collect();
        let rows = store.partials(&groups)?;
        let mut chunks = Vec::new();
        let mut from = 0;
        for run in owned.chunk_by(|a, b| a.0 == b.0) {
            let Some((key_group, _)) = run.first() else { continue };
            let payload = OpenWindows {
                rows: rows.slice(from, run.len()),
                watermark: watermark(*key_group),
                window_size: plan.windows.size_micros(),
            };
            from += run.len();
            chunks.push(StateChunk {
                name: CHUNK,
                key_group: *key_group,
                payload: Arc::new(payload),
            });
        }
        self.0 = Some(chunks.clone());
        Ok(chunks)
    }

    /// Adds a stored chunk to the store; returns the watermark it was taken at.
    pub(super) fn restore(store: &mut WindowStore, plan: &Plan, bytes: &[u8]) -> Result<EventTime> {
        let rows = state::decode(FORMAT, bytes)?;
        let note = |name: &str| -> Result<i64> {
            let text = rows.schema_ref().metadata().get(name);
            text.and_then(|text| text.parse().ok())
                .ok_or_else(|| Error::corrupt("the stored state of a window lacks its notes"))
        };
        let (watermark, size) = (note(WATERMARK)?, note(WINDOW_SIZE)?);
        let same = store.stores(rows.schema_ref().fields().iter().map(AsRef::as_ref));
        if !same || size != plan.windows.size_micros() {
            return Err(Error::incompatible(
                "the checkpoint holds windows of another aggregate: give the changed one a new uid",
            ));
        }
        store.merge(&rows)?;
        Ok(watermark)
    }
}
