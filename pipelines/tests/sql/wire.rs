//! The protocol by hand: messages as they are sent and received.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

/// A message without its length.
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// Asks for encryption.
pub(crate) const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16/";

/// As it is sent; the first messages have no kind.
fn framed(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    let kind: Vec<u8> = kind.into_iter().collect();
    [kind.as_slice(), &length, body].concat()
}

/// The message with which Npgsql begins.
pub(crate) fn startup(user: &str) -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    body.extend_from_slice(format!("user\0{user}\0").as_bytes());
    body.extend_from_slice(
        b"client_encoding\0UTF8\0database\0healthcare\0application_name\0Mashup Engine\0\0",
    );
    framed(None, &body)
}

/// A connection of which every byte is ours.
pub(crate) struct Wire<S = TcpStream>(pub(crate) S);

impl<S: Read + Write> Wire<S> {
    pub(crate) fn send(&mut self, kind: Option<u8>, body: &[u8]) {
        self.0.write_all(&framed(kind, body)).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Message {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.0.read_exact(&mut body).unwrap();
        Message { kind: head[0], body }
    }

    pub(crate) fn until_ready(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        loop {
            all.push(self.receive());
            if all.last().unwrap().kind == b'Z' {
                return all;
            }
        }
    }

    /// Asks for encryption, which this server does not have.
    pub(crate) fn is_refused_encryption(&mut self) {
        self.0.write_all(SSL_REQUEST).unwrap();
        let mut answer = [0];
        self.0.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"N");
    }

    /// Comes in with SCRAM: what the server says then.
    pub(crate) fn come_in(&mut self, user: &str, token: &str) -> Vec<Message> {
        self.0.write_all(&startup(user)).unwrap();
        let offer = self.receive();
        assert_eq!((offer.kind, &offer.body[..]), (b'R', &b"\0\0\0\x0aSCRAM-SHA-256\0\0"[..]));
        let mut scram = ScramSha256::new(token.as_bytes(), ChannelBinding::unsupported());
        let first = scram.message().to_vec();
        let length = u32::try_from(first.len()).unwrap().to_be_bytes();
        self.send(Some(b'p'), &[b"SCRAM-SHA-256\0", length.as_slice(), &first].concat());
        let challenge = self.receive();
        assert_eq!(challenge.body[..4], 11_u32.to_be_bytes());
        scram.update(&challenge.body[4..]).unwrap();
        let last = scram.message().to_vec();
        self.send(Some(b'p'), &last);
        let proof = self.receive();
        assert_eq!(proof.body[..4], 12_u32.to_be_bytes());
        scram.finish(&proof.body[4..]).unwrap();
        self.until_ready()
    }
}

impl Wire {
    /// Asks for encryption, is refused, and comes in with SCRAM.
    pub(crate) fn open(address: SocketAddr, user: &str, token: &str) -> Self {
        let mut wire = Self(TcpStream::connect(address).unwrap());
        wire.is_refused_encryption();
        let rest = wire.come_in(user, token);
        assert_eq!(rest[0].body, [0; 4]);
        let status = |name: &str| {
            let mut values =
                rest.iter().filter(|message| message.kind == b'S').filter_map(|message| {
                    let text = String::from_utf8_lossy(&message.body).into_owned();
                    text.strip_prefix(&format!("{name}\0"))
                        .map(|value| value.trim_end_matches('\0').to_owned())
                });
            values.next().unwrap_or_else(|| panic!("{name}"))
        };
        assert!(status("server_version").starts_with("16."));
        assert_eq!(status("integer_datetimes"), "on");
        assert_eq!(status("standard_conforming_strings"), "on");
        assert!(rest.iter().any(|message| message.kind == b'K'));
        wire
    }
}

/// A way through TLS, which `openssl` makes: bytes go in and come out in the clear. It ends when dropped.
pub(crate) struct Tunnel(Child);

impl Tunnel {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let mut openssl = Command::new("openssl");
        // Quiet it takes no letter for a command of its own.
        openssl.args(["s_client", "-quiet", "-starttls", "postgres", "-connect"]);
        openssl.arg(address.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(openssl.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Read for Tunnel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.stdout.as_mut().unwrap().read(buffer)
    }
}

impl Write for Tunnel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.stdin.as_mut().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.stdin.as_mut().unwrap().flush()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
