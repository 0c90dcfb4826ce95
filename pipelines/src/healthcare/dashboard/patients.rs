//! Vitals by patient, of the newest hour of `gold/patient_vitals`: read when somebody asks for a patient, followed
//! while somebody goes on asking.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use thalweg_connectors::delta::{DeltaFollower, TableFile, TableVersion};
use thalweg_core::{Record, Result};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::feed::{SPAN, WINDOW, millis};
use super::row::{self, PatientId, Row};
use crate::healthcare::gold::PatientVitals;

const TABLE: &str = "gold/patient_vitals";
/// Windows kept in memory over all patients; the oldest are forgotten first.
const MOST: usize = 200_000;
/// A table is not looked at more often.
const FRESH: Duration = Duration::from_millis(500);
/// Patients listed at once.
const LISTED: usize = 200;

/// The patients. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Patients {
    follower: DeltaFollower,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    version: Option<TableVersion>,
    looked: Option<Instant>,
    newest: i64,
    /// By start of the window (ms), then patient.
    rows: BTreeMap<(i64, i64), Row>,
}

/// A patient in a list, as in the newest window.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    id: PatientId,
    newest: Row,
}

impl Patients {
    pub(super) fn new(follower: DeltaFollower) -> Self {
        Self { follower, held: Arc::default() }
    }

    /// Those whose number begins with `begins`, by number.
    pub(super) async fn list(&self, begins: &str) -> Result<Vec<Listed>> {
        let mut held = self.held.lock().await;
        self.follow(&mut held).await?;
        let mut newest: BTreeMap<i64, &Row> = BTreeMap::new();
        for ((_, patient), row) in &held.rows {
            newest.insert(*patient, row);
        }
        let wanted = newest.into_iter().filter(|(id, _)| id.to_string().starts_with(begins));
        let listed = wanted.take(LISTED);
        Ok(listed.map(|(id, row)| Listed { id: PatientId(id), newest: row.clone() }).collect())
    }

    /// The windows of one patient, oldest first, and the start of the newest window of all (ms).
    pub(super) async fn rows(&self, patient: i64) -> Result<(Vec<Row>, i64)> {
        let mut held = self.held.lock().await;
        self.follow(&mut held).await?;
        let of = held.rows.iter().filter(|((_, id), _)| *id == patient);
        Ok((of.map(|(_, row)| row.clone()).collect(), held.newest))
    }

    async fn follow(&self, held: &mut Held) -> Result<()> {
        let now = Instant::now();
        if held.looked.is_some_and(|looked| now.duration_since(looked) < FRESH) {
            return Ok(());
        }
        // After a while of silence all of it is old.
        if held.looked.is_some_and(|looked| now.duration_since(looked) > SPAN) {
            *held = Held::default();
        }
        let mut gained = None;
        if let Some(known) = &held.version {
            gained = self.follower.since(TABLE, known).await?;
        }
        if gained.is_none() {
            gained = self.anew(held).await?;
        }
        let Some((version, files)) = gained else { return Ok(()) };
        for file in &files {
            self.read(held, file).await?;
        }
        held.version = Some(version);
        held.looked = Some(now);
        held.trim();
        Ok(())
    }

    /// Forgets everything: the newest version and the files of its newest hour; `None` when there is no such table.
    async fn anew(&self, held: &mut Held) -> Result<Option<(TableVersion, Vec<TableFile>)>> {
        *held = Held::default();
        let Some(version) = self.follower.newest(TABLE).await? else { return Ok(None) };
        let mut files = self.follower.files(TABLE, version.number()).await?;
        let newest = files.iter().filter_map(|file| file.greatest_second(WINDOW)).max();
        let from = newest.and_then(row::of_second).map(|micros| micros - millis(SPAN) * 1_000);
        let second = from.and_then(row::second).unwrap_or_default();
        files.retain(|file| file.may_reach(WINDOW, &second));
        Ok(Some((version, files)))
    }

    async fn read(&self, held: &mut Held, file: &TableFile) -> Result<()> {
        for batch in self.follower.rows(TABLE, file, PatientVitals::COLUMNS).await? {
            for at in 0..batch.num_rows() {
                let patient = row::long(&batch, PatientVitals::PATIENT_ID.name(), at);
                if let (Some(patient), Some(row)) = (patient, row::row(&batch, None, true, at)) {
                    held.newest = held.newest.max(row.t);
                    held.rows.insert((row.t, patient), row);
                }
            }
            held.trim();
        }
        Ok(())
    }
}

impl Held {
    fn trim(&mut self) {
        let from = self.newest - millis(SPAN);
        while self.rows.first_key_value().is_some_and(|((t, _), _)| *t < from)
            || self.rows.len() > MOST
        {
            self.rows.pop_first();
        }
    }
}
