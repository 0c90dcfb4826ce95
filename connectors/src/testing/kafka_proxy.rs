//! A proxy before a broker, which loses the end of a transaction on its way and delivers it later.
//!
//! It knows of Kafka's protocol how long a request is, its kind and its number.

use std::io::{self, Read as _, Write as _};
use std::mem;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

const END_TXN: [u8; 2] = 26_i16.to_be_bytes();
const PATIENCE: Duration = Duration::from_mins(2);

/// A proxy that clients do not leave: the broker tells them its address. It works until the process ends.
#[derive(Debug)]
pub struct KafkaProxy {
    bootstrap_servers: String,
    ends: Arc<Ends>,
}

/// What becomes of ends of transactions.
#[derive(Debug, Default)]
struct Ends {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lose_next: bool,
    stalled: bool,
    lost: Option<Lost>,
}

/// A request on its way: the client's connection is gone, the broker's is open.
#[derive(Debug)]
struct Lost {
    request: Vec<u8>,
    broker: TcpStream,
    answers: Receiver<Vec<u8>>,
}

impl KafkaProxy {
    pub(super) fn serve(listener: TcpListener, port: u16, broker: SocketAddr) -> Self {
        let ends = Arc::<Ends>::default();
        let shared = Arc::clone(&ends);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                // Without a broker the client finds its connection closed.
                let Ok(broker) = TcpStream::connect(broker) else { continue };
                let ends = Arc::clone(&shared);
                thread::spawn(move || drop(ends.pass(client, broker)));
            }
        });
        Self { bootstrap_servers: format!("{}:{port}", Ipv4Addr::LOCALHOST), ends }
    }

    /// The address for `bootstrap.servers` of clients that are to go through the proxy.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Keeps the next end of a transaction and closes the connection that it came by.
    pub fn lose_next_end(&self) {
        self.ends.lock().lose_next = true;
    }

    /// Whether other ends are held up.
    pub fn stall_ends(&self, stalled: bool) {
        self.ends.lock().stalled = stalled;
        self.ends.changed.notify_all();
    }

    /// Waits until an end is lost; `false` if none is for two minutes.
    pub fn has_lost_an_end(&self) -> bool {
        let state = self.ends.lock();
        let waited =
            self.ends.changed.wait_timeout_while(state, PATIENCE, |state| state.lost.is_none());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.lost.is_some()
    }

    /// Delivers the lost end to the broker, by the connection that it was sent on. The broker's answer: Kafka's number of
    /// an error, 0 for success.
    pub fn deliver_late(&self) -> io::Result<i16> {
        let lost = self.ends.lock().lost.take();
        let lost = lost.ok_or_else(|| io::Error::other("no end of a transaction was lost"))?;
        (&lost.broker).write_all(&lost.request)?;
        loop {
            let answer = lost.answers.recv_timeout(PATIENCE).map_err(io::Error::other)?;
            // Behind length, kind and version the request has its number; the answer has it behind its length.
            if answer.get(4..8) == lost.request.get(8..12) {
                // Behind number and throttle time.
                let code = answer.get(12..14).and_then(|code| code.try_into().ok());
                return code.map(i16::from_be_bytes).ok_or(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Ends {
    /// Passes requests and answers on until one side closes the connection, or an end is lost.
    fn pass(&self, mut client: TcpStream, mut broker: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let (answered, answers) = mpsc::channel();
        let (from, to) = (broker.try_clone()?, client.try_clone()?);
        thread::spawn(move || pass_answers(from, to, &answered));
        let lost = self.pass_requests(&mut client, &mut broker);
        drop(client.shutdown(Shutdown::Both));
        match lost {
            Ok(request) => {
                self.lock().lost = Some(Lost { request, broker, answers });
                self.changed.notify_all();
                Ok(())
            }
            Err(_) => broker.shutdown(Shutdown::Both),
        }
    }

    /// The end that is to be lost, or an error when either side has ended the connection.
    fn pass_requests(&self, client: &mut TcpStream, broker: &mut TcpStream) -> io::Result<Vec<u8>> {
        loop {
            let request = frame(client)?;
            if request.get(4..6) == Some(&END_TXN[..]) && self.is_lost() {
                return Ok(request);
            }
            broker.write_all(&request)?;
        }
    }

    /// Whether this end is lost; if not, waits until it may go on.
    fn is_lost(&self) -> bool {
        let mut state = self.lock();
        if mem::take(&mut state.lose_next) {
            return true;
        }
        drop(self.changed.wait_while(state, |state| state.stalled));
        false
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes answers on; those that the client does not want any more are handed to whoever delivers what was lost.
fn pass_answers(mut broker: TcpStream, mut client: TcpStream, unwanted: &Sender<Vec<u8>>) {
    while let Ok(answer) = frame(&mut broker) {
        if client.write_all(&answer).is_err() && unwanted.send(answer).is_err() {
            break;
        }
    }
    drop(client.shutdown(Shutdown::Both));
}

/// A request or an answer, its length before it.
fn frame(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = length.to_vec();
    frame.resize(length.len() + u32::from_be_bytes(length) as usize, 0);
    from.read_exact(frame.get_mut(length.len()..).unwrap_or_default())?;
    Ok(frame)
}
