//! A broker whose authorizer lets a user do only what it has been given the rights to, which a test gives and takes while it
//! runs. rdkafka has no call for that, and Kafka's own tool takes seconds for each: here it is three requests of Kafka's
//! protocol, whose bodies name a right in one and the same way.

use std::fmt::Display;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::kafka_clients::wait_until;
use super::kafka_jars::Jars;
use super::kafka_node::{Node, Second};
use super::{KafkaServer, KafkaServerError, LONG_SESSION, Unavailable};

const PATIENCE: Duration = Duration::from_mins(2);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(30);

const DESCRIBE_ACLS: i16 = 29;
const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;
/// Of each of the three: the last one without tagged fields, the first that Apache Kafka 4 takes.
const VERSION: i16 = 1;
const ANY_HOST: &str = "*";
const LITERAL: u8 = 3;
const PREFIXED: u8 = 4;
const ALLOW: u8 = 3;

/// What a right lets its user do; the numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read messages, or be a member of a group and move its offsets.
    Read = 3,
    /// Write messages, or use a transactional id.
    Write = 4,
    /// Make it.
    Create = 5,
    /// See that it is there; whoever may read or write may do so as well.
    Describe = 8,
}

/// What a right is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// One topic.
    Topic(&'a str),
    /// One consumer group.
    Group(&'a str),
    /// The consumer groups whose names begin so.
    Groups(&'a str),
    /// The transactional ids that begin so.
    TransactionalIds(&'a str),
}

/// A right of [`KafkaRights::USER`].
pub type Right<'a> = (Operation, Resource<'a>);

/// The rights that a user has at a broker. It has none at first.
#[derive(Debug)]
pub struct KafkaRights {
    /// Where everybody may do everything.
    broker: String,
    bootstrap_servers: String,
}

impl KafkaServer {
    /// A server of one node of the test's own, whose clients may do everything, and how to come to it as
    /// [`KafkaRights::USER`], who may do what it is given the rights to.
    pub fn start_with_rights() -> Result<(Self, KafkaRights), Unavailable> {
        let unavailable = |error: &dyn Display| Unavailable::because(error.to_string());
        let (user, password) = (KafkaRights::USER, KafkaRights::PASSWORD);
        let login = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"{password}\";"
        );
        let settings = [
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("allow.everyone.if.no.acl.found", "false"),
            // Whoever comes without a name, as the node itself does.
            ("super.users", "User:ANONYMOUS"),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECOND:SASL_PLAINTEXT",
            ),
            ("sasl.enabled.mechanisms", "PLAIN"),
            ("listener.name.second.plain.sasl.jaas.config", login.as_str()),
        ];
        let second = Some(Second::Itself);
        let server = Self::start_on(&Jars::resolve()?, 1, second, LONG_SESSION, &settings)?;
        let nodes = server.nodes().map_err(|error| unavailable(&error))?;
        let bootstrap_servers = nodes.first().and_then(Node::second);
        drop(nodes);
        let bootstrap_servers =
            bootstrap_servers.ok_or_else(|| unavailable(&"a node has no listener for its user"))?;
        let (broker, bootstrap_servers) =
            (server.bootstrap_servers.clone(), bootstrap_servers.to_string());
        Ok((server, KafkaRights { broker, bootstrap_servers }))
    }
}

impl KafkaRights {
    /// Who has them. It says its name and password by SASL's mechanism PLAIN, without TLS.
    pub const USER: &'static str = "thalweg";
    /// What it proves itself by; no other text of a test has it.
    pub const PASSWORD: &'static str = "hunter2-of-the-broker";

    /// The address for `bootstrap.servers` of clients that come as the user.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Gives rights; those that it has it keeps.
    pub fn give(&self, rights: &[Right<'_>]) -> Result<(), KafkaServerError> {
        self.change(CREATE_ACLS, rights, true)
    }

    /// Takes rights away.
    pub fn take(&self, rights: &[Right<'_>]) -> Result<(), KafkaServerError> {
        self.change(DELETE_ACLS, rights, false)
    }

    /// Asks until the broker goes by the change: it answers before it does, and a change that is made twice is made once.
    fn change(
        &self,
        request: i16,
        rights: &[Right<'_>],
        given: bool,
    ) -> Result<(), KafkaServerError> {
        let mut body = (rights.len() as i32).to_be_bytes().to_vec();
        for right in rights {
            append(&mut body, *right);
        }
        wait_until(&format!("rights to be given ({given}): {rights:?}"), PATIENCE, || {
            self.ask(request, &body)?;
            rights
                .iter()
                .try_fold(true, |so_far, right| Ok(so_far && self.has(*right)? == Some(given)))
        })
    }

    /// Whether the user has a right; `None` where the broker does not tell.
    fn has(&self, right: Right<'_>) -> Result<Option<bool>, KafkaServerError> {
        let mut body = Vec::new();
        append(&mut body, right);
        let answer = self.ask(DESCRIBE_ACLS, &body)?;
        // How long to wait, the number of an error, its text, which is none or empty where there is no error, and a list.
        let is_told = answer.get(4..6).is_some_and(|error| *error == [0; 2]);
        let found = answer.get(8..12).map(|count| *count != [0; 4]);
        Ok(found.filter(|_| is_told))
    }

    fn ask(&self, kind: i16, body: &[u8]) -> Result<Vec<u8>, KafkaServerError> {
        let answer = exchange(&self.broker, kind, body);
        answer.map_err(|cause| KafkaServerError::Io { what: "ask a broker about rights", cause })
    }
}

/// Sends one request by a connection of its own. What stands in the answer behind the request's number.
fn exchange(broker: &str, kind: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    const NUMBER: [u8; 4] = [0; 4];
    let mut request = [kind.to_be_bytes(), VERSION.to_be_bytes()].concat();
    request.extend(NUMBER);
    append_text(&mut request, "thalweg-test-rights");
    request.extend_from_slice(body);
    let mut connection = TcpStream::connect(broker)?;
    connection.set_read_timeout(Some(REQUEST))?;
    connection.write_all(&(request.len() as i32).to_be_bytes())?;
    connection.write_all(&request)?;
    let mut length = [0; 4];
    connection.read_exact(&mut length)?;
    connection.read_exact(&mut [0; NUMBER.len()])?;
    let rest = (u32::from_be_bytes(length) as usize).saturating_sub(NUMBER.len());
    let mut answer = vec![0; rest];
    connection.read_exact(&mut answer)?;
    Ok(answer)
}

/// Kind, name and pattern of the resource, who from where, operation and permission.
fn append(body: &mut Vec<u8>, (operation, resource): Right<'_>) {
    let (kind, name, pattern) = match resource {
        Resource::Topic(name) => (2, name, LITERAL),
        Resource::Group(name) => (3, name, LITERAL),
        Resource::Groups(prefix) => (3, prefix, PREFIXED),
        Resource::TransactionalIds(prefix) => (5, prefix, PREFIXED),
    };
    body.push(kind);
    append_text(body, name);
    body.push(pattern);
    append_text(body, &format!("User:{}", KafkaRights::USER));
    append_text(body, ANY_HOST);
    body.extend([operation as u8, ALLOW]);
}

fn append_text(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as i16).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}
