//! One connection: who it is, what it has set, and its running statement.

use std::net::IpAddr;
use std::sync::Arc;

use datafusion::execution::context::SessionState;
use datafusion::sql::sqlparser::ast::Statement;
use tokio::sync::watch;

use super::engine::Engine;
use super::failure::Told;
use super::held::Held;
use super::query::Query;
use super::settings::Settings;
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
    pub(super) settings: Arc<Settings>,
}

impl Session {
    pub(super) fn new(engine: &Arc<Engine>, user: &User, policy: Policy, from: IpAddr) -> Self {
        let timeout = engine.limits.statement_timeout;
        let settings = Arc::new(Settings::new(&user.name, user.role.as_str(), timeout));
        Self {
            base: engine.state_of(&user.name, &settings),
            engine: Arc::clone(engine),
            user: user.name.clone(),
            role: user.role.clone(),
            held: Held::default(),
            mark: user.mark(),
            policy: Arc::new(policy),
            from,
            cancel: watch::Sender::new(0),
            settings,
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

    /// Plans a query on the threads of queries, within the time that a statement has, and does `then` there: whatever walks
    /// over a plan can take as long as planning.
    pub(super) async fn plan<T: Send + 'static>(
        &self,
        statement: Statement,
        then: impl FnOnce(Query) -> Result<T, Told> + Send + 'static,
    ) -> Result<T, Told> {
        let engine = Arc::clone(&self.engine);
        let (base, role, policy) = (self.base.clone(), self.role.clone(), Arc::clone(&self.policy));
        let mut cancelled = self.cancelled();
        let limit = engine.timeout(self);
        let queries = engine.queries.clone();
        let planning = queries.spawn(async move {
            then(Box::pin(engine.plan(base, &role, &policy, statement)).await?)
        });
        let stop = planning.abort_handle();
        let done = tokio::select! {
            done = planning => done.unwrap_or_else(|_| Err(internal())),
            () = tokio::time::sleep(limit) => Err(timed_out()),
            _ = cancelled.changed() => Err(called_off()),
        };
        stop.abort();
        done
    }
}

pub(super) fn timed_out() -> Told {
    Told::new("57014", "canceling statement due to statement timeout")
}

pub(super) fn called_off() -> Told {
    Told::new("57014", "canceling statement due to user request")
}

pub(super) fn internal() -> Told {
    Told::new("XX000", "the query failed in a way that is a mistake of this server")
}
