//! A server process that ends with the test, however the test ends.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const READY: Duration = Duration::from_mins(5);

/// Below those that systems hand out to outgoing connections, so that none of them takes a port before its server has it,
/// and below those of `KafkaServer`.
const PORTS: std::ops::Range<u16> = 12_000..20_000;

/// Kills the server once its own standard input is closed: by a drop, or by the death of the test. Ends with the server.
const WATCH: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
(cat <&3 >/dev/null; kill -9 $server) &
exec 3<&- </dev/null
wait $server
"#;

#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    /// Starts a server and waits until it listens at `address`.
    pub(super) fn start(
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
        address: &str,
    ) -> Result<Self, String> {
        let child = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(program)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{} cannot be run: {e}", program.display()))?;
        let mut process = Self(child);
        let deadline = Instant::now() + READY;
        while TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = process.0.try_wait() {
                return Err(format!("{} ended with {status}", program.display()));
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not listen at {address}", program.display()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

/// A port that nobody listens on, and that no other test of this user is given while this process lives: by its lock.
pub(super) fn free_port() -> Result<u16, String> {
    static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = super::install::cache()?.join("ports");
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    fs::create_dir_all(&folder).map_err(failed)?;
    let first = RandomState::new().hash_one(()) as usize % PORTS.len();
    for port in PORTS.cycle().skip(first).take(PORTS.len()) {
        let path = folder.join(format!("{port}.lock"));
        let lock = File::options().create(true).truncate(false).write(true).open(path);
        let lock = lock.map_err(failed)?;
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            return Ok(port);
        }
    }
    Err("no free port for a server".to_owned())
}

/// Sends a whole request that asks for the connection to be closed, and returns the whole answer.
pub(super) fn ask(address: &str, request: &[u8]) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| e.to_string();
    let mut upstream = TcpStream::connect(address).map_err(failed)?;
    upstream.write_all(request).map_err(failed)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).map_err(failed)?;
    Ok(answer)
}
