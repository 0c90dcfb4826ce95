//! Coming in: TLS where it is demanded, the database's name, SCRAM, the role's policy; and the way to call a running
//! statement off from another connection.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Sink, SinkExt};
use pgwire::api::auth::{
    DefaultServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::cancel::CancelHandler;
use pgwire::api::{
    ClientInfo, METADATA_DATABASE, METADATA_USER, PgWireConnectionState, PidSecretKeyGenerator,
    RandomPidSecretKeyGenerator,
};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::{PasswordMessageFamily, SecretKey};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::engine::Engine;
use super::scram::{Next, Scram};
use super::session::Session;
use crate::access::User;
use crate::audit::{Action, Event, Outcome, Refusals};

/// Of all connections one in so many is as much as a user has: nobody keeps all others out.
const SHARE: usize = 2;

/// Entries about refused logins at once, and then so many a second.
const REFUSALS_BURST: f64 = 100.0;
const REFUSALS_PER_SECOND: f64 = 5.0;

/// Lets clients in.
pub(super) struct Login {
    engine: Arc<Engine>,
    parameters: DefaultServerParameterProvider,
    keys: RandomPidSecretKeyGenerator,
    needs_tls: bool,
    secret: Arc<[u8; 32]>,
    sessions: Sessions,
    refusals: Refusals,
}

/// What a request to cancel must know.
type CancelKey = (i32, Bytes);

/// The sessions by that.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<HashMap<CancelKey, Weak<Session>>>>);

impl Sessions {
    /// Adds a session, unless its user has `most` already.
    fn add(
        &self,
        (pid, secret): (i32, &SecretKey),
        session: &Arc<Session>,
        most: usize,
    ) -> PgWireResult<()> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, session| session.strong_count() > 0);
        let others = all.values().filter_map(Weak::upgrade);
        if others.filter(|other| other.user == session.user).count() >= most {
            let told = format!("{most} connections of one user are the most: close some");
            return Err(refused("53300", &told));
        }
        all.insert((pid, secret.to_bytes()), Arc::downgrade(session));
        Ok(())
    }
}

#[async_trait]
impl CancelHandler for Sessions {
    async fn on_cancel_request(&self, request: CancelRequest) {
        let key = (request.pid, request.secret_key.to_bytes());
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(session) = found.and_then(|session| session.upgrade()) {
            session.cancel();
        }
    }
}

/// A conversation about who the client is.
type Conversation = Mutex<Option<Scram>>;

/// The connection ends with this.
pub(super) fn refused(code: &str, message: &str) -> PgWireError {
    let fatal = "FATAL".to_owned();
    PgWireError::UserError(Box::new(ErrorInfo::new(fatal, code.to_owned(), message.to_owned())))
}

impl Login {
    pub(super) fn new(
        engine: Arc<Engine>,
        needs_tls: bool,
        secret: [u8; 32],
        sessions: Sessions,
    ) -> Self {
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.server_version = format!("16.6 (Thalweg {})", env!("CARGO_PKG_VERSION"));
        parameters.is_superuser = false;
        parameters.default_transaction_read_only = true;
        "UTC".clone_into(&mut parameters.time_zone);
        let keys = RandomPidSecretKeyGenerator::default();
        let now = engine.clock().monotonic();
        let refusals = Refusals::new(REFUSALS_PER_SECOND, REFUSALS_BURST, now);
        Self { engine, parameters, keys, needs_tls, secret: Arc::new(secret), sessions, refusals }
    }

    async fn note<C: ClientInfo + Sync>(
        &self,
        client: &C,
        role: &str,
        outcome: Outcome,
        reason: &str,
    ) -> PgWireResult<()> {
        let name = client.metadata().get(METADATA_USER).cloned().unwrap_or_default();
        let mut event = Event::new(name, Action::Login, outcome);
        event.source = client.socket_addr().ip().to_string();
        role.clone_into(&mut event.role);
        "sql".clone_into(&mut event.kind);
        reason.clone_into(&mut event.reason);
        if outcome == Outcome::Refused && !self.refusals.written(self.engine.clock().monotonic()) {
            return Ok(());
        }
        let left_out = self.refusals.take();
        event.left_out = left_out;
        self.engine.tell(event).await.map_err(|told| {
            self.refusals.put_back(left_out);
            refused(told.code, &told.message)
        })
    }

    async fn begin<C>(&self, client: &mut C) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if self.needs_tls && !client.is_secure() {
            return Err(refused(
                "28000",
                "this server is reached with TLS only: use sslmode=require",
            ));
        }
        let name =
            client.metadata().get(METADATA_USER).cloned().ok_or(PgWireError::UserNameRequired)?;
        // Without a database PostgreSQL takes the user's name.
        let database = client.metadata().get(METADATA_DATABASE).unwrap_or(&name);
        if *database != *self.engine.database {
            let there = format!("there is one database here: {}", self.engine.database);
            return Err(refused("3D000", &there));
        }
        let directory = Arc::clone(&self.engine.parts.directory);
        let from = client.socket_addr().ip();
        let scram = Scram::new(directory, Arc::clone(&self.secret), name, from);
        let offer = scram.begin()?;
        client.session_extensions().insert(Conversation::new(Some(scram)));
        client.set_state(PgWireConnectionState::AuthenticationInProgress);
        client.send(PgWireBackendMessage::Authentication(offer)).await?;
        Ok(())
    }

    async fn go_on<C>(&self, client: &mut C, message: PasswordMessageFamily) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let from = client.socket_addr().ip();
        let conversation = client.session_extensions().get::<Conversation>();
        let out_of_turn = || refused("08P01", "nobody asked for a password");
        let conversation = conversation.ok_or_else(out_of_turn)?;
        let next = {
            let mut scram = conversation.lock().unwrap_or_else(PoisonError::into_inner);
            scram.as_mut().ok_or_else(out_of_turn)?.next(message)?
        };
        match next {
            Next::Answer(answer) => {
                client.send(PgWireBackendMessage::Authentication(answer)).await?;
            }
            Next::In(user, last) => {
                let session = self.session(&user, from)?;
                let seeded = session.settings.seed(client.metadata());
                seeded.map_err(|told| refused(told.code, &told.message))?;
                let (pid, key) = self.keys.generate(client);
                client.set_pid_and_secret_key(pid, key);
                let (pid, secret) = client.pid_and_secret_key();
                let most = (self.engine.limits.connections / SHARE).max(1);
                self.sessions.add((pid, &secret), &session, most)?;
                self.note(client, user.role.as_str(), Outcome::Done, "").await?;
                client.send(PgWireBackendMessage::Authentication(last)).await?;
                client.session_extensions().insert(session);
                finish_authentication(client, &self.parameters).await?;
            }
        }
        Ok(())
    }

    fn session(&self, user: &User, from: std::net::IpAddr) -> PgWireResult<Arc<Session>> {
        let policy = self.engine.parts.roles.policy(user.role.as_str()).cloned();
        let policy =
            policy.ok_or_else(|| refused("28000", "this user's role does not exist any more"))?;
        Ok(Arc::new(Session::new(&self.engine, user, policy, from)))
    }
}

#[async_trait]
impl StartupHandler for Login {
    async fn on_startup<C>(
        &self,
        client: &mut C,
        message: PgWireFrontendMessage,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let failed = match message {
            PgWireFrontendMessage::Startup(startup) => {
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                self.begin(client).await.err()
            }
            PgWireFrontendMessage::PasswordMessageFamily(message) => {
                self.go_on(client, message).await.err()
            }
            _ => None,
        };
        let Some(error) = failed else { return Ok(()) };
        let info = ErrorInfo::from(error);
        self.note(client, "", Outcome::Refused, &info.code).await?;
        Err(refused(&info.code, &info.message))
    }
}
