//! One connection: who it is, what it has set, and its running statement.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datafusion::execution::context::SessionState;
use datafusion::sql::sqlparser::ast::Statement;
use tokio::sync::watch;

use super::engine::Engine;
use super::failure::Told;
use super::held::Held;
use super::query::Query;
use crate::access::{Policy, Role, TokenMark, User};
use crate::audit::{Action, Event, Outcome};

/// A client that has come in.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) engine: Arc<Engine>,
    pub(super) user: String,
    pub(super) role: Role,
    pub(super) held: Held,
    mark: TokenMark,
    policy: Arc<Policy>,
    from: IpAddr,
    base: SessionState,
    /// Counts how often the running statement was called off.
    cancel: watch::Sender<u64>,
    settings: Mutex<BTreeMap<String, String>>,
}

impl Session {
    pub(super) fn new(engine: &Arc<Engine>, user: &User, policy: Policy, from: IpAddr) -> Self {
        Self {
            base: engine.state_of(&user.name),
            engine: Arc::clone(engine),
            user: user.name.clone(),
            role: user.role.clone(),
            held: Held::default(),
            mark: user.mark(),
            policy: Arc::new(policy),
            from,
            cancel: watch::Sender::new(0),
            settings: Mutex::default(),
        }
    }

    /// Calls off what is running.
    pub(super) fn cancel(&self) {
        self.cancel.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Tells when what is begun now is called off.
    pub(super) fn cancelled(&self) -> watch::Receiver<u64> {
        self.cancel.subscribe()
    }

    /// An entry for the audit log about what this client did.
    pub(super) fn event(&self, action: Action, outcome: Outcome) -> Event {
        let mut event = Event::new(&self.user, action, outcome);
        self.role.as_str().clone_into(&mut event.role);
        event.source = self.from.to_string();
        event
    }

    /// Whether the client may still be here.
    pub(super) fn still(&self) -> Result<(), Told> {
        match self.engine.parts.directory.still(&self.user, &self.role, self.mark) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Told::new(
                "28000",
                "this user was removed or has another role or another token now",
            )),
            // The error names the file, which is no concern of a client's.
            Err(_) => Err(Told::new("58030", "the users cannot be read: nobody is answered")),
        }
    }

    /// Plans a query on the threads of queries, within the time that a statement has.
    pub(super) async fn plan(&self, statement: Statement) -> Result<Query, Told> {
        let engine = Arc::clone(&self.engine);
        let (base, role, policy) = (self.base.clone(), self.role.clone(), Arc::clone(&self.policy));
        let mut cancelled = self.cancelled();
        let limit = engine.timeout(self);
        let queries = engine.queries.clone();
        let planning = queries
            .spawn(async move { Box::pin(engine.plan(base, &role, &policy, statement)).await });
        let stop = planning.abort_handle();
        let done = tokio::select! {
            done = planning => done.unwrap_or_else(|_| Err(internal())),
            () = tokio::time::sleep(limit) => Err(timed_out()),
            _ = cancelled.changed() => Err(called_off()),
        };
        stop.abort();
        done
    }

    /// The value of a setting.
    pub(super) fn show(&self, name: &str) -> Result<String, Told> {
        if let Some(value) = self.settings().get(name) {
            return Ok(value.clone());
        }
        let limit = || format!("{}ms", self.engine.limits.statement_timeout.as_millis());
        Ok(match name {
            "server_version" => "16.6".to_owned(),
            "server_version_num" => "160006".to_owned(),
            "server_encoding" | "client_encoding" => "UTF8".to_owned(),
            "timezone" | "time zone" => "UTC".to_owned(),
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
            "role" => self.role.to_string(),
            "statement_timeout" => limit(),
            _ => return Err(Told::new("42704", "there is no such setting")),
        })
    }

    /// Sets it; an empty value: as it was in the beginning. Most settings mean nothing here and are only remembered.
    pub(super) fn set(&self, name: &str, value: &str) -> Result<(), Told> {
        let value = value.trim();
        if name == "statement_timeout" && !value.is_empty() && duration(value).is_none() {
            return Err(Told::new("22023", "statement_timeout is a number of ms, or 5s, 1min"));
        }
        if name == "client_encoding"
            && !["", "utf8", "utf-8", "unicode"].contains(&value.to_lowercase().as_str())
        {
            return Err(Told::new("22023", "client_encoding can only be UTF8"));
        }
        let mut settings = self.settings();
        if value.is_empty() || value.eq_ignore_ascii_case("default") {
            settings.remove(name);
        } else if settings.len() < MOST_SETTINGS || settings.contains_key(name) {
            settings.insert(name.to_owned(), value.chars().take(LONGEST_VALUE).collect());
        }
        Ok(())
    }

    /// All as they were in the beginning.
    pub(super) fn reset(&self) {
        self.settings().clear();
    }

    /// What the client has asked for; the server's own limit stays.
    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        let settings = self.settings();
        // Zero means none of its own.
        duration(settings.get("statement_timeout")?).filter(|time| !time.is_zero())
    }

    fn settings(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MOST_SETTINGS: usize = 100;
const LONGEST_VALUE: usize = 1000;

pub(super) fn timed_out() -> Told {
    Told::new("57014", "canceling statement due to statement timeout")
}

pub(super) fn called_off() -> Told {
    Told::new("57014", "canceling statement due to user request")
}

pub(super) fn internal() -> Told {
    Told::new("XX000", "the query failed in a way that is a mistake of this server")
}

/// `PostgreSQL`'s writing: a number of milliseconds, or with a unit.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit.trim() {
        "" | "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "min" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_postgres_writes_them() {
        for (text, millis) in [("250", 250), ("5s", 5000), ("1 min", 60_000), ("2h", 7_200_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1", "1 day", "99999999999999999999"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
