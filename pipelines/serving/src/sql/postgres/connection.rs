//! Connections: what is said before the protocol begins, and then message after message.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use pgwire::api::{
    ClientInfo, ClientPortalStore, DefaultClient, NoopHandler, PgWireConnectionState,
};
use pgwire::error::{ErrorInfo, PgWireError};
use pgwire::messages::response::TransactionStatus;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::Framed;

use super::failure::Told;
use super::login::{Login, Sessions, refused};
use super::prepared::Prepared;
use super::service::Service;
use super::session::Session;
use super::wire::{Carrier, Wire};

/// What serves connections.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) login: Arc<Login>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) tls: Option<TlsAcceptor>,
    /// How long a client may take to come in.
    pub(super) patience: Duration,
    /// How long a client may be silent.
    pub(super) idle: Duration,
    /// How long it may take nothing of what is sent to it.
    pub(super) stalled: Duration,
}

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

type Socket = Framed<Wire, PgWireMessageServerCodec<Arc<Prepared>>>;

impl Desk {
    /// Serves one client to its end. It lets go of `outside` when it has come in.
    pub(super) async fn serve(
        self,
        stream: TcpStream,
        from: SocketAddr,
        outside: Arc<IpAddr>,
    ) -> io::Result<()> {
        let mut outside = Some(outside);
        stream.set_nodelay(true)?;
        let begin = tokio::time::Instant::now();
        let Ok(opened) = tokio::time::timeout(self.patience, self.open(stream, from)).await else {
            return Ok(());
        };
        let mut socket = opened?;
        let service = Arc::new(Service);
        let copy = Arc::new(NoopHandler);
        loop {
            let coming_in = matches!(
                socket.state(),
                PgWireConnectionState::AwaitingStartup
                    | PgWireConnectionState::AuthenticationInProgress
            );
            let until = if coming_in {
                begin + self.patience
            } else {
                drop(outside.take());
                socket.get_mut().came_in();
                tokio::time::Instant::now() + self.idle
            };
            let mut message = match tokio::time::timeout_at(until, socket.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return unreadable(&mut socket, error).await,
                Ok(None) | Err(_) => return Ok(()),
            };
            if matches!(message, PgWireFrontendMessage::Terminate(_)) {
                return Ok(());
            }
            // What comes before the protocol has not been taken from the buffer yet.
            let is_before = matches!(message, PgWireFrontendMessage::SslNegotiation(_));
            if !is_before && !socket.read_buffer().is_empty() {
                return unreadable(&mut socket, PgWireError::InvalidStartupMessage).await;
            }
            if let PgWireFrontendMessage::Bind(bind) = &mut message {
                detach(&mut bind.parameters);
            }
            let extended = message.is_extended_query();
            let cancels = matches!(message, PgWireFrontendMessage::CancelRequest(_));
            let done = match room(&socket, &message) {
                Err(told) => Err(told.into()),
                Ok(()) => {
                    Box::pin(process_message(
                        message,
                        &mut socket,
                        Arc::clone(&self.login),
                        Arc::clone(&service),
                        Arc::clone(&service),
                        Arc::clone(&copy),
                        Arc::clone(&self.sessions),
                    ))
                    .await
                }
            };
            if let Err(error) = done {
                let fatal = coming_in || is_fatal(&error);
                if let PgWireError::IoError(broken) = error {
                    return Err(broken);
                }
                // Behind a fatal error nothing comes: where no end of a batch is waited for, the library says that it is
                // ready for more.
                process_error(&mut socket, error, extended || fatal).await?;
                if fatal {
                    return Ok(());
                }
                roll_back(&socket);
            }
            if cancels {
                return Ok(());
            }
        }
    }

    /// Answers requests for encryption; the first message that is none belongs to the protocol.
    async fn open(&self, mut stream: TcpStream, from: SocketAddr) -> io::Result<Socket> {
        loop {
            let mut head = [0; 8];
            stream.read_exact(&mut head).await?;
            let words = u64::from_be_bytes(head);
            let (length, code) = ((words >> 32) as u32, words as u32);
            match (length, code, &self.tls) {
                (8, SSL_REQUEST, Some(tls)) => {
                    stream.write_all(b"S").await?;
                    let stream = Box::new(tls.accept(stream).await?);
                    return Ok(self.socket(Carrier::Tls(stream), from, Bytes::new()));
                }
                (8, SSL_REQUEST | GSS_REQUEST, _) => stream.write_all(b"N").await?,
                _ => {
                    let head = Bytes::copy_from_slice(&head);
                    return Ok(self.socket(Carrier::Plain(stream), from, head));
                }
            }
        }
    }

    /// `before` has been read already.
    fn socket(&self, carrier: Carrier, from: SocketAddr, before: Bytes) -> Socket {
        let wire = Wire::new(carrier, before, self.stalled);
        let client = DefaultClient::new(from, wire.is_secure());
        let mut socket = Framed::new(wire, PgWireMessageServerCodec::new(client));
        socket.set_state(PgWireConnectionState::AwaitingStartup);
        socket
    }
}

/// Tells who finds no place so, and hangs up at once. Nothing that it sends is waited for, and so it may not hear it.
pub(super) fn turn_away(stream: TcpStream, told: &str) {
    let told = ErrorInfo::from(refused("53300", told));
    let mut line = BytesMut::new();
    // It fails for messages that are longer than any may be.
    drop(PgWireBackendMessage::ErrorResponse(told.into()).encode(&mut line));
    // A socket of the runtime is not known to be writable yet. Into one that is new a line always fits.
    drop(stream.into_std().and_then(|mut stream| stream.write_all(&line)));
}

/// Makes parameters pieces of memory of their own: as parts of what was read each would hold on to all of that.
fn detach(parameters: &mut [Option<Bytes>]) {
    for parameter in parameters.iter_mut().flatten() {
        *parameter = Bytes::copy_from_slice(parameter);
    }
}

/// Whether there is room for what a message would keep.
fn room(socket: &Socket, message: &PgWireFrontendMessage) -> Result<(), Told> {
    // Until the end of a batch that has failed nothing is kept.
    if matches!(socket.state(), PgWireConnectionState::AwaitingSync) {
        return Ok(());
    }
    match socket.session_extensions().get::<Arc<Session>>() {
        Some(session) => session.held.note(socket.portal_store(), message),
        None => Ok(()),
    }
}

/// An error outside of a transaction ends what belongs to none. One inside waits for `ROLLBACK`.
fn roll_back(socket: &Socket) {
    if socket.transaction_status() == TransactionStatus::Idle
        && let Some(session) = socket.session_extensions().get::<Arc<Session>>()
    {
        session.held.end(socket.portal_store(), false);
        session.settings.end(false);
    }
}

/// The connection ends: what comes is no message, or the connection is broken and there is nobody to tell.
async fn unreadable(socket: &mut Socket, error: PgWireError) -> io::Result<()> {
    let told = match error {
        PgWireError::IoError(error) => {
            let told = error.get_ref().and_then(|inner| inner.downcast_ref::<Told>()).cloned();
            told.ok_or(error)?
        }
        // The library quotes what it does not understand.
        _ => Told::new("08P01", "a message does not follow the protocol"),
    };
    process_error(socket, refused(told.code, &told.message), true).await
}

/// Whether the connection cannot go on.
fn is_fatal(error: &PgWireError) -> bool {
    matches!(error, PgWireError::UserError(info) if info.is_fatal())
}
