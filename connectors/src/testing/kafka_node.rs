//! One node of the Kafka that tests start: its folder, its ports and its JVM.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::kafka_jars::{Jars, open_lock, run_bounded, tail};

#[cfg(test)]
#[cfg(unix)]
#[path = "kafka_docker_tests.rs"]
mod kafka_docker_tests;

const CLUSTER_ID: &str = "dGhhbHdlZy10ZXN0LTAwMA";
const FORMAT_TIMEOUT: Duration = Duration::from_mins(2);

/// Below the ports that systems hand out to outgoing connections (Linux: from 32768), so that
/// nobody takes a broker's port while the broker is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Runs the JVM and obeys the lines that come in on the pipe from the test process. The end of that
/// pipe means that the test process is gone, however it died: the JVM is killed and its folder
/// removed. A shell rather than `prctl(PR_SET_PDEATHSIG)`, which is Linux only and needs `unsafe`.
///
/// A container takes no signal while it is being made, and goes on without its client: it is asked again until it has
/// taken the signal or the client has ended, and only the client of one that has not come in all that time is killed.
const KEEPER: &str = r#"
dir=$1
shift
case $1 in
  */docker-java) order() {
    tries=0
    until docker kill -s "$1" "thalweg-java-$java"; do
      kill -0 "$java" || return 0
      tries=$((tries + 1))
      if [ "$tries" -ge 20 ]; then kill "-$1" "$java"; return 0; fi
      sleep 1
    done
  } ;;
  *) order() { kill "-$1" "$java"; } ;;
esac
exec 3<&0
"$@" </dev/null 3<&- &
java=$!
(
  while read -r order <&3; do
    case $order in
      term) order TERM ;;
      kill) order KILL ;;
      stop) order STOP; touch "$dir/stopped" ;;
      cont) rm -f "$dir/stopped"; order CONT ;;
    esac
  done
  touch "$dir/gone"
  order KILL
) &
watcher=$!
exec 3<&- </dev/null
wait "$java"
status=$?
kill -TERM "$watcher"
wait "$watcher"
if [ -e "$dir/gone" ]; then
  rm -rf -- "$dir"
  rmdir -- "$(dirname -- "$dir")"
fi
exit "$status"
"#;

/// What the keeper leaves while the JVM is stopped.
const STOPPED: &str = "stopped";

/// Logs warnings to a file, and nothing else anywhere.
const LOG4J: &str = "\
appender.file.type=File
appender.file.name=file
appender.file.fileName=${sys:thalweg.kafka.log}
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %c: %m%n
rootLogger.level=WARN
rootLogger.appenderRef.file.ref=file
";

/// A port that no other test of this user takes while the reservation lives.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a port that nobody listens on.
    pub(super) fn reserve(cache: &Path) -> io::Result<Self> {
        let folder = cache.join("ports");
        fs::create_dir_all(&folder)?;
        let count = PORTS.len();
        let first = RandomState::new().hash_one(()) as usize % count;
        for number in PORTS.cycle().skip(first).take(count) {
            let lock = open_lock(&folder.join(format!("{number}.lock")))?;
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port for a Kafka listener"))
    }
}

/// The ports of a node, reserved before any node is set up: every node's settings name them.
#[derive(Debug)]
pub(super) struct NodePorts {
    pub(super) client: Port,
    pub(super) controller: Port,
    second: Option<(Port, Second)>,
}

/// A second listener for clients, and whose port whoever asks there is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Second {
    Itself,
    /// That of a proxy, which clients so never leave.
    Proxy(u16),
}

impl NodePorts {
    pub(super) fn reserve(cache: &Path, second: Option<Second>) -> io::Result<Self> {
        let listener = |told| Ok::<_, io::Error>((Port::reserve(cache)?, told));
        let second = second.map(listener).transpose()?;
        Ok(Self { client: Port::reserve(cache)?, controller: Port::reserve(cache)?, second })
    }
}

/// A node that keeps its data and its ports while it is stopped, until it is dropped.
#[derive(Debug)]
pub(super) struct Node {
    id: usize,
    dir: PathBuf,
    jars: Jars,
    address: String,
    ports: NodePorts,
    keeper: Option<Child>,
}

impl Node {
    /// Writes the settings and formats the data folder; the node does not run yet.
    /// `voters` is the value of `controller.quorum.voters`.
    pub(super) fn set_up(
        id: usize,
        nodes: usize,
        voters: &str,
        dir: PathBuf,
        jars: &Jars,
        ports: NodePorts,
        session: Duration,
    ) -> Result<Self, String> {
        let address = format!("{}:{}", Ipv4Addr::LOCALHOST, ports.client.number);
        let settings = settings(id, nodes, voters, &dir, &ports, session);
        let node = Self { id, dir, jars: jars.clone(), address, ports, keeper: None };
        fs::create_dir_all(&node.dir)
            .and_then(|()| fs::write(node.file("log4j2.properties"), LOG4J))
            .and_then(|()| fs::write(node.file("server.properties"), settings))
            .map_err(|error| format!("could not write into {}: {error}", node.dir.display()))?;
        let mut format = node.jars.command(&node.jars.java);
        format.args(node.jvm_arguments()).arg("kafka.tools.StorageTool");
        format.args(["format", "-t", CLUSTER_ID, "-c"]).arg(node.file("server.properties"));
        run_bounded(format, &node.file("format.log"), FORMAT_TIMEOUT)?;
        Ok(node)
    }

    /// Settings that win over those that it was set up with. For a node that does not run.
    pub(super) fn set(&self, settings: &[(&str, &str)]) -> io::Result<()> {
        let mut file = File::options().append(true).open(self.file("server.properties"))?;
        settings.iter().try_for_each(|(key, value)| writeln!(file, "{key}={value}"))
    }

    /// One entry of `controller.quorum.voters`.
    pub(super) fn voter(id: usize, ports: &NodePorts) -> String {
        format!("{id}@{}:{}", Ipv4Addr::LOCALHOST, ports.controller.number)
    }

    pub(super) fn id(&self) -> usize {
        self.id
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Where the records of a partition begin; there is one such file until it is as long as a segment.
    pub(super) fn log_file(&self, topic: &str, partition: i32) -> PathBuf {
        self.file("data").join(format!("{topic}-{partition}/{:020}.log", 0))
    }

    /// Where the second listener is, if the node has one.
    pub(super) fn second(&self) -> Option<SocketAddr> {
        let (listener, _) = self.ports.second.as_ref()?;
        Some((Ipv4Addr::LOCALHOST, listener.number).into())
    }

    pub(super) fn is_running(&self) -> bool {
        self.keeper.is_some()
    }

    /// Whether the JVM has been told to stop in its tracks, and not to go on since.
    pub(super) fn is_frozen(&self) -> bool {
        self.file(STOPPED).exists()
    }

    /// Starts the JVM on the data folder as it is. Does not wait until it serves.
    pub(super) fn spawn(&mut self) -> io::Result<()> {
        drop(fs::remove_file(self.file(STOPPED)));
        let output = File::options().create(true).append(true).open(self.file("jvm.log"))?;
        let errors = output.try_clone()?;
        let mut keeper = self.jars.command("sh");
        keeper.args(["-c", KEEPER, "thalweg-kafka"]).arg(&self.dir);
        keeper.arg(&self.jars.java).args(self.jvm_arguments());
        keeper.arg("kafka.Kafka").arg(self.file("server.properties"));
        keeper.stdin(Stdio::piped()).stdout(output).stderr(errors);
        // A Ctrl-C at the terminal is for the tests; the keeper learns of their end by the pipe.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut keeper, 0);
        self.keeper = Some(keeper.spawn()?);
        Ok(())
    }

    /// How the JVM ended, if it was started and ended by itself.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.keeper.as_mut().and_then(|keeper| keeper.try_wait().ok().flatten())
    }

    /// The end of what the node logged.
    pub(super) fn log_tail(&self) -> String {
        [self.file("jvm.log"), self.file("server.log")].map(|log| tail(&log)).concat()
    }

    /// Sends `term`, `kill`, `stop` or `cont` to the JVM; it may have ended already.
    pub(super) fn order(&mut self, order: &str) {
        let pipe = self.keeper.as_mut().and_then(|keeper| keeper.stdin.as_mut());
        if let Some(pipe) = pipe {
            // A broken pipe: the JVM has ended, and its keeper with it.
            drop(writeln!(pipe, "{order}"));
        }
    }

    /// Waits for the JVM's end after an order; kills it when `patience` is used up, and waits as long again.
    pub(super) fn wait_stopped(&mut self, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        while let Some(keeper) = self.keeper.as_mut() {
            if keeper.try_wait()?.is_some() {
                self.keeper = None;
            } else if Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            } else if Instant::now() < deadline + patience {
                self.order("kill");
                thread::sleep(Duration::from_millis(100));
            } else {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end when killed"));
            }
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// For a short life on few cores, unless Kafka's own variable says otherwise: no second compiler, no collector
    /// threads.
    fn jvm_arguments(&self) -> Vec<std::ffi::OsString> {
        let asked = std::env::var("KAFKA_JVM_PERFORMANCE_OPTS").ok();
        let tuning =
            asked.as_deref().unwrap_or("-Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1");
        let mut arguments: Vec<std::ffi::OsString> =
            tuning.split_whitespace().map(Into::into).collect();
        let log_settings = self.file("log4j2.properties");
        arguments.push(format!("-Dlog4j2.configurationFile={}", log_settings.display()).into());
        let log = self.file("server.log");
        arguments.push(format!("-Dthalweg.kafka.log={}", log.display()).into());
        arguments.push("-cp".into());
        arguments.push(self.jars.class_path.clone());
        arguments
    }
}

impl Drop for Node {
    /// Closing the pipe is the order to kill the JVM and to remove the folder.
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            drop(keeper.wait());
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// The checkpoint of first offsets is early and frequent because a kill brings back records deleted
/// since. There is no retention because tests write records with old timestamps. Transactions that have
/// run out are looked for often because a test waits for one.
fn settings(
    id: usize,
    nodes: usize,
    voters: &str,
    dir: &Path,
    ports: &NodePorts,
    session: Duration,
) -> String {
    let session = session.as_millis();
    let replicas = nodes.min(3);
    let in_sync = replicas.div_ceil(2);
    let host = Ipv4Addr::LOCALHOST;
    let client = ports.client.number;
    let controller = ports.controller.number;
    let (second, told) = ports.second.as_ref().map_or_else(Default::default, |(listener, told)| {
        let at = |port| format!(",SECOND://{host}:{port}");
        let told = match told {
            Second::Itself => listener.number,
            Second::Proxy(port) => *port,
        };
        (at(listener.number), at(told))
    });
    let data = dir.join("data");
    format!(
        "\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{client},CONTROLLER://{host}:{controller}{second}
advertised.listeners=PLAINTEXT://{host}:{client}{told}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECOND:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={replicas}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
broker.session.timeout.ms={session}
broker.heartbeat.interval.ms=500
log.flush.start.offset.checkpoint.interval.ms=1000
log.initial.task.delay.ms=500
log.retention.ms=-1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=2097152
log.cleaner.backoff.ms=500
",
        data = data.display()
    )
}
