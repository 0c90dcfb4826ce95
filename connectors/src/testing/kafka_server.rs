//! A real Apache Kafka for tests.
//!
//! Tests that need a broker ask [`KafkaServer::shared`] for the one of their process, or start their
//! own with [`KafkaServer::start_own`] if they are going to kill it:
//!
//! ```no_run
//! # use thalweg_connectors::testing::kafka_server::{KafkaServer, KafkaServerError, unique_topic};
//! # fn test() -> Result<(), KafkaServerError> {
//! let Some(kafka) = KafkaServer::shared() else { return Ok(()) };
//! let topic = unique_topic("events");
//! kafka.create_topic(&topic, 4, &[])?;
//! kafka.produce(&topic, 0, Some(b"key"), Some(b"payload"), None)?;
//! # Ok(())
//! # }
//! ```
//!
//! Environment:
//!
//! | Variable | Meaning |
//! |---|---|
//! | `KAFKA_BOOTSTRAP_SERVERS` | Use this Kafka rather than start one. |
//! | `THALWEG_REQUIRE_KAFKA=1` | A missing Kafka fails a test rather than skip it. |
//! | `THALWEG_KAFKA_CACHE` | Where Kafka's jars are; default `~/.cache/thalweg/kafka-VERSION`. |
//!
//! Without `KAFKA_BOOTSTRAP_SERVERS`, the jars come from Maven Central by `mvn` once per machine,
//! and brokers run on Java 17 or newer; without Maven, in containers of the image `apache/kafka`
//! with the same settings, where Docker's engine runs on this Linux: they share its network and its
//! folder for temporary files. A server and its data go when the value is dropped, and also
//! when the test process ends in any other way.

use std::collections::BTreeMap;
use std::env;
use std::fmt::{self, Debug, Display};
use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

#[path = "kafka_clients.rs"]
mod kafka_clients;
#[path = "kafka_consumer.rs"]
mod kafka_consumer;
#[path = "kafka_jars.rs"]
mod kafka_jars;
#[path = "kafka_node.rs"]
mod kafka_node;
#[path = "kafka_passing.rs"]
mod kafka_passing;
#[path = "kafka_proxy.rs"]
mod kafka_proxy;
#[path = "kafka_rights.rs"]
mod kafka_rights;
#[path = "kafka_transactions.rs"]
mod kafka_transactions;
#[path = "kafka_types.rs"]
mod kafka_types;

pub use kafka_proxy::KafkaProxy;
pub use kafka_rights::{KafkaRights, Operation, Resource, Right};
pub use kafka_transactions::wait_for_ends;
pub use kafka_types::{Consumed, KafkaServerError, Record, Unavailable};

use kafka_clients::{Clients, wait_until};
use kafka_jars::Jars;
use kafka_node::{Node, NodePorts, Second};

const READY_TIMEOUT: Duration = Duration::from_mins(5);
const EXTERNAL_TIMEOUT: Duration = Duration::from_secs(15);
const STOP_TIMEOUT: Duration = Duration::from_mins(1);
/// After how long of silence a broker is taken for dead. Short where tests kill brokers: one that is killed may come back
/// only after its old session. Long where they do not: one that a busy machine holds up for a while stays.
const SESSION: Duration = Duration::from_secs(4);
const LONG_SESSION: Duration = Duration::from_mins(2);

/// A topic name that no other test uses, for tests that share a Kafka.
pub fn unique_topic(prefix: &str) -> String {
    format!("{prefix}-{}", unique())
}

/// A running Apache Kafka.
///
/// All methods block and return when the change is there to be seen; they work in async tests too,
/// where they hold up the thread they are called on.
pub struct KafkaServer {
    bootstrap_servers: String,
    clients: Clients,
    /// None for a Kafka that the test did not start. Dropped before the folder that has their data.
    nodes: Option<Mutex<Vec<Node>>>,
    _folder: Option<Folder>,
}

impl KafkaServer {
    /// The Kafka of `KAFKA_BOOTSTRAP_SERVERS`, or else a server of one node of the test's own.
    pub fn start() -> Result<Self, Unavailable> {
        match env::var("KAFKA_BOOTSTRAP_SERVERS") {
            Ok(servers) if !servers.trim().is_empty() => Self::external(servers),
            _ => Self::start_nodes(1, LONG_SESSION),
        }
    }

    /// A server of `nodes` nodes of the test's own, each broker and controller in one, whatever
    /// `KAFKA_BOOTSTRAP_SERVERS` says. Topics have up to 3 replicas.
    pub fn start_own(nodes: usize) -> Result<Self, Unavailable> {
        Self::start_nodes(nodes, SESSION)
    }

    /// A server of one node of the test's own with settings such as `("offsets.retention.minutes", "1")`, which win over the
    /// usual ones.
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self, Unavailable> {
        Self::start_on(&Jars::resolve()?, 1, None, SESSION, settings)
    }

    /// A server of one node of the test's own, and a proxy that its clients go through.
    pub fn start_behind_proxy() -> Result<(Self, KafkaProxy), Unavailable> {
        let unavailable = |error: &dyn Display| Unavailable::because(error.to_string());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.map_err(|error| unavailable(&error))?;
        let port = listener.local_addr().map_err(|error| unavailable(&error))?.port();
        let second = Some(Second::Proxy(port));
        let server = Self::start_on(&Jars::resolve()?, 1, second, LONG_SESSION, &[])?;
        let nodes = server.nodes().map_err(|error| unavailable(&error))?;
        let broker = nodes.first().and_then(Node::second);
        drop(nodes);
        let broker = broker.ok_or_else(|| unavailable(&"a node has no listener for its proxy"))?;
        Ok((server, KafkaProxy::serve(listener, port, broker)))
    }

    fn start_nodes(nodes: usize, session: Duration) -> Result<Self, Unavailable> {
        Self::start_on(&Jars::resolve()?, nodes, None, session, &[])
    }

    fn start_on(
        jars: &Jars,
        nodes: usize,
        second: Option<Second>,
        session: Duration,
        settings: &[(&str, &str)],
    ) -> Result<Self, Unavailable> {
        let unavailable = |error: &dyn Display| Unavailable::because(error.to_string());
        let folder = Folder::create().map_err(|error| unavailable(&error))?;
        let ports = (0..nodes)
            .map(|_| NodePorts::reserve(&jars.cache, second))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|error| unavailable(&error))?;
        let voters: Vec<_> =
            ports.iter().enumerate().map(|(id, ports)| Node::voter(id, ports)).collect();
        let voters = voters.join(",");
        let set_up = |(id, ports)| {
            let dir = folder.0.join(format!("node-{id}"));
            let node = Node::set_up(id, nodes, &voters, dir, jars, ports, session);
            let node = node.map_err(Unavailable::because)?;
            node.set(settings).map_err(|error| unavailable(&error))?;
            Ok::<_, Unavailable>(node)
        };
        let nodes: Vec<_> =
            ports.into_iter().enumerate().map(set_up).collect::<Result<_, Unavailable>>()?;
        let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
        let bootstrap_servers = addresses.join(",");
        let clients = Clients::new(&bootstrap_servers).map_err(|error| unavailable(&error))?;
        let nodes = Some(Mutex::new(nodes));
        let server = Self { bootstrap_servers, clients, nodes, _folder: Some(folder) };
        server.start_again().map_err(|error| unavailable(&error))?;
        Ok(server)
    }

    /// The one Kafka of this test process, started by the first test that asks. `None` is loud.
    ///
    /// Tests share it, so they use topics of their own ([`unique_topic`]) and do not stop it.
    ///
    /// # Panics
    ///
    /// If there is none and `THALWEG_REQUIRE_KAFKA=1`.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Result<KafkaServer, Unavailable>> = OnceLock::new();
        or_skip(SHARED.get_or_init(Self::start).as_ref().map_err(Clone::clone))
    }

    /// The addresses for a client's `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Whether this is the Kafka of `KAFKA_BOOTSTRAP_SERVERS`, which tests cannot stop.
    pub fn is_external(&self) -> bool {
        self.nodes.is_none()
    }

    /// Creates a topic with settings such as `("cleanup.policy", "compact")`.
    ///
    /// A server of the test's own keeps records for ever, whatever their timestamps.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        config: &[(&str, &str)],
    ) -> Result<(), KafkaServerError> {
        self.clients.create_topic(name, partitions, config)
    }

    /// Adds partitions to a topic until it has `total`.
    pub fn add_partitions(&self, name: &str, total: usize) -> Result<(), KafkaServerError> {
        self.clients.add_partitions(name, total)
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) -> Result<(), KafkaServerError> {
        self.clients.delete_topic(name)
    }

    /// Deletes the records of a partition before an offset, as retention does; -1 deletes all.
    ///
    /// Kafka notes the new first offset on disk only once in a while, here every second: a kill in
    /// between brings the records back.
    pub fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        before_offset: i64,
    ) -> Result<(), KafkaServerError> {
        self.clients.delete_records(topic, partition, before_offset)
    }

    /// The first offset that a partition still has, and the offset that its next record will get.
    pub fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaServerError> {
        self.clients.watermarks(topic, partition)
    }

    /// Writes one record and returns its offset.
    pub fn produce(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        timestamp_ms: Option<i64>,
    ) -> Result<i64, KafkaServerError> {
        let offsets =
            self.produce_all(topic, [Record { partition, key, payload, timestamp_ms }])?;
        Ok(offsets[0])
    }

    /// Writes records, each once and in order within its partition, and returns their offsets.
    pub fn produce_all<'a>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = Record<'a>>,
    ) -> Result<Vec<i64>, KafkaServerError> {
        self.clients.produce(topic, records)
    }

    /// All messages of a topic that readers of committed ones see, once the transactions that are in it by now have ended.
    pub fn committed_messages(&self, topic: &str) -> Result<Vec<Consumed>, KafkaServerError> {
        kafka_consumer::committed_messages(&self.bootstrap_servers, topic)
    }

    /// All messages of a topic that readers of committed ones see, by Kafka's own console consumer: each a line.
    pub fn committed_lines(&self, topic: &str) -> Result<Vec<String>, KafkaServerError> {
        kafka_consumer::committed_lines(&tools()?, &self.bootstrap_servers, topic)
    }

    /// The same, written to a file: for more of them than one wants to hold.
    pub fn committed_to(&self, topic: &str, file: &Path) -> Result<(), KafkaServerError> {
        kafka_consumer::committed_to(&tools()?, &self.bootstrap_servers, topic, file)
    }

    /// The positions that a consumer group has in a topic, by partition; none where it has not been told any.
    pub fn group_positions(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<BTreeMap<i32, i64>, KafkaServerError> {
        kafka_consumer::group_positions(&self.bootstrap_servers, group, topic)
    }

    /// Deletes what brokers keep of a consumer group, as they do by themselves behind `offsets.retention.minutes`.
    pub fn delete_group(&self, group: &str) -> Result<(), KafkaServerError> {
        self.clients.delete_group(group)
    }

    /// Aborts the transaction that began at offset `from` of a partition and has not ended there, as an operator does.
    pub fn abort_transaction(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<(), KafkaServerError> {
        kafka_transactions::abort(&tools()?, &self.bootstrap_servers, (topic, partition), from)
    }

    /// The file in which the first node has a partition's records, for a test to change while the node is down.
    pub fn log_file(&self, topic: &str, partition: i32) -> Result<PathBuf, KafkaServerError> {
        let nodes = self.nodes()?;
        let node = nodes.first().ok_or(KafkaServerError::NoSuchNode(0))?;
        Ok(node.log_file(topic, partition))
    }

    /// Kills all nodes with SIGKILL. Data and ports are kept for [`Self::start_again`].
    pub fn kill9(&self) -> Result<(), KafkaServerError> {
        stop(&mut self.nodes()?, "kill")
    }

    /// Shuts all nodes down in an orderly way, and kills those that do not finish.
    pub fn stop(&self) -> Result<(), KafkaServerError> {
        stop(&mut self.nodes()?, "term")
    }

    /// Starts the nodes that do not run, and waits until all nodes serve all partitions.
    pub fn start_again(&self) -> Result<(), KafkaServerError> {
        start(&mut self.nodes()?)?;
        self.wait_ready()
    }

    /// Stops all nodes in their tracks: connections stay open and nobody answers, as when a machine hangs.
    pub fn freeze(&self) -> Result<(), KafkaServerError> {
        let mut nodes = self.nodes()?;
        nodes.iter_mut().for_each(|node| node.order("stop"));
        wait_until("the nodes to be stopped", STOP_TIMEOUT, || {
            Ok(nodes.iter().all(|node| !node.is_running() || node.is_frozen()))
        })
    }

    /// Lets frozen nodes go on, and waits until they serve.
    pub fn thaw(&self) -> Result<(), KafkaServerError> {
        self.nodes()?.iter_mut().for_each(|node| node.order("cont"));
        self.wait_ready()
    }

    /// [`Self::stop`] and then [`Self::start_again`].
    pub fn restart(&self) -> Result<(), KafkaServerError> {
        self.stop()?;
        self.start_again()
    }

    /// [`Self::kill9`] for one node of several, counted from 0.
    pub fn kill9_node(&self, node: usize) -> Result<(), KafkaServerError> {
        let mut nodes = self.nodes()?;
        let node = nodes.get_mut(node).ok_or(KafkaServerError::NoSuchNode(node))?;
        stop(std::slice::from_mut(node), "kill")
    }

    /// Starts one node of several, counted from 0, and waits until it serves.
    pub fn start_node_again(&self, node: usize) -> Result<(), KafkaServerError> {
        let mut nodes = self.nodes()?;
        let node = nodes.get_mut(node).ok_or(KafkaServerError::NoSuchNode(node))?;
        start(std::slice::from_mut(node))?;
        drop(nodes);
        self.wait_ready()
    }

    fn external(bootstrap_servers: String) -> Result<Self, Unavailable> {
        let clients = Clients::new(&bootstrap_servers)
            .map_err(|error| Unavailable::because(error.to_string()))?;
        wait_until("the Kafka of KAFKA_BOOTSTRAP_SERVERS", EXTERNAL_TIMEOUT, || {
            Ok(clients.is_ready(1, false))
        })
        .map_err(|error| Unavailable::because(error.to_string()))?;
        Ok(Self { bootstrap_servers, clients, nodes: None, _folder: None })
    }

    fn nodes(&self) -> Result<MutexGuard<'_, Vec<Node>>, KafkaServerError> {
        let nodes = self.nodes.as_ref().ok_or(KafkaServerError::External)?;
        Ok(nodes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until every running node is a broker of the cluster and, if all nodes run, every
    /// partition has a leader.
    fn wait_ready(&self) -> Result<(), KafkaServerError> {
        wait_until("Kafka to be ready", READY_TIMEOUT, || {
            let mut nodes = self.nodes()?;
            for node in nodes.iter_mut() {
                if let Some(status) = node.ended() {
                    let log = node.log_tail();
                    return Err(KafkaServerError::Ended { node: node.id(), status, log });
                }
            }
            let running = nodes.iter().filter(|node| node.is_running()).count();
            let all = running == nodes.len();
            drop(nodes);
            Ok(self.clients.is_ready(running, all))
        })
    }
}

impl Debug for KafkaServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaServer")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// The server if there is one; otherwise says on stderr, past the capture of the test harness, that
/// this test was skipped.
///
/// # Panics
///
/// If there is none and `THALWEG_REQUIRE_KAFKA=1`.
pub fn or_skip<T>(server: Result<T, Unavailable>) -> Option<T> {
    let unavailable = match server {
        Ok(server) => return Some(server),
        Err(unavailable) => unavailable,
    };
    let required = env::var("THALWEG_REQUIRE_KAFKA").is_ok_and(|required| required == "1");
    assert!(!required, "THALWEG_REQUIRE_KAFKA=1, but: {unavailable}");
    let current = thread::current();
    let test = current.name().unwrap_or("a test");
    drop(writeln!(io::stderr(), "\n*** SKIPPED {test}: {unavailable} ***\n"));
    None
}

fn tools() -> Result<Jars, KafkaServerError> {
    Jars::resolve().map_err(|error| KafkaServerError::Io {
        what: "find Kafka's tools",
        cause: io::Error::other(error.to_string()),
    })
}

fn stop(nodes: &mut [Node], order: &str) -> Result<(), KafkaServerError> {
    for node in &mut *nodes {
        node.order(order);
    }
    for node in nodes {
        node.wait_stopped(STOP_TIMEOUT)
            .map_err(|cause| KafkaServerError::Io { what: "stop a Kafka node", cause })?;
    }
    Ok(())
}

fn start(nodes: &mut [Node]) -> Result<(), KafkaServerError> {
    for node in nodes.iter_mut().filter(|node| !node.is_running()) {
        node.spawn().map_err(|cause| KafkaServerError::Io { what: "start a Kafka node", cause })?;
    }
    Ok(())
}

/// The folder of one server, which goes with it. Its nodes remove their own.
struct Folder(PathBuf);

impl Folder {
    fn create() -> io::Result<Self> {
        let folder = env::temp_dir().join(format!("thalweg-kafka-{}", unique()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Empty by now.
        drop(fs::remove_dir(&self.0));
    }
}

fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{next}", process::id(), since_1970.as_micros())
}
