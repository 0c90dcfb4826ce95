//! `POST /api/alerts/commands`: somebody acknowledges or snoozes an alert. It goes the way of `healthcare alerts`, through
//! the job's topic: what becomes of it the job decides, and the board shows.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use thalweg_core::{Error, Result, error};
use thalweg_serving::audit::{self, Event, Outcome};
use thalweg_serving::http::{Body, Journal, Visitor};
use tokio::sync::Semaphore;

use crate::healthcare::alerts::command::{Action, Command};
use crate::healthcare::commands::{CommandSink, Undelivered, outcome};
use crate::healthcare::serve::ANSWERING;

/// Where commands are sent to.
pub(super) const COMMANDS: &str = "/api/alerts/commands";

/// How long the broker's acknowledgement may take, and the turn before it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Commands that wait for the broker at once: each holds a thread of the server.
const TURNS: usize = 2;
/// Minutes of the page's menu, as far as the job allows them.
const OFFERED: [i64; 3] = [15, 60, 240];

/// Takes commands from visitors. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Answers {
    sink: Arc<dyn CommandSink>,
    /// The longest snooze, in minutes.
    longest: i64,
    turns: Arc<Semaphore>,
}

/// A command as it is asked for. Who gives it is no part of it: that is who is signed in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    alert_id: String,
    action: Action,
    minutes: Option<i64>,
}

impl Answers {
    /// Commands go to `sink`, whose job snoozes for `max_snooze` at most.
    pub fn new(sink: Arc<dyn CommandSink>, max_snooze: Duration) -> Self {
        let longest = i64::try_from(max_snooze.as_secs() / 60).unwrap_or(i64::MAX);
        Self { sink, longest, turns: Arc::new(Semaphore::new(TURNS)) }
    }

    /// What a visitor's page is told: whether they may answer, and the minutes of the menu.
    pub(super) fn offer(&self, visitor: &Visitor) -> Value {
        let mut minutes: Vec<i64> =
            OFFERED.iter().map(|offered| self.longest.min(*offered)).collect();
        minutes.dedup();
        minutes.retain(|minutes| *minutes > 0);
        json!({ "allowed": may_answer(visitor), "snooze": minutes })
    }

    /// Sends what a visitor asks for. It counts as sent when the broker has acknowledged it and the audit log knows.
    pub(super) async fn take(self, journal: Journal, visitor: Visitor, body: Body) -> Response {
        if !may_answer(&visitor) {
            journal.note_refusal(self.refused(&journal, &visitor, &body)).await;
            let text = "your role does not answer alerts\n";
            return (StatusCode::FORBIDDEN, text).into_response();
        }
        let command = match self.read(&visitor, &body) {
            Ok(command) => command,
            Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
        };
        // A task of its own: a client that goes away does not keep the end from being written down.
        let answered = tokio::spawn(async move { self.answer(&journal, &visitor, command).await });
        match answered.await {
            Ok(Ok(())) => (StatusCode::ACCEPTED, "sent\n").into_response(),
            Ok(Err(refusal)) => refusal.into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    /// What a visitor may not do. Of what is no command it is told that it was tried.
    fn refused(&self, journal: &Journal, visitor: &Visitor, body: &[u8]) -> Event {
        let mut event = match self.read(visitor, body) {
            Ok(command) => entry(journal, visitor, &command, Outcome::Refused),
            Err(_) => visitor.event(audit::Action::Alert, Outcome::Refused),
        };
        "role".clone_into(&mut event.reason);
        event
    }

    fn read(&self, visitor: &Visitor, body: &[u8]) -> Result<Command> {
        let asked: Asked = serde_json::from_slice(body).map_err(|_| {
            Error::config(
                "a command has an alert_id, an action (acknowledge or snooze), and minutes if it is a snooze",
            )
        })?;
        let minutes = asked.minutes.filter(|_| asked.action == Action::Snooze);
        if minutes.is_some_and(|minutes| minutes > self.longest) {
            return Err(Error::config(format!("a snooze is at most {} minutes", self.longest)));
        }
        let by = visitor.name().to_owned();
        let command = Command { alert_id: asked.alert_id, action: asked.action, by, minutes };
        command.check()?;
        Ok(command)
    }

    async fn answer(
        &self,
        journal: &Journal,
        visitor: &Visitor,
        command: Command,
    ) -> Result<(), (StatusCode, &'static str)> {
        let mut event = entry(journal, visitor, &command, Outcome::Begun);
        journal.note(event.clone()).await.map_err(|problem| {
            tracing::warn!(error = error::chain(&problem), "a command about an alert is not sent");
            let text = "the audit log cannot be written: nothing was sent\n";
            (StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        let sent = self.send(command).await;
        event.outcome = outcome(&sent);
        if let Err(problem) = journal.note(event).await {
            // That it was begun is written down, and what is sent is sent.
            tracing::warn!(
                error = error::chain(&problem),
                "the end of a command is not written down"
            );
        }
        sent.map_err(|undelivered| {
            let (status, text) = match &undelivered {
                Undelivered::Refused(_) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the broker did not take the command: try again\n",
                ),
                Undelivered::Unacknowledged(_) => (
                    StatusCode::GATEWAY_TIMEOUT,
                    "the broker did not acknowledge the command: it may still take effect\n",
                ),
            };
            let problem = error::chain(&Error::from(undelivered));
            tracing::warn!(error = problem, "a command about an alert is not known to be sent");
            (status, text)
        })
    }

    async fn send(&self, command: Command) -> Result<(), Undelivered> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let text = "the commands before it still wait for the broker";
            return Err(Undelivered::Refused(Error::transient(text)));
        };
        let sink = Arc::clone(&self.sink);
        let sent = tokio::task::spawn_blocking(move || {
            let sent = sink.send(&command, PATIENCE);
            drop(turn);
            sent
        });
        let panicked =
            |_| Undelivered::Unacknowledged(Error::internal("sending a command panicked"));
        sent.await.map_err(panicked)?
    }
}

fn may_answer(visitor: &Visitor) -> bool {
    ANSWERING.contains(&visitor.role())
}

/// The alert's name has a patient's number in it: the log has its hash.
fn entry(journal: &Journal, visitor: &Visitor, command: &Command, outcome: Outcome) -> Event {
    let mut event = visitor.event(audit::Action::Alert, outcome);
    command.action.name().clone_into(&mut event.kind);
    event.subject = journal.digest(&command.alert_id);
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nowhere;

    impl CommandSink for Nowhere {
        fn send(&self, _: &Command, _: Duration) -> Result<(), Undelivered> {
            Ok(())
        }
    }

    fn offered(max_snooze: Duration) -> Value {
        let nurse = Visitor::new("nurse", "clinician", |_| true);
        Answers::new(Arc::new(Nowhere), max_snooze).offer(&nurse)["snooze"].clone()
    }

    #[test]
    fn the_menu_offers_what_the_job_allows() {
        assert_eq!(offered(Duration::from_hours(5)), json!([15, 60, 240]));
        assert_eq!(offered(Duration::from_hours(1)), json!([15, 60]));
        assert_eq!(offered(Duration::from_mins(10)), json!([10]));
        assert_eq!(offered(Duration::from_secs(59)), json!([]));
    }
}
