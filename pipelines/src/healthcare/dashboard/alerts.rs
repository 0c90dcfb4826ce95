//! Alerts, each as it last was. What happens to them, their acknowledgement say, happens in the job.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow_array::RecordBatch;
use serde::Serialize;
use thalweg_serving::http::Edit;

use super::row::{PatientId, long, micros, number, text};

/// Where the job writes what becomes of alerts.
pub(super) use crate::healthcare::graph::ALERTS as TABLE;
/// When it happened.
const TIME: &str = "event_time";
pub(super) const COLUMNS: &[&str] = &[
    "alert_id",
    "patient_id",
    "rule",
    "state",
    "severity",
    "vital",
    "value",
    "score",
    TIME,
    "fired_at",
    "sequence",
    "by",
];

/// An alert at one time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Alert {
    id: String,
    patient: PatientId,
    rule: String,
    state: String,
    severity: String,
    vital: Option<String>,
    value: Option<f64>,
    score: Option<i64>,
    /// ms
    at: i64,
    /// ms
    fired: Option<i64>,
    by: Option<String>,
    /// Which change of the alert this is.
    #[serde(skip)]
    sequence: i64,
}

pub(super) fn read(batch: &RecordBatch) -> Vec<Alert> {
    (0..batch.num_rows()).filter_map(|at| alert(batch, at)).collect()
}

fn alert(batch: &RecordBatch, at: usize) -> Option<Alert> {
    Some(Alert {
        id: text(batch, "alert_id", at)?,
        patient: PatientId(long(batch, "patient_id", at)?),
        rule: text(batch, "rule", at)?,
        state: text(batch, "state", at)?,
        severity: text(batch, "severity", at)?,
        vital: text(batch, "vital", at),
        value: number(batch, "value", at),
        score: long(batch, "score", at),
        at: micros(batch, TIME, at)? / 1_000,
        fired: micros(batch, "fired_at", at).map(|micros| micros / 1_000),
        by: text(batch, "by", at),
        sequence: long(batch, "sequence", at).unwrap_or(0),
    })
}

impl Alert {
    /// Whether nobody has to look any more.
    fn is_over(&self) -> bool {
        self.state == "resolved"
    }
}

/// Of many events the last one of each alert, by its id.
#[derive(Debug, Default)]
pub(super) struct Newest(BTreeMap<String, Alert>);

impl Newest {
    pub(super) fn add(&mut self, events: Vec<Alert>) {
        for alert in events {
            let known = self.0.get(&alert.id);
            if known.is_none_or(|known| known.sequence <= alert.sequence) {
                self.0.insert(alert.id.clone(), alert);
            }
        }
    }
}

/// Alerts on the board at once; beyond that those go that are over, the oldest first.
const MOST: usize = 1_000;

/// What is known of the alerts on the board: those that are open, however old, and those that ended lately.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    /// By the last time that each was heard of, ms.
    over: BTreeSet<(i64, String)>,
    last: HashMap<String, i64>,
}

impl Alerts {
    /// Puts what became of alerts on the board. What ended before `from` (ms) goes; clients forget it on their own, by
    /// the same rule, and must hear of the end first: it stays until the next call.
    pub(super) fn put(&mut self, edit: &mut Edit<'_>, events: Newest, from: i64) {
        while self.over.first().is_some_and(|(at, _)| *at < from || self.last.len() > MOST)
            && let Some((_, id)) = self.over.pop_first()
        {
            self.last.remove(&id);
            edit.remove("alerts", &id);
        }
        for (id, alert) in events.0 {
            let before = self.last.get(&id).copied();
            if before.is_none() && alert.is_over() && alert.at < from {
                continue;
            }
            edit.put("alerts", id.clone(), &alert);
            if let Some(before) = before {
                self.over.remove(&(before, id.clone()));
            }
            if alert.is_over() {
                self.over.insert((alert.at, id.clone()));
            }
            self.last.insert(id, alert.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use thalweg_serving::http::Board;

    use super::*;

    fn newest(events: &[(&str, &str, i64, i64)]) -> Newest {
        let mut newest = Newest::default();
        let alert = |(id, state, at, sequence): &(&str, &str, i64, i64)| Alert {
            id: (*id).to_owned(),
            patient: PatientId(7),
            rule: "news2".to_owned(),
            state: (*state).to_owned(),
            severity: "warning".to_owned(),
            vital: None,
            value: None,
            score: None,
            at: *at,
            fired: None,
            by: None,
            sequence: *sequence,
        };
        newest.add(events.iter().map(alert).collect());
        newest
    }

    fn shown(board: &Board) -> Arc<str> {
        board.message(None, &["alerts"]).0
    }

    #[test]
    fn open_alerts_stay_however_old_and_those_that_are_over_go() {
        let (board, mut alerts) = (Board::default(), Alerts::default());
        let events = [
            ("over", "firing", 1, 1),
            ("open", "acknowledged", 2, 2),
            ("open", "firing", 1, 1),
            ("over", "resolved", 2, 2),
            ("late", "resolved", 2_000, 3),
        ];
        board.update(|edit| alerts.put(edit, newest(&events), 1_000));
        let text = shown(&board);
        assert!(text.contains("acknowledged") && text.contains("late"), "{text}");
        assert!(!text.contains("firing") && !text.contains("over"), "{text}");
        // Its end is told, though it is long ago, and then forgotten.
        board.update(|edit| alerts.put(edit, newest(&[("open", "resolved", 3, 3)]), 3_000));
        let text = shown(&board);
        assert!(text.contains("open") && !text.contains("late"), "{text}");
        board.update(|edit| {
            edit.put("alerts", "other", &1);
            alerts.put(edit, Newest::default(), 3_000);
        });
        assert!(!shown(&board).contains("open"));
    }
}
