//! The bytes of a connection, with or without TLS: they are handed on message by message, no message is longer than it
//! may be, and a client that does not read is given up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::failure::Told;
use crate::patience::Patience;

/// How long a message of somebody may be who has not come in: what is waited for of it is memory.
const LONGEST_OUTSIDE: usize = 16 << 10;
/// And of somebody who has: room for the longest statement and for its parameters.
pub(super) const LONGEST_INSIDE: usize = 4 << 20;
/// What is read at once.
const PIECE: usize = 8 << 10;
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
    /// Has been read and not handed on.
    held: BytesMut,
    lengths: Lengths,
    patience: Patience,
}

impl Wire {
    /// `before` has been read from the carrier already; nothing may leave for as long as `stalled`.
    pub(super) fn new(carrier: Carrier, before: Bytes, stalled: Duration) -> Self {
        Self {
            carrier,
            held: BytesMut::from(before),
            lengths: Lengths::new(),
            patience: Patience::new(stalled),
        }
    }

    pub(super) fn is_secure(&self) -> bool {
        matches!(self.carrier, Carrier::Tls(_))
    }

    /// From now on messages may be longer: it is known who sends them.
    pub(super) fn came_in(&mut self) {
        self.lengths.most = LONGEST_INSIDE;
    }
}

/// Each read ends where a message ends: the protocol library takes what it leaves of one for the beginning of another.
impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held.is_empty() {
            let mut piece = [0; PIECE];
            let mut read = ReadBuf::new(&mut piece);
            ready!(match &mut this.carrier {
                Carrier::Plain(stream) => Pin::new(stream).poll_read(context, &mut read),
                Carrier::Tls(stream) => Pin::new(stream).poll_read(context, &mut read),
            })?;
            this.held.extend_from_slice(read.filled());
        }
        let room = buffer.remaining().min(this.held.len());
        let part = this.lengths.part(this.held.get(..room).unwrap_or_default())?;
        buffer.put_slice(&this.held.split_to(part));
        Poll::Ready(Ok(()))
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
        this.patience.bound(context, polled)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = match &mut this.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_flush(context),
            Carrier::Tls(stream) => Pin::new(stream).poll_flush(context),
        };
        this.patience.bound(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = match &mut this.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Carrier::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        };
        this.patience.bound(context, polled)
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

    /// How many of the bytes that come belong to the message that has been begun, or begin one.
    fn part(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut passed = 0;
        while let Some(byte) = bytes.get(passed).filter(|_| self.body == 0) {
            passed += 1;
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
            if self.body == 0 {
                return Ok(passed);
            }
        }
        let rest = self.body.min(bytes.len() - passed);
        self.body -= rest;
        Ok(passed + rest)
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

    /// Where reads of at most `piece` bytes end.
    fn parts(lengths: &mut Lengths, all: &[u8], piece: usize) -> io::Result<Vec<usize>> {
        let (mut ends, mut at) = (Vec::new(), 0);
        while at < all.len() {
            at += lengths.part(&all[at..all.len().min(at + piece)])?;
            ends.push(at);
        }
        Ok(ends)
    }

    #[test]
    fn a_length_is_found_however_the_bytes_arrive() {
        let all =
            [message(None, 100), message(Some(b'p'), 4), message(Some(b'Q'), 70_000)].concat();
        for piece in [1, 3, 4, 7, 8192, all.len()] {
            assert!(parts(&mut Lengths::new(), &all, piece).is_err(), "{piece}");
            let mut lengths = Lengths::new();
            lengths.most = LONGEST_INSIDE;
            let ends = parts(&mut lengths, &all, piece).unwrap();
            assert_eq!((lengths.head, lengths.body), (5, 0), "{piece}");
            for end in [100, 105, all.len()] {
                assert!(ends.contains(&end), "{end} by {piece}");
            }
        }
    }

    #[test]
    fn what_is_too_long_or_no_length_is_refused_at_its_head() {
        for length in [0, 3, LONGEST_OUTSIDE as u32 + 1, u32::MAX] {
            assert!(Lengths::new().part(&length.to_be_bytes()).is_err(), "{length}");
        }
        assert!(Lengths::new().part(&(LONGEST_OUTSIDE as u32).to_be_bytes()).is_ok());
    }
}
