//! What a client has set. Few settings mean something here; the others are remembered, and told when they are asked for.
//!
//! As in `PostgreSQL` a connection can begin with some, a transaction that is rolled back takes its own back, and
//! `SET LOCAL` ends with the transaction.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::dialect::is_utc;
use super::failure::Told;

const MOST: usize = 100;
const LONGEST_VALUE: usize = 1000;
const TIMEOUT: &str = "statement_timeout";
const TIME_ZONE: &str = "timezone";
/// What a connection begins with that is no setting, or one that is here as it is.
const NOT_SEEDED: [&str; 6] =
    ["user", "database", "replication", "options", "client_encoding", TIME_ZONE];

type Values = BTreeMap<String, String>;

/// Those of one connection.
#[derive(Debug)]
pub(super) struct Settings {
    user: String,
    role: String,
    /// The server's own.
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Values,
    /// As the connection began.
    first: Values,
    /// A transaction has begun.
    begun: Option<Begun>,
}

/// What holds when a transaction ends.
#[derive(Debug)]
struct Begun {
    /// If it is rolled back.
    before: Values,
    /// If it is committed.
    after: Values,
}

impl Settings {
    pub(super) fn new(user: &str, role: &str, timeout: Duration) -> Self {
        let (user, role) = (user.to_owned(), role.to_owned());
        Self { user, role, timeout, state: Mutex::default() }
    }

    /// Takes what the client began its connection with, by name and in `options`: `-c name=value` or `--name=value`.
    pub(super) fn seed(&self, parameters: &HashMap<String, String>) -> Result<(), Told> {
        let options = parameters.get("options").map_or("", String::as_str);
        let named = parameters.iter().map(|(name, value)| (name.clone(), value.clone()));
        for (name, value) in named.chain(in_options(options)?) {
            let name = name.to_lowercase();
            if !NOT_SEEDED.contains(&name.as_str()) && !name.starts_with("_pq_.") {
                self.set(&name, &value, false)?;
            }
        }
        let mut state = self.state();
        state.first = state.now.clone();
        Ok(())
    }

    /// The value of a setting.
    pub(super) fn show(&self, name: &str) -> Result<String, Told> {
        if let Some(value) = self.state().now.get(name) {
            return Ok(value.clone());
        }
        Ok(match name {
            "server_version" => "16.6".to_owned(),
            "server_version_num" => "160006".to_owned(),
            "server_encoding" | "client_encoding" => "UTF8".to_owned(),
            TIME_ZONE | "time zone" => "UTC".to_owned(),
            "datestyle" => "ISO, YMD".to_owned(),
            "intervalstyle" => "postgres".to_owned(),
            "search_path" => super::SCHEMA.to_owned(),
            "standard_conforming_strings"
            | "integer_datetimes"
            | "transaction_read_only"
            | "default_transaction_read_only" => "on".to_owned(),
            "is_superuser" | "in_hot_standby" => "off".to_owned(),
            "transaction_isolation"
            | "transaction isolation level"
            | "default_transaction_isolation" => "read committed".to_owned(),
            "max_identifier_length" => "63".to_owned(),
            "extra_float_digits" => "1".to_owned(),
            "application_name" => String::new(),
            "session_authorization" => self.user.clone(),
            "role" => self.role.clone(),
            TIMEOUT => format!("{}ms", self.timeout.as_millis()),
            _ => return Err(Told::new("42704", "there is no such setting")),
        })
    }

    /// Sets it, for the transaction alone if it is `local`; an empty value: as it was in the beginning.
    pub(super) fn set(&self, name: &str, value: &str, local: bool) -> Result<(), Told> {
        let value = value.trim();
        if name == TIMEOUT && !value.is_empty() && !is_default(value) && duration(value).is_none() {
            return Err(Told::new("22023", "statement_timeout is a number of ms, or 5s, 1min"));
        }
        if name == "client_encoding"
            && !["", "utf8", "utf-8", "unicode"].contains(&value.to_lowercase().as_str())
        {
            return Err(Told::new("22023", "client_encoding can only be UTF8"));
        }
        if name == TIME_ZONE || name == "time zone" {
            return time_zone(value);
        }
        let mut state = self.state();
        let State { now, first, begun } = &mut *state;
        let value = if is_default(value) {
            first.get(name).cloned()
        } else {
            Some(value.chars().take(LONGEST_VALUE).collect::<String>())
        };
        match (begun, local) {
            (Some(begun), false) => {
                put(&mut begun.after, name, value.clone());
                put(now, name, value);
            }
            (None, true) => {}
            (Some(_), true) | (None, false) => put(now, name, value),
        }
        Ok(())
    }

    /// All as they were in the beginning.
    pub(super) fn reset(&self) {
        let mut state = self.state();
        let State { now, first, begun } = &mut *state;
        now.clone_from(first);
        if let Some(begun) = begun {
            begun.after.clone_from(first);
        }
    }

    /// A transaction begins, unless one has begun.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        let State { now, begun, .. } = &mut *state;
        begun.get_or_insert_with(|| Begun { before: now.clone(), after: now.clone() });
    }

    /// It ends.
    pub(super) fn end(&self, committed: bool) {
        let mut state = self.state();
        if let Some(Begun { before, after }) = state.begun.take() {
            state.now = if committed { after } else { before };
        }
    }

    /// How long the client lets a statement run; the server's own limit stays.
    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        let state = self.state();
        // Zero means none of its own.
        duration(state.now.get(TIMEOUT)?).filter(|time| !time.is_zero())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_default(value: &str) -> bool {
    value.is_empty() || value.eq_ignore_ascii_case("default")
}

/// Whatever it is called, it stays the one that it is.
fn time_zone(value: &str) -> Result<(), Told> {
    let value = value.trim_matches('"');
    if is_default(value) || value.eq_ignore_ascii_case("local") || is_utc(value) {
        return Ok(());
    }
    let told = "the time zone can only be UTC, in which all values are: ask for those of another one \
                by AT TIME ZONE, as in t AT TIME ZONE 'America/New_York'";
    Err(Told::new("22023", told))
}

fn put(values: &mut Values, name: &str, value: Option<String>) {
    match value {
        None => drop(values.remove(name)),
        Some(value) if values.len() < MOST || values.contains_key(name) => {
            drop(values.insert(name.to_owned(), value));
        }
        Some(_) => {}
    }
}

/// `-c name=value`, `-cname=value`, `--name=value`; a backslash stands before a space of a value.
fn in_options(options: &str) -> Result<Vec<(String, String)>, Told> {
    let unread =
        || Told::new("42601", "of the options of a connection only -c name=value is taken");
    let mut words = vec![String::new()];
    let mut letters = options.chars();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            '\\' => letters.next().ok_or_else(unread)?,
            space if space.is_whitespace() => {
                words.push(String::new());
                continue;
            }
            other => other,
        };
        if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next().ok_or_else(unread)?,
            Some(setting) => setting.to_owned(),
            // What else there is of PostgreSQL's means nothing here.
            None => continue,
        };
        let (name, value) = setting.split_once('=').ok_or_else(unread)?;
        found.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(found)
}

/// As much as `PostgreSQL` takes.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// `PostgreSQL`'s writing: a number of milliseconds, or with a unit.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: f64 = number.parse().ok()?;
    let unit = match unit.trim() {
        "us" => 1e-6,
        "" | "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let time = Duration::try_from_secs_f64(number * unit).ok()?;
    (time <= LONGEST).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new("ada", "viewer", Duration::from_mins(1))
    }

    #[test]
    fn durations_are_read_as_postgres_writes_them() {
        for (text, millis) in [
            ("250", 250),
            ("5s", 5000),
            ("1 min", 60_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("2.5s", 2_500),
            ("9000us", 9),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1", "1 day", "99999999999999999999"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_transaction_takes_back_what_is_not_committed() {
        let settings = settings();
        let shown = || settings.show("application_name").unwrap();
        let set = |value: &str, local| settings.set("application_name", value, local).unwrap();
        set("a", false);
        settings.begin();
        set("b", false);
        settings.begin();
        assert_eq!(shown(), "b");
        settings.end(false);
        assert_eq!(shown(), "a");
        settings.begin();
        set("c", false);
        set("d", true);
        assert_eq!(shown(), "d");
        settings.end(true);
        assert_eq!(shown(), "c");
        // There is no transaction to end it.
        set("e", true);
        assert_eq!(shown(), "c");
        set("default", false);
        assert_eq!(shown(), "");
    }

    #[test]
    fn the_time_zone_is_utc_whatever_it_is_called() {
        let settings = settings();
        for name in ["timezone", "time zone"] {
            for zone in
                ["UTC", "\"Etc/UTC\"", "Etc/GMT+0", "UCT0", "0", "+00:00", "LOCAL", "default", ""]
            {
                settings.set(name, zone, false).unwrap();
                assert_eq!(settings.show("timezone").unwrap(), "UTC", "{zone}");
            }
            for zone in ["America/New_York", "Europe/London", "EST", "-5", "+01:00", "x"] {
                let told = settings.set(name, zone, true).unwrap_err();
                assert_eq!(told.code, "22023", "{zone}");
                assert!(told.message.contains("AT TIME ZONE"), "{}", told.message);
            }
            assert_eq!(settings.show(name).unwrap(), "UTC");
        }
    }

    #[test]
    fn a_connection_begins_with_settings() {
        let seeded = settings();
        let parameter = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let options = "-B 7 -c statement_timeout=500  --search-path=a\\ b -cextra_float_digits=3";
        let begun = [
            ("user", "ada"),
            ("TimeZone", "Europe/Berlin"),
            ("application_name", "tool"),
            ("options", options),
        ];
        seeded.seed(&begun.map(parameter).into()).unwrap();
        assert_eq!(seeded.statement_timeout(), Some(Duration::from_millis(500)));
        assert!(seeded.show("user").is_err());
        let all = [
            ("application_name", "tool"),
            ("search_path", "a b"),
            ("extra_float_digits", "3"),
            ("timezone", "UTC"),
        ];
        for (name, value) in all {
            assert_eq!(seeded.show(name).unwrap(), value, "{name}");
        }
        seeded.set("application_name", "other", false).unwrap();
        seeded.reset();
        assert_eq!(seeded.show("application_name").unwrap(), "tool");
        for options in ["-c", "-c statement_timeout", "-c statement_timeout=soon"] {
            assert!(settings().seed(&[("options", options)].map(parameter).into()).is_err());
        }
    }
}
