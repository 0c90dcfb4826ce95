//! A server process that ends with the test, however the test ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const READY: Duration = Duration::from_mins(1);

/// Kills the server once its own standard input is closed: by a drop, or by the death of the test.
const WATCH: &str = r#""$@" & server=$!; cat >/dev/null; kill -9 $server"#;

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
        let process = Self(child);
        let deadline = Instant::now() + READY;
        while TcpStream::connect(address).is_err() {
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

pub(super) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|e| e.to_string())
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
