//! Alerts, each as it last was. What happens to them, their acknowledgement say, happens in the job.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use arrow_array::RecordBatch;
use serde::Serialize;
use thalweg_serving::http::Edit;

use super::row::{PatientId, long, micros, number, text};
use crate::healthcare::alerts::command::AlertId;

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
    /// When it was opened, µs.
    #[serde(skip)]
    opened: i64,
}

pub(super) fn read(batch: &RecordBatch) -> Vec<Alert> {
    (0..batch.num_rows()).filter_map(|at| alert(batch, at)).collect()
}

fn alert(batch: &RecordBatch, at: usize) -> Option<Alert> {
    let id = text(batch, "alert_id", at)?;
    let AlertId { opened_at: opened, .. } = id.parse().ok()?;
    Some(Alert {
        id,
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
        opened,
    })
}

impl Alert {
    /// Orders its changes. A chain that reads its events again counts them again: of two that are both the third one the
    /// later one counts.
    fn change(&self) -> (i64, i64) {
        (self.sequence, self.at)
    }

    /// Whether nobody has to look any more.
    fn is_over(&self) -> bool {
        self.state == RESOLVED
    }

    /// The same when it is over without a row that says so.
    fn ended(mut self, by: Option<&str>) -> Self {
        if !self.is_over() {
            RESOLVED.clone_into(&mut self.state);
            self.by = by.map(str::to_owned);
        }
        self
    }
}

const RESOLVED: &str = "resolved";
/// Who has ended what an earlier chain left open.
const NEW_RUN: &str = "a new run";

/// Of many events the last one of each alert that is to be shown. A rule has one open alert of a patient at most: where
/// there is a later one, the ones before are over, also those that a chain of checkpoints has left open that is no more.
/// Of alerts that ended long ago nothing is kept but, of each patient and rule, which one was the last.
#[derive(Debug)]
pub(super) struct Newest {
    /// Alerts that ended before that are not shown, ms.
    from: i64,
    rules: HashMap<String, usize>,
    /// By patient and rule.
    last: HashMap<(i64, usize), Last>,
    /// Others that ended lately, by their ids.
    ended: HashMap<String, Alert>,
}

/// The last alert of a patient and rule.
#[derive(Debug)]
struct Last {
    opened: i64,
    change: (i64, i64),
    /// `None`: it ended long ago.
    alert: Option<Box<Alert>>,
}

impl Newest {
    /// For events of which those that ended before `from` (ms) are not shown.
    pub(super) fn since(from: i64) -> Self {
        Self { from, rules: HashMap::new(), last: HashMap::new(), ended: HashMap::new() }
    }

    pub(super) fn add(&mut self, events: Vec<Alert>) {
        for alert in events {
            self.take(alert);
        }
    }

    /// Takes an event. Files are read in no order, so it may be older than what is known.
    fn take(&mut self, alert: Alert) {
        let next = self.rules.len();
        let rule = *self.rules.entry(alert.rule.clone()).or_insert(next);
        let slot = (alert.patient.0, rule);
        let (opened, change) = (alert.opened, alert.change());
        let known = self.last.get(&slot).map(|last| (last.opened, last.change));
        if known.is_some_and(|(last, _)| opened < last) {
            self.end(alert);
            return;
        }
        if known.is_some_and(|(last, newest)| opened == last && change < newest) {
            return;
        }
        let is_shown = !alert.is_over() || alert.at >= self.from;
        let alert = is_shown.then(|| Box::new(alert));
        let before = self.last.insert(slot, Last { opened, change, alert });
        if let Some(before) = before.filter(|before| before.opened < opened)
            && let Some(alert) = before.alert
        {
            self.end(*alert);
        }
    }

    /// There is a later one of the same patient and rule.
    fn end(&mut self, alert: Alert) {
        let known = self.ended.get(&alert.id).map(Alert::change);
        if alert.at >= self.from && known.is_none_or(|known| known <= alert.change()) {
            self.ended.insert(alert.id.clone(), alert.ended(None));
        }
    }

    /// Whether an alert that was opened then is over by what ended long ago, and is told of no more.
    fn has_ended(&self, (patient, rule): &(i64, String), opened: i64) -> bool {
        let last = self.rules.get(rule).and_then(|rule| self.last.get(&(*patient, *rule)));
        last.is_some_and(|last| last.alert.is_none() && opened <= last.opened)
    }

    fn into_alerts(self) -> impl Iterator<Item = Alert> {
        let last = self.last.into_values().filter_map(|last| last.alert);
        self.ended.into_values().chain(last.map(|alert| *alert))
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
    /// By patient and rule.
    open: HashMap<(i64, String), Alert>,
}

impl Alerts {
    /// Takes what ended before `from` (ms) off the board; clients forget it on their own, by the same rule, and must hear
    /// of the end first: so this comes before what is put.
    pub(super) fn forget(&mut self, edit: &mut Edit<'_>, from: i64) {
        while self.over.first().is_some_and(|(at, _)| *at < from || self.last.len() > MOST)
            && let Some((_, id)) = self.over.pop_first()
        {
            self.last.remove(&id);
            edit.remove("alerts", &id);
        }
    }

    /// Puts what became of alerts on the board, but for what ended before `from` (ms) and was never there. The log tells what
    /// was written later: an alert that is open now is the only one of its patient and rule, also where it was opened before
    /// one that is on the board. That one is of a run that was taken back.
    pub(super) fn put(&mut self, edit: &mut Edit<'_>, events: Newest, from: i64) {
        let ended = self.open.extract_if(|slot, open| events.has_ended(slot, open.opened));
        let ended: Vec<Alert> = ended.map(|(_, alert)| alert.ended(None)).collect();
        for alert in ended {
            self.show(edit, &alert, from);
        }
        for alert in events.into_alerts() {
            let slot = (alert.patient.0, alert.rule.clone());
            match self.open.get(&slot).map(|open| open.opened.cmp(&alert.opened)) {
                // What ended before says nothing of what is open.
                Some(Ordering::Greater) if alert.is_over() => {}
                Some(Ordering::Equal) => drop(self.open.remove(&slot)),
                Some(_) => {
                    if let Some(before) = self.open.remove(&slot) {
                        self.show(edit, &before.ended(None), from);
                    }
                }
                None => {}
            }
            self.show(edit, &alert, from);
            if !alert.is_over() {
                self.open.insert(slot, alert);
            }
        }
    }

    /// Ends all that are open: their chain of checkpoints is no more, and the one behind it knows nothing of them.
    pub(super) fn end(&mut self, edit: &mut Edit<'_>, from: i64) {
        for (_, alert) in std::mem::take(&mut self.open) {
            self.show(edit, &alert.ended(Some(NEW_RUN)), from);
        }
    }

    fn show(&mut self, edit: &mut Edit<'_>, alert: &Alert, from: i64) {
        let (id, at) = (&alert.id, alert.at);
        let before = self.last.get(id).copied();
        if before.is_none() && alert.is_over() && at < from {
            return;
        }
        edit.put("alerts", id.as_str(), alert);
        if let Some(before) = before {
            self.over.remove(&(before, id.clone()));
        }
        if alert.is_over() {
            self.over.insert((at, id.clone()));
        }
        self.last.insert(id.clone(), at);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use thalweg_serving::http::Board;

    use super::*;

    /// An alert of a patient, which opened so many µs after 1970: state, the time of it in ms, and how many changes.
    fn alert(patient: i64, opened: i64, (state, at, sequence): (&str, i64, i64)) -> Alert {
        Alert {
            id: format!("{patient}/news2/{opened}"),
            patient: PatientId(patient),
            rule: "news2".to_owned(),
            state: state.to_owned(),
            severity: "warning".to_owned(),
            vital: None,
            value: None,
            score: None,
            at,
            fired: None,
            by: None,
            sequence,
            opened,
        }
    }

    fn newest(from: i64, events: &[Alert]) -> Newest {
        let mut newest = Newest::since(from);
        newest.add(events.to_vec());
        newest
    }

    /// What is on the board: id, state, and by whom, by id.
    fn shown(board: &Board) -> Vec<(String, String, Option<String>)> {
        let message: Arc<str> = board.message(None, &["alerts"]).0;
        let message: serde_json::Value = serde_json::from_str(&message).unwrap();
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let rows = message["sections"]["alerts"].as_array();
        let rows = rows.into_iter().flatten();
        rows.map(|row| (text(&row["id"]).unwrap(), text(&row["state"]).unwrap(), text(&row["by"])))
            .collect()
    }

    fn row(id: &str, state: &str, by: Option<&str>) -> (String, String, Option<String>) {
        (id.to_owned(), state.to_owned(), by.map(str::to_owned))
    }

    #[test]
    fn open_alerts_stay_however_old_and_those_that_are_over_go() {
        let (board, mut alerts) = (Board::default(), Alerts::default());
        let look = |alerts: &mut Alerts, from, events: &[Alert]| {
            board.update(|edit| {
                alerts.forget(edit, from);
                alerts.put(edit, newest(from, events), from);
            });
            shown(&board)
        };
        let events = [
            alert(1, 1, ("firing", 1, 1)),
            alert(2, 1, ("acknowledged", 2, 2)),
            alert(2, 1, ("firing", 1, 1)),
            alert(1, 1, ("resolved", 2, 2)),
            alert(3, 1, ("resolved", 2_000, 3)),
        ];
        let open = row("2/news2/1", "acknowledged", None);
        let late = row("3/news2/1", "resolved", None);
        assert_eq!(look(&mut alerts, 1_000, &events), [open, late]);
        // Its end is told, though it is long ago, and then forgotten.
        let ended = [alert(2, 1, ("resolved", 3, 3))];
        assert_eq!(look(&mut alerts, 3_000, &ended), [row("2/news2/1", "resolved", None)]);
        assert_eq!(look(&mut alerts, 3_000, &[]), []);
    }

    #[test]
    fn a_later_alert_of_a_patient_and_rule_ends_the_one_before_in_whatever_order_they_come() {
        let old = alert(1, 1_000, ("firing", 5, 2));
        let new = alert(1, 9_000, ("firing", 9, 2));
        let other = alert(2, 1_000, ("firing", 5, 2));
        let expected = [
            row("1/news2/1000", "resolved", None),
            row("1/news2/9000", "firing", None),
            row("2/news2/1000", "firing", None),
        ];
        let looks: [&[&[Alert]]; 3] = [
            &[&[old.clone(), new.clone(), other.clone()]],
            &[&[new.clone(), old.clone(), other.clone()]],
            &[&[old, other], &[new]],
        ];
        for events in looks {
            let (board, mut alerts) = (Board::default(), Alerts::default());
            for events in events {
                board.update(|edit| alerts.put(edit, newest(0, events), 0));
            }
            assert_eq!(shown(&board), expected);
        }
        // What ended it is not shown, as it ended long ago itself: no more is the one before.
        let over = [alert(1, 9_000, ("resolved", 9, 3)), alert(1, 1_000, ("firing", 5, 2))];
        assert_eq!(newest(1_000, &over).into_alerts().count(), 0);
    }

    #[test]
    fn an_older_alert_of_which_a_later_commit_tells_that_it_is_open_takes_the_place_of_a_newer_one()
    {
        let (board, mut alerts) = (Board::default(), Alerts::default());
        let mut look = |event: Alert| {
            board.update(|edit| alerts.put(edit, newest(0, &[event]), 0));
            shown(&board)
        };
        look(alert(1, 9_000, ("firing", 9, 2)));
        // That it ended before changes nothing.
        let ended = look(alert(1, 500, ("resolved", 1, 3)));
        assert!(ended.contains(&row("1/news2/9000", "firing", None)), "{ended:?}");
        // The job was rewound, and comes along again.
        let expected = [
            row("1/news2/1000", "firing", None),
            row("1/news2/500", "resolved", None),
            row("1/news2/9000", "resolved", None),
        ];
        assert_eq!(look(alert(1, 1_000, ("firing", 2, 2))), expected);
        let again = look(alert(1, 9_000, ("firing", 9, 2)));
        let expected = ["resolved", "resolved", "firing"];
        assert!(again.iter().map(|(_, state, _)| state.as_str()).eq(expected), "{again:?}");
    }

    #[test]
    fn of_two_changes_with_one_number_the_later_one_counts() {
        let answered = alert(1, 5, ("acknowledged", 7, 3));
        let over = alert(1, 5, ("resolved", 9, 3));
        for events in [[answered.clone(), over.clone()], [over, answered]] {
            let found: Vec<String> =
                newest(0, &events).into_alerts().map(|alert| alert.state).collect();
            assert_eq!(found, ["resolved"]);
        }
    }

    #[test]
    fn what_a_chain_has_left_open_ends_with_the_next_one_unless_that_tells_of_it_again() {
        let (board, mut alerts) = (Board::default(), Alerts::default());
        let left = [alert(1, 9_000, ("firing", 9, 2)), alert(2, 9_000, ("acknowledged", 9, 3))];
        // It reads the same events again, and has not got as far.
        let again = [alert(2, 1_000, ("firing", 1, 2))];
        board.update(|edit| {
            alerts.put(edit, newest(0, &left), 0);
            alerts.end(edit, 0);
            alerts.put(edit, newest(0, &again), 0);
        });
        let expected = [
            row("1/news2/9000", "resolved", Some("a new run")),
            row("2/news2/1000", "firing", None),
            row("2/news2/9000", "resolved", Some("a new run")),
        ];
        assert_eq!(shown(&board), expected);
        board.update(|edit| alerts.put(edit, newest(0, &left[1..]), 0));
        let expected = [
            row("1/news2/9000", "resolved", Some("a new run")),
            row("2/news2/1000", "resolved", None),
            row("2/news2/9000", "acknowledged", None),
        ];
        assert_eq!(shown(&board), expected);
    }

    #[test]
    fn a_long_history_is_read_and_not_kept() {
        let mut newest = Newest::since(1_000_000);
        for opened in 0..10_000 {
            for patient in 0..3 {
                let fired = alert(patient, opened, ("firing", opened, 2));
                newest.add(vec![fired, alert(patient, opened, ("resolved", opened + 1, 3))]);
            }
        }
        newest.add(vec![alert(9, 5, ("firing", 5, 2))]);
        assert_eq!((newest.last.len(), newest.ended.len()), (4, 0));
        let kept: Vec<String> = newest.into_alerts().map(|alert| alert.id).collect();
        assert_eq!(kept, ["9/news2/5"]);
    }
}
