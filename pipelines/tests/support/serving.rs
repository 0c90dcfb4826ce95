//! Programs that serve, and requests to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What takes longer on the busiest machine does not happen any more.
const PATIENCE: Duration = Duration::from_mins(3);

/// A program that serves; it is killed when dropped.
pub(crate) struct Serving {
    child: Child,
    pub(crate) link: String,
    /// What it said on standard error before the link.
    pub(crate) said: Vec<String>,
}

impl Serving {
    /// Starts it and waits for its link; fails when it ends without one.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let (found, looks) = channel::<()>();
        let pid = child.id().to_string();
        let killer = std::thread::spawn(move || {
            // The sender is dropped when there is a link, or the program has ended by itself.
            if looks.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                drop(Command::new("kill").args(["-9", &pid]).status());
            }
        });
        let mut said = Vec::new();
        let link = lines.find_map(|line| {
            let link = line.strip_prefix("dashboard: ").map(str::to_owned);
            said.push(line);
            link
        });
        drop(found);
        killer.join().unwrap();
        assert!(
            link.is_some(),
            "no link within {PATIENCE:?}, or before it ended; it said {said:?}"
        );
        // Whatever else it says is read, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, link: link.unwrap(), said }
    }

    /// Where it listens, and the path of its link.
    pub(crate) fn parts(&self) -> (SocketAddr, String) {
        let (address, path) = self.link.strip_prefix("http://").unwrap().split_once('/').unwrap();
        (address.parse().unwrap(), format!("/{path}"))
    }
}

/// A wire to a server, which can be cut; whoever was on it may come again.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    /// Its thread ends with the process.
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ends: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let connected = Arc::clone(&ends);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that has ended takes no more clients.
                let Ok(upstream) = TcpStream::connect(server) else { continue };
                pass_on(&client, &upstream);
                pass_on(&upstream, &client);
                connected.lock().unwrap().extend([client, upstream]);
            }
        });
        Self { address, ends }
    }

    /// Cuts every connection that is open.
    pub(crate) fn cut(&self) {
        for end in self.ends.lock().unwrap().drain(..) {
            drop(end.shutdown(Shutdown::Both));
        }
    }
}

/// Copies one way until it ends; then the other one ends, too.
fn pass_on(from: &TcpStream, to: &TcpStream) {
    to.set_nodelay(true).unwrap();
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
    });
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A script for the browser.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(name)
}

/// Asks, and reads the whole answer but for a stream, which has no end.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str, more: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    let mut head = String::new();
    let mut reader = BufReader::new(stream);
    loop {
        let before = head.len();
        reader.read_line(&mut head).unwrap();
        if head.len() - before <= 2 {
            break;
        }
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if path != "/api/live" {
        reader.read_to_string(&mut head).unwrap();
    }
    (status, head)
}

/// What a request adds to send JSON.
pub(crate) fn json_body(body: &str) -> String {
    // The end of the head is followed by one more line end, which may count as JSON's.
    let length = body.len() + 2;
    format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Follows a link: the cookie as a request has it.
pub(crate) fn cookie(address: SocketAddr, link: &str) -> String {
    session(request(address, "GET", link, ""))
}

/// Signs in with a token: the cookie as a request has it.
pub(crate) fn sign_in(address: SocketAddr, token: &str) -> String {
    // The end of the head is followed by one more line end.
    let length = "token=".len() + token.len() + 2;
    let form = format!("Content-Length: {length}\r\n\r\ntoken={token}");
    session(request(address, "POST", "/session", &form))
}

fn session((status, head): (u16, String)) -> String {
    assert_eq!(status, 200, "{head}");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    format!("Cookie: {}\r\n", cookie.split(';').next().unwrap())
}
