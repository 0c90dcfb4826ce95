//! An HTTP proxy before an emulator: it loses, delays or forges answers on request, and makes conditional puts atomic
//! where the emulator does not.
//!
//! One request a connection. What goes to Azurite passes as it is, since it may be signed.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::process::ask;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is done; the connection is cut before the answer.
    LoseAnswer,
    /// It is done; the answer says that the server failed.
    FailAfter,
    /// It is not done; this status is answered.
    Answer(u16),
    /// It is not done; there is no answer until [`Proxy::release`].
    Hang,
    /// It is done when [`Proxy::release`] is called; the client's timeout is shorter, so nobody hears the answer.
    Late,
}

/// Who is behind a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upstream {
    /// It looks and stores in two steps, so writes go one after another; it wants S3's words.
    Moto,
    /// It looks and stores in one.
    Azurite,
}

struct Rule {
    method: &'static str,
    part: String,
    fault: Fault,
}

#[derive(Default)]
struct Plan {
    rules: Mutex<VecDeque<Rule>>,
    met: AtomicUsize,
    requests: AtomicUsize,
    ignore_conditions: AtomicBool,
    /// Faults per thousand requests, and the state of the generator that chooses them.
    storm: Mutex<(u64, u64)>,
    writes: Mutex<()>,
    released: Mutex<bool>,
    release: Condvar,
    late: AtomicU64,
    /// Milliseconds that every request waits.
    pause: AtomicU64,
    aged: AtomicBool,
}

/// By how much listings are aged: the days of the week are the same then, and an answer is as long as before.
const AGED_YEARS: u32 = 28;

/// The running proxy; its thread ends with the process.
pub struct Proxy {
    endpoint: String,
    plan: Arc<Plan>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.endpoint).finish()
    }
}

impl Proxy {
    /// Passes on to `upstream` at `address` (`host:port`).
    pub(super) fn start(address: &str, upstream: Upstream) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let plan = Arc::new(Plan::default());
        let (shared, address) = (Arc::clone(&plan), address.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (plan, address) = (Arc::clone(&shared), address.clone());
                // A client that goes away is no concern of the test's.
                std::thread::spawn(move || drop(serve(client, &address, upstream, &plan)));
            }
        });
        Self { endpoint, plan }
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// The next request with this method whose path contains `part` meets `fault`.
    pub fn next(&self, method: &'static str, part: &str, fault: Fault) {
        let rule = Rule { method, part: part.to_owned(), fault };
        self.plan.rules.lock().unwrap().push_back(rule);
    }

    /// From now on `per_mille` of a thousand requests are cut, answered wrongly, or refused at random.
    pub fn storm(&self, per_mille: u64, seed: u64) {
        *self.plan.storm.lock().unwrap() = (per_mille, seed | 1);
    }

    /// Every request takes this much longer.
    pub fn slow(&self, pause: Duration) {
        self.plan.pause.store(pause.as_millis() as u64, Ordering::SeqCst);
    }

    /// A store that does not know conditional put: the header is dropped. A request must not be signed for that.
    pub fn ignore_conditions(&self, ignore: bool) {
        self.plan.ignore_conditions.store(ignore, Ordering::SeqCst);
    }

    /// While it is so, listings say that every object was written 28 years earlier than it was.
    pub fn age(&self, aged: bool) {
        self.plan.aged.store(aged, Ordering::SeqCst);
    }

    /// Lets go of everything that hangs or is late, and of what comes later.
    pub fn release(&self) {
        *self.plan.released.lock().unwrap() = true;
        self.plan.release.notify_all();
    }

    /// How many faults were met.
    pub fn met(&self) -> usize {
        self.plan.met.load(Ordering::SeqCst)
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.plan.requests.load(Ordering::SeqCst)
    }

    /// How many late requests have been done.
    pub fn late(&self) -> u64 {
        self.plan.late.load(Ordering::SeqCst)
    }
}

impl Plan {
    fn fault(&self, method: &str, path: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let hit = rules.iter().position(|r| r.method == method && path.contains(&r.part));
        let fault =
            hit.and_then(|i| rules.remove(i)).map(|rule| rule.fault).or_else(|| self.gust());
        if fault.is_some() {
            self.met.fetch_add(1, Ordering::SeqCst);
        }
        fault
    }

    fn gust(&self) -> Option<Fault> {
        let mut storm = self.storm.lock().unwrap();
        let (per_mille, state) = &mut *storm;
        // xorshift64
        for shift in [13_i32, -7, 17] {
            *state ^= if shift > 0 { *state << shift } else { *state >> -shift };
        }
        ((*state >> 20) % 1000 < *per_mille).then_some(match (*state >> 40) % 4 {
            0 => Fault::LoseAnswer,
            1 => Fault::FailAfter,
            2 => Fault::Answer(503),
            _ => Fault::Answer(500),
        })
    }

    fn wait(&self) {
        let mut released = self.released.lock().unwrap();
        while !*released {
            released = self.release.wait(released).unwrap();
        }
    }
}

/// A request as it came: its head's lines and its body.
struct Request {
    lines: Vec<String>,
    body: Vec<u8>,
}

fn serve(mut client: TcpStream, address: &str, upstream: Upstream, plan: &Plan) -> io::Result<()> {
    let request = receive(&mut client)?;
    plan.requests.fetch_add(1, Ordering::SeqCst);
    let mut words = request.lines[0].split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let fault = plan.fault(method, path);
    std::thread::sleep(Duration::from_millis(plan.pause.load(Ordering::SeqCst)));
    match fault {
        Some(Fault::Answer(status)) => return answer(&mut client, status),
        Some(Fault::Hang) => {
            plan.wait();
            return Ok(());
        }
        Some(Fault::Late) => plan.wait(),
        _ => {}
    }
    let raw = request.raw(upstream, plan.ignore_conditions.load(Ordering::SeqCst));
    let in_turn = upstream == Upstream::Moto && method != "GET" && method != "HEAD";
    let turn = in_turn.then(|| plan.writes.lock().unwrap());
    let mut done = ask(address, &raw).map_err(io::Error::other)?;
    drop(turn);
    if plan.aged.load(Ordering::SeqCst) {
        age(&mut done);
    }
    match fault {
        Some(Fault::LoseAnswer) => Ok(()),
        Some(Fault::FailAfter) => answer(&mut client, 500),
        Some(Fault::Late) => {
            plan.late.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        _ => client.write_all(&done),
    }
}

impl Request {
    /// For the upstream: one request a connection; for moto the condition in S3's words, and some name for who is asking.
    fn raw(&self, upstream: Upstream, ignore_conditions: bool) -> Vec<u8> {
        let mut head = String::new();
        let mut signed = false;
        for line in &self.lines {
            let lower = line.to_ascii_lowercase();
            signed |= lower.starts_with("authorization: aws4");
            if lower.starts_with("connection:") || lower.starts_with("authorization: bearer") {
                continue;
            }
            let condition = lower.starts_with("x-goog-if-generation-match: 0");
            if ignore_conditions && (condition || lower.starts_with("if-none-match:")) {
                continue;
            }
            head.push_str(if condition { "If-None-Match: *" } else { line });
            head.push_str("\r\n");
        }
        if upstream == Upstream::Moto && !signed {
            head.push_str(
                "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
                 SignedHeaders=host, Signature=0\r\n",
            );
        }
        head.push_str("Connection: close\r\n\r\n");
        [head.into_bytes(), self.body.clone()].concat()
    }
}

/// Sets the years of all times in a listing back.
fn age(answer: &mut [u8]) {
    // `2026-01-31T…` of S3 and GCS, `Sat, 31 Jan 2026 …` of Azure: the tag, and what stands between it and the year.
    for (tag, between) in [(&b"<LastModified>"[..], 0), (&b"<Last-Modified>"[..], 12)] {
        let found = answer.windows(tag.len()).enumerate().filter(|(_, bytes)| *bytes == tag);
        let years: Vec<usize> = found.map(|(at, _)| at + tag.len() + between).collect();
        for year in years {
            let Some(digits) = answer.get_mut(year..year + 4) else { continue };
            let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u32>().ok());
            if let Some(earlier) = number.and_then(|number| number.checked_sub(AGED_YEARS)) {
                digits.copy_from_slice(format!("{earlier:04}").as_bytes());
            }
        }
    }
}

/// The client of GCS encodes more than moto takes for a bucket's name.
fn plain(line: &str) -> String {
    let (path, rest) =
        line.split_once('?').map_or((line, String::new()), |(p, r)| (p, format!("?{r}")));
    let path = [("%2D", "-"), ("%2E", "."), ("%2F", "/"), ("%3D", "="), ("%5F", "_")]
        .iter()
        .fold(path.to_owned(), |path, (code, sign)| path.replace(code, sign));
    path + &rest
}

fn answer(client: &mut TcpStream, status: u16) -> io::Result<()> {
    let head =
        format!("HTTP/1.1 {status} On Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    client.write_all(head.as_bytes())
}

fn receive(client: &mut TcpStream) -> io::Result<Request> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        match client.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
    lines[0] = plain(&lines[0]);
    let length = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = bytes.split_off(end + 4);
    let missing = length.unwrap_or(0_usize).saturating_sub(body.len());
    let begun = body.len();
    body.resize(begun + missing, 0);
    client.read_exact(&mut body[begun..])?;
    Ok(Request { lines, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aged_listings_are_as_long_and_have_the_same_days_of_the_week() {
        for (answer, aged) in [
            (
                "<LastModified>2026-11-30T09:00:00.000Z</LastModified><Size>2026</Size>",
                "<LastModified>1998-11-30T09:00:00.000Z</LastModified><Size>2026</Size>",
            ),
            (
                "<Last-Modified>Mon, 30 Nov 2026 09:00:00 GMT</Last-Modified>",
                "<Last-Modified>Mon, 30 Nov 1998 09:00:00 GMT</Last-Modified>",
            ),
            ("<Last-Modified>Mon, 30", "<Last-Modified>Mon, 30"),
        ] {
            let mut bytes = answer.as_bytes().to_vec();
            age(&mut bytes);
            assert_eq!(bytes, aged.as_bytes());
        }
    }
}
