//! The protocol by hand: messages as they are sent and received.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

/// A message without its length.
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// A connection of which every byte is ours.
pub(crate) struct Wire(pub(crate) TcpStream);

impl Wire {
    pub(crate) fn send(&mut self, kind: Option<u8>, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        let kind: Vec<u8> = kind.into_iter().collect();
        self.0.write_all(&[kind.as_slice(), &length, body].concat()).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Message {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.0.read_exact(&mut body).unwrap();
        Message { kind: head[0], body }
    }

    /// Asks for encryption, is refused, and comes in with SCRAM.
    pub(crate) fn open(address: SocketAddr, user: &str, token: &str) -> Self {
        let mut wire = Self(TcpStream::connect(address).unwrap());
        wire.send(None, &80_877_103_u32.to_be_bytes());
        let mut answer = [0];
        wire.0.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"N");
        let mut startup = 196_608_u32.to_be_bytes().to_vec();
        startup.extend_from_slice(format!("user\0{user}\0").as_bytes());
        startup.extend_from_slice(
            b"client_encoding\0UTF8\0database\0healthcare\0application_name\0Mashup Engine\0\0",
        );
        wire.send(None, &startup);
        let offer = wire.receive();
        assert_eq!((offer.kind, &offer.body[..]), (b'R', &b"\0\0\0\x0aSCRAM-SHA-256\0\0"[..]));
        let mut scram = ScramSha256::new(token.as_bytes(), ChannelBinding::unsupported());
        let first = scram.message().to_vec();
        let length = u32::try_from(first.len()).unwrap().to_be_bytes();
        wire.send(Some(b'p'), &[b"SCRAM-SHA-256\0", length.as_slice(), &first].concat());
        let challenge = wire.receive();
        assert_eq!(challenge.body[..4], 11_u32.to_be_bytes());
        scram.update(&challenge.body[4..]).unwrap();
        let last = scram.message().to_vec();
        wire.send(Some(b'p'), &last);
        let proof = wire.receive();
        assert_eq!(proof.body[..4], 12_u32.to_be_bytes());
        scram.finish(&proof.body[4..]).unwrap();
        let rest = wire.until_ready();
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

    pub(crate) fn until_ready(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        loop {
            all.push(self.receive());
            if all.last().unwrap().kind == b'Z' {
                return all;
            }
        }
    }
}
