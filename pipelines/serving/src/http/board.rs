//! What everybody looks at: rows by section, each with the version at which it last changed.
//!
//! A client that has version *a* and asks at version *b* gets, in one message, every row that changed in between as it
//! is at *b*. So there is no queue per client: one that reads slowly skips what was overwritten meanwhile and always
//! gets the latest, and one that comes back after a broken connection says what it has and goes on from there.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::watch;

/// Messages that are kept: clients that keep up are in one or two places, in one of a few roles.
const MADE: usize = 8;

/// The rows, their readers, and who is told of changes. Shared by all requests.
#[derive(Debug)]
pub struct Board {
    /// Another process, or another life of this one, counts its versions anew.
    boot: u64,
    rows: Mutex<Rows>,
    version: watch::Sender<u64>,
    readers: watch::Sender<usize>,
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Rows {
    version: u64,
    /// A client with an older version must forget all that it has.
    cleared: u64,
    stale: bool,
    sections: BTreeMap<&'static str, BTreeMap<String, Row>>,
    /// Messages of the current version: many clients want the same one.
    made: HashMap<(u64, Vec<&'static str>), Arc<str>>,
}

#[derive(Debug)]
struct Row {
    version: u64,
    value: Box<RawValue>,
}

/// Where a client is: which life of the server, which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    boot: u64,
    version: u64,
}

impl Position {
    /// Reads what [`Position::to_string`] wrote; anything else is a client that has nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let (boot, version) = text.split_once('-')?;
        Some(Self { boot: u64::from_str_radix(boot, 16).ok()?, version: version.parse().ok()? })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{}", self.boot, self.version)
    }
}

/// Holds a place among the readers; they are counted so that nobody works for nobody.
#[derive(Debug)]
pub struct Reading(Arc<Board>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.readers.send_modify(|readers| *readers -= 1);
    }
}

/// Changes rows, all of them visible at once.
#[derive(Debug)]
pub struct Edit<'a> {
    rows: &'a mut Rows,
    changed: bool,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            boot: rand::random(),
            rows: Mutex::default(),
            version: watch::Sender::new(0),
            readers: watch::Sender::new(0),
            ready: watch::Sender::new(false),
        }
    }
}

impl Board {
    /// Applies `edit`; clients hear of it if anything became different.
    pub fn update(&self, edit: impl FnOnce(&mut Edit<'_>)) {
        let mut rows = self.rows();
        rows.version += 1;
        let mut changes = Edit { rows: &mut rows, changed: false };
        edit(&mut changes);
        if changes.changed {
            rows.made.clear();
            self.version.send_replace(rows.version);
        } else {
            rows.version -= 1;
        }
    }

    /// What a client that is at `since` needs, and where it is then. `sections`: the ones it may see.
    pub fn message(
        &self,
        since: Option<Position>,
        sections: &[&'static str],
    ) -> (Arc<str>, Position) {
        let mut rows = self.rows();
        let here = Position { boot: self.boot, version: rows.version };
        let known = since.filter(|p| p.boot == self.boot && p.version <= rows.version);
        let since = known.map_or(0, |p| p.version);
        let key = (since, sections.to_vec());
        if let Some(made) = rows.made.get(&key) {
            return (Arc::clone(made), here);
        }
        let reset = since == 0 || since < rows.cleared;
        let message: Arc<str> =
            rows.compose(here, if reset { 0 } else { since }, reset, sections).into();
        // Clients choose where they have been, so there is no end of messages.
        if rows.made.len() >= MADE {
            rows.made.clear();
        }
        rows.made.insert(key, Arc::clone(&message));
        (message, here)
    }

    /// Where the board is.
    pub fn position(&self) -> Position {
        Position { boot: self.boot, version: self.rows().version }
    }

    /// Tells of new versions.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Counts the caller among the readers until the result is dropped.
    pub fn read(self: &Arc<Self>) -> Reading {
        self.readers.send_modify(|readers| *readers += 1);
        Reading(Arc::clone(self))
    }

    /// How many readers there are.
    pub fn readers(&self) -> watch::Receiver<usize> {
        self.readers.subscribe()
    }

    /// Says whether the board shows what there is, or that it cannot; a first look waits for that.
    pub fn set_ready(&self, ready: bool) {
        self.ready.send_if_modified(|was| std::mem::replace(was, ready) != ready);
    }

    /// Tells of [`Board::set_ready`].
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// What was said last by [`Edit::set_stale`].
    pub fn is_stale(&self) -> bool {
        self.rows().stale
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn compose(&self, here: Position, since: u64, reset: bool, sections: &[&str]) -> String {
        let stale = self.stale;
        let mut text = format!(r#"{{"id":"{here}","reset":{reset},"stale":{stale},"sections":{{"#);
        let mut first = true;
        for (name, rows) in &self.sections {
            if !sections.contains(name) {
                continue;
            }
            let fresh: Vec<&str> = rows
                .values()
                .filter(|row| row.version > since)
                .map(|row| row.value.get())
                .collect();
            if fresh.is_empty() && !reset {
                continue;
            }
            let comma = if first { "" } else { "," };
            first = false;
            let written = write!(text, r#"{comma}"{name}":[{}]"#, fresh.join(","));
            debug_assert!(written.is_ok(), "a String takes everything");
        }
        text.push_str("}}");
        text
    }
}

impl Edit<'_> {
    /// Puts a row under `key`. The same value again is no change.
    pub fn put(&mut self, section: &'static str, key: impl Into<String>, value: &impl Serialize) {
        let Ok(value) = serde_json::value::to_raw_value(value) else {
            tracing::warn!(section, "a row for the dashboard cannot be written as JSON");
            return;
        };
        let (rows, key) = (self.rows.sections.entry(section).or_default(), key.into());
        if rows.get(&key).is_some_and(|row| row.value.get() == value.get()) {
            return;
        }
        rows.insert(key, Row { version: self.rows.version, value });
        self.changed = true;
    }

    /// Says whether rows cannot be brought up to date just now. Clients are told with what they get next.
    pub fn set_stale(&mut self, stale: bool) {
        self.changed |= std::mem::replace(&mut self.rows.stale, stale) != stale;
    }

    /// Forgets rows whose key is less than `key`. Clients forget them on their own, by the same rule.
    pub fn forget_before(&mut self, section: &'static str, key: &str) {
        if let Some(rows) = self.rows.sections.get_mut(section) {
            *rows = rows.split_off(key);
        }
    }

    /// Forgets all but the `most` rows with the greatest keys. Clients forget them on their own, by the same rule.
    pub fn keep_last(&mut self, section: &'static str, most: usize) {
        if let Some(rows) = self.rows.sections.get_mut(section) {
            while rows.len() > most {
                rows.pop_first();
            }
        }
    }

    /// Takes a row away. Clients forget it on their own, by what it was at last: who has not heard that begins anew.
    pub fn remove(&mut self, section: &'static str, key: &str) {
        let rows = self.rows.sections.get_mut(section);
        if let Some(row) = rows.and_then(|rows| rows.remove(key)) {
            self.rows.cleared = self.rows.cleared.max(row.version);
            self.rows.made.clear();
        }
    }

    /// Takes a row away from clients, too. They have to begin anew, so it is for what happens seldom.
    pub fn withdraw(&mut self, section: &'static str, key: &str) {
        let rows = self.rows.sections.get_mut(section);
        if rows.and_then(|rows| rows.remove(key)).is_some() {
            self.rows.cleared = self.rows.version;
            self.changed = true;
        }
    }

    /// Forgets everything; clients are told to do the same.
    pub fn clear(&mut self) {
        self.rows.sections.clear();
        self.rows.cleared = self.rows.version;
        self.changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[&str] = &["a", "b"];

    fn put(board: &Board, section: &'static str, key: &str, value: i32) {
        board.update(|edit| edit.put(section, key, &value));
    }

    fn sections(message: &str) -> serde_json::Value {
        serde_json::from_str::<serde_json::Value>(message).unwrap()["sections"].clone()
    }

    #[test]
    fn a_client_gets_each_row_that_changed_since_once_and_as_it_is_now() {
        let board = Board::default();
        put(&board, "a", "1", 10);
        put(&board, "b", "1", 20);
        let (message, first) = board.message(None, ALL);
        assert_eq!(sections(&message), serde_json::json!({"a": [10], "b": [20]}));
        for value in 11..99 {
            put(&board, "a", "1", value);
        }
        put(&board, "a", "2", 7);
        let (message, second) = board.message(Some(first), ALL);
        assert_eq!(sections(&message), serde_json::json!({"a": [98, 7]}));
        assert_eq!(sections(&board.message(Some(second), ALL).0), serde_json::json!({}));
    }

    #[test]
    fn the_same_value_again_is_no_change() {
        let board = Board::default();
        put(&board, "a", "1", 10);
        let (changes, before) = (board.changes(), board.position());
        put(&board, "a", "1", 10);
        assert!(!changes.has_changed().unwrap());
        assert_eq!(board.position(), before);
    }

    #[test]
    fn a_position_of_another_process_or_from_before_a_clearing_gets_everything() {
        let board = Board::default();
        put(&board, "a", "1", 10);
        let old = board.position();
        assert_eq!(Position::parse(&old.to_string()), Some(old));
        let foreign = Position { boot: old.boot ^ 1, version: old.version };
        assert!(board.message(Some(foreign), ALL).0.contains(r#""reset":true"#));
        board.update(|edit| {
            edit.clear();
        });
        put(&board, "b", "1", 20);
        let (message, _) = board.message(Some(old), ALL);
        assert!(message.contains(r#""reset":true"#), "{message}");
        assert_eq!(sections(&message), serde_json::json!({"b": [20]}));
    }

    #[test]
    fn clients_hear_once_that_rows_cannot_be_brought_up_to_date() {
        let board = Board::default();
        put(&board, "a", "1", 10);
        let known = board.position();
        for (stale, told) in [(true, r#""stale":true"#), (false, r#""stale":false"#)] {
            board.update(|edit| edit.set_stale(stale));
            let (message, here) = board.message(Some(known), ALL);
            assert!(message.contains(told) && sections(&message) == serde_json::json!({}));
            board.update(|edit| edit.set_stale(stale));
            assert_eq!(board.position(), here, "the same again is no change");
        }
    }

    #[test]
    fn clients_forget_a_row_that_is_withdrawn() {
        let board = Board::default();
        put(&board, "a", "1", 10);
        put(&board, "a", "2", 20);
        let known = board.position();
        board.update(|edit| edit.withdraw("a", "3"));
        assert_eq!(board.position(), known, "there was no such row");
        board.update(|edit| edit.withdraw("a", "1"));
        let (message, _) = board.message(Some(known), ALL);
        assert!(message.contains(r#""reset":true"#), "{message}");
        assert_eq!(sections(&message), serde_json::json!({"a": [20]}));
    }

    #[test]
    fn who_has_not_heard_what_a_row_was_at_last_begins_anew_when_it_is_gone() {
        let board = Board::default();
        put(&board, "a", "1", 10);
        put(&board, "a", "2", 20);
        let before = board.position();
        put(&board, "a", "1", 11);
        let heard = board.position();
        assert_eq!(sections(&board.message(Some(before), ALL).0), serde_json::json!({"a": [11]}));
        board.update(|edit| edit.remove("a", "1"));
        assert_eq!(board.position(), heard, "who has heard it is told nothing");
        put(&board, "a", "2", 21);
        let (message, _) = board.message(Some(heard), ALL);
        assert!(message.contains(r#""reset":false"#), "{message}");
        let (message, _) = board.message(Some(before), ALL);
        assert!(message.contains(r#""reset":true"#), "{message}");
        assert_eq!(sections(&message), serde_json::json!({"a": [21]}));
    }

    #[test]
    fn a_section_can_be_held_to_its_last_rows() {
        let board = Board::default();
        for key in ["3", "1", "2"] {
            put(&board, "a", key, key.parse().unwrap());
        }
        board.update(|edit| edit.keep_last("a", 2));
        assert_eq!(sections(&board.message(None, ALL).0), serde_json::json!({"a": [2, 3]}));
    }

    #[test]
    fn a_client_sees_only_the_sections_it_may() {
        let board = Board::default();
        put(&board, "a", "1", 10);
        put(&board, "b", "1", 20);
        let (message, _) = board.message(None, &["b"]);
        assert_eq!(sections(&message), serde_json::json!({"b": [20]}));
    }

    #[test]
    fn readers_are_counted() {
        let board = Arc::new(Board::default());
        let readers = board.readers();
        let reading = (board.read(), board.read());
        assert_eq!(*readers.borrow(), 2);
        drop(reading);
        assert_eq!(*readers.borrow(), 0);
    }
}
