//! The bytes of a connection, with or without TLS: no message is longer than it may be, and a client that does not read
//! is given up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use super::failure::Told;

/// How long a message of somebody may be who has not come in: what is waited for of it is memory.
const LONGEST_OUTSIDE: usize = 16 << 10;
/// And of somebody who has: room for the longest statement and for its parameters.
const LONGEST_INSIDE: usize = 4 << 20;
/// The length itself.
const LENGTH: usize = 4;

/// What carries the bytes.
pub(super) enum Carrier {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection.
pub(super) struct Wire {
    carrier: Carrier,
    /// Has been read already.
    before: Bytes,
    lengths: Lengths,
    /// How long nothing may leave.
    patience: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    /// `before` has been read from the carrier already.
    pub(super) fn new(carrier: Carrier, before: Bytes, patience: Duration) -> Self {
        Self { carrier, before, lengths: Lengths::new(), patience, stalled: None }
    }

    pub(super) fn is_secure(&self) -> bool {
        matches!(self.carrier, Carrier::Tls(_))
    }

    /// From now on messages may be longer: it is known who sends them.
    pub(super) fn came_in(&mut self) {
        self.lengths.most = LONGEST_INSIDE;
    }

    /// Gives up when nothing has left for too long.
    fn patient<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let known = buffer.filled().len();
        if this.before.is_empty() {
            let read = match &mut this.carrier {
                Carrier::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
                Carrier::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            };
            if !matches!(read, Poll::Ready(Ok(()))) {
                return read;
            }
        } else {
            let room = buffer.remaining().min(this.before.len());
            buffer.put_slice(&this.before.split_to(room));
        }
        Poll::Ready(this.lengths.pass(buffer.filled().get(known..).unwrap_or_default()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = match &mut this.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Carrier::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        this.patient(context, polled)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = match &mut this.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_flush(context),
            Carrier::Tls(stream) => Pin::new(stream).poll_flush(context),
        };
        this.patient(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = match &mut this.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Carrier::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        };
        this.patient(context, polled)
    }
}

/// Goes from one message's length to the next: the protocol library waits for as much as a length says.
struct Lengths {
    most: usize,
    /// Bytes of the next head that are still to come.
    head: usize,
    /// The last four bytes of the head so far.
    length: u32,
    /// Bytes of the message that are still to come behind its head.
    body: usize,
}

impl Lengths {
    fn new() -> Self {
        // The first message has no letter before its length.
        Self { most: LONGEST_OUTSIDE, head: LENGTH, length: 0, body: 0 }
    }

    fn pass(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((byte, rest)) = bytes.split_first() {
            if self.body > 0 {
                let passed = self.body.min(bytes.len());
                self.body -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            bytes = rest;
            self.length = (self.length << 8) | u32::from(*byte);
            self.head -= 1;
            if self.head > 0 {
                continue;
            }
            let length = self.length as usize;
            if !(LENGTH..=self.most).contains(&length) {
                let told = format!(
                    "a message may be {LONGEST_OUTSIDE} bytes long before login and {LONGEST_INSIDE} after it"
                );
                return Err(io::Error::other(Told::new("08P01", told)));
            }
            self.body = length - LENGTH;
            self.head = 1 + LENGTH;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(letter: Option<u8>, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = letter.into_iter().collect();
        bytes.extend_from_slice(&(length as u32).to_be_bytes());
        bytes.resize(bytes.len() + length.saturating_sub(LENGTH), b'x');
        bytes
    }

    #[test]
    fn a_length_is_found_however_the_bytes_arrive() {
        let all =
            [message(None, 100), message(Some(b'p'), 4), message(Some(b'Q'), 70_000)].concat();
        for piece in [1, 3, 4, 7, 8192, all.len()] {
            let mut lengths = Lengths::new();
            let passed = all.chunks(piece).try_for_each(|bytes| lengths.pass(bytes));
            assert!(passed.is_err(), "{piece}");
            let mut lengths = Lengths::new();
            lengths.most = LONGEST_INSIDE;
            all.chunks(piece).try_for_each(|bytes| lengths.pass(bytes)).unwrap();
            assert_eq!((lengths.head, lengths.body), (5, 0), "{piece}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_length_is_refused_at_its_head() {
        for length in [0, 3, LONGEST_OUTSIDE as u32 + 1, u32::MAX] {
            assert!(Lengths::new().pass(&length.to_be_bytes()).is_err(), "{length}");
        }
        assert!(Lengths::new().pass(&(LONGEST_OUTSIDE as u32).to_be_bytes()).is_ok());
    }
}
