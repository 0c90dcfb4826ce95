//! Somebody else who writes to the table: files, columns, settings, log checkpoints, clean-ups.
//!
//! Whatever they do is done at once, but for the checkpoint, which is a step of the kernel as ours is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use serde_json::{Value, json};

use super::process::add;
use super::store::{SimStore, entry};
use super::world::{TABLE, World};
use crate::delta::maintenance;
use crate::delta::storage::Storage;

pub(super) struct Foreigner(SimStore);

impl Foreigner {
    pub(super) fn new(world: &Arc<World>) -> Self {
        Self(SimStore { world: Arc::clone(world), process: 0 })
    }

    pub(super) async fn live(self) {
        loop {
            let pause = Duration::from_millis(300 + self.0.world.choose(2_700));
            tokio::time::sleep(pause).await;
            if self.0.world.inner().log.is_empty() {
                continue;
            }
            match self.0.world.choose(10) {
                0 => self.change().await,
                1 | 2 => self.clean().await,
                _ => self.append(self.0.world.choose(3) + 1).await,
            }
        }
    }

    /// Files, one an entry.
    pub(super) async fn append(&self, entries: u64) {
        for _ in 0..entries {
            let name = {
                let mut inner = self.0.world.inner();
                let name = format!("foreign-{}.parquet", inner.foreign.len());
                inner.foreign.push(name.clone());
                name
            };
            self.create(&json!({ "add": add(&name, 1) })).await;
            self.0.world.count(|c| c.foreign += 1);
        }
    }

    async fn create(&self, action: &Value) {
        let about = json!({ "commitInfo": { "operation": "SOMETHING", "timestamp": 1 } });
        let version = self.0.world.inner().log.len() as u64;
        let bytes = Bytes::from(format!("{about}\n{action}"));
        if self.0.create(version, bytes).await.is_err() {
            self.0.world.violation(format!("entry {version} stands and was never created"));
        }
    }

    /// A column that may be null, or a setting that means nothing to us.
    async fn change(&self) {
        let Some(mut metadata) = self.metadata() else { return };
        let version = self.0.world.inner().log.len();
        if self.0.world.choose(2) == 0 {
            metadata["configuration"]["note"] = json!(version.to_string());
        } else {
            let text = metadata["schemaString"].as_str().unwrap();
            let mut schema: Value = serde_json::from_str(text).unwrap();
            let column = json!({
                "name": format!("extra_{version}"), "type": "long", "nullable": true, "metadata": {},
            });
            schema["fields"].as_array_mut().unwrap().push(column);
            metadata["schemaString"] = json!(schema.to_string());
        }
        self.create(&json!({ "metaData": metadata })).await;
        self.0.world.count(|c| c.changes += 1);
    }

    /// As the newest entry that has some says.
    fn metadata(&self) -> Option<Value> {
        let inner = self.0.world.inner();
        let lines = inner.log.iter().rev().flat_map(|entry| entry.bytes.split(|b| *b == b'\n'));
        let mut actions = lines.filter_map(|l| serde_json::from_slice::<Value>(l).ok());
        actions.find_map(|action| action.get("metaData").cloned())
    }

    /// A log checkpoint, and nothing is kept that it stands for; by some not even the entry it is of.
    pub(super) async fn clean(&self) {
        let world = &self.0.world;
        let storage = Storage::on(world.remote.clone(), Arc::new(self.0.clone()));
        let version = world.inner().log.len() as u64 - 1;
        let log = storage.log(TABLE).unwrap();
        if maintenance::checkpoint(&log, TABLE, version).await.is_err() {
            return;
        }
        for gone in 0..version + world.choose(2) {
            world.objects.delete(&entry(gone)).await.unwrap();
        }
        world.count(|c| c.cleanups += 1);
    }
}
