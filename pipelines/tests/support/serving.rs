//! Programs that serve, and requests to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
        let mut said = Vec::new();
        let link = lines.find_map(|line| {
            let link = line.strip_prefix("dashboard: ").map(str::to_owned);
            said.push(line);
            link
        });
        // Whatever else it says is read, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, link: link.unwrap(), said }
    }
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
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
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

/// Follows a link, or signs in: the cookie as a request has it.
pub(crate) fn cookie(address: SocketAddr, link: &str) -> String {
    let (status, head) = request(address, "GET", link, "");
    assert_eq!(status, 303, "{head}");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    format!("Cookie: {}\r\n", cookie.split(';').next().unwrap())
}
