//! Who is told: takes what is posted to it on this machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// Longer than any test should take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A listener and what it was told.
pub(crate) struct Listener {
    pub(crate) url: String,
    told: Receiver<Value>,
}

impl Listener {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, told) = channel();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // It is told on before it is answered: who has an answer finds the message here.
                if let Some((body, mut stream)) = take(stream) {
                    if sender.send(body).is_err() {
                        return;
                    }
                    drop(stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"));
                }
            }
        });
        Self { url, told }
    }

    /// Waits for the next message.
    pub(crate) fn next(&self) -> Value {
        self.told.recv_timeout(PATIENCE).unwrap()
    }

    /// What has come and was not waited for.
    pub(crate) fn rest(&self) -> Vec<Value> {
        self.told.try_iter().collect()
    }
}

fn take(stream: TcpStream) -> Option<(Value, TcpStream)> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).ok()? > 0 && line.trim() != "" {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((serde_json::from_slice(&body).ok()?, stream))
}
