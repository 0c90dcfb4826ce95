//! Connections: what is said before the protocol begins, and then message after message.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt;
use pgwire::api::{ClientInfo, DefaultClient, NoopHandler, PgWireConnectionState};
use pgwire::error::PgWireError;
use pgwire::messages::PgWireFrontendMessage;
use pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::codec::{Framed, FramedParts};

use super::login::{Login, Sessions};
use super::service::{Prepared, Service};

/// What serves connections.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) login: Arc<Login>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) tls: Option<TlsAcceptor>,
    /// How long a client may be silent.
    pub(super) idle: Duration,
}

/// Until a client has come in.
const PATIENCE: Duration = Duration::from_secs(15);
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

type Socket = Framed<Wire, PgWireMessageServerCodec<Arc<Prepared>>>;

impl Desk {
    /// Serves one client to its end.
    pub(super) async fn serve(self, stream: TcpStream, from: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let begin = tokio::time::Instant::now();
        let Ok(opened) = tokio::time::timeout(PATIENCE, self.open(stream, from)).await else {
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
            let until =
                if coming_in { begin + PATIENCE } else { tokio::time::Instant::now() + self.idle };
            let Ok(Some(Ok(message))) = tokio::time::timeout_at(until, socket.next()).await else {
                return Ok(());
            };
            if matches!(message, PgWireFrontendMessage::Terminate(_)) {
                return Ok(());
            }
            let extended = message.is_extended_query();
            let cancels = matches!(message, PgWireFrontendMessage::CancelRequest(_));
            let done = Box::pin(process_message(
                message,
                &mut socket,
                Arc::clone(&self.login),
                Arc::clone(&service),
                Arc::clone(&service),
                Arc::clone(&copy),
                Arc::clone(&self.sessions),
            ))
            .await;
            if let Err(error) = done {
                let fatal = coming_in || is_fatal(&error);
                process_error(&mut socket, error, extended).await?;
                if fatal {
                    return Ok(());
                }
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
                    let stream = tls.accept(stream).await?;
                    return Ok(socket(Wire::Tls(Box::new(stream)), from, &[]));
                }
                (8, SSL_REQUEST | GSS_REQUEST, _) => stream.write_all(b"N").await?,
                _ => return Ok(socket(Wire::Plain(stream), from, &head)),
            }
        }
    }
}

/// Whether the connection cannot go on.
fn is_fatal(error: &PgWireError) -> bool {
    match error {
        PgWireError::UserError(info) => info.is_fatal(),
        PgWireError::IoError(_) => true,
        _ => false,
    }
}

/// `read` has been read already.
fn socket(wire: Wire, from: SocketAddr, read: &[u8]) -> Socket {
    let client = DefaultClient::new(from, matches!(wire, Wire::Tls(_)));
    let mut parts = FramedParts::new::<pgwire::messages::PgWireBackendMessage>(
        wire,
        PgWireMessageServerCodec::new(client),
    );
    parts.read_buf = BytesMut::from(read);
    let mut socket = Framed::from_parts(parts);
    socket.set_state(PgWireConnectionState::AwaitingStartup);
    socket
}

/// A connection with or without TLS.
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
