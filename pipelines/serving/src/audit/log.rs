//! Appending.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use sha2::{Digest, Sha256};
use thalweg_core::error::io as io_error;
use thalweg_core::time::Clock;
use thalweg_core::{Error, ErrorKind, Result, durable};

use super::event::{Action, Event, Outcome, hex};
use super::head;
use super::key::DigestKey;
use super::verify::{Anchor, anchor_of, verify};

/// What the first entry names as the hash before it.
pub(super) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What stands between a line's hashed part and its hash.
pub(super) const HASH: &str = ",\"hash\":\"";
/// Longer than any entry.
pub(super) const LONGEST: usize = 1 << 16;
/// Longer than what stands around an event: number, time and hashes.
const ENVELOPE: usize = 320;
/// So the newest whole entry is among the last bytes, whatever a crash has left behind it.
const TAIL: u64 = 4 * LONGEST as u64;

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    at: String,
    #[serde(flatten)]
    event: &'a Event,
    prev: &'a str,
}

/// An entry that is to be written, and who waits to be told that it is.
#[derive(Debug)]
struct Waiting {
    event: Event,
    /// Bytes, at most.
    size: usize,
    tell: Sender<Result<()>>,
}

/// A log that is appended to. Several processes may do so at once. Its methods block: they sync.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    key: DigestKey,
    clock: Arc<dyn Clock>,
    /// One writer of this process at a time; a lock on the file keeps out the others.
    turn: Mutex<()>,
    /// Who has the turn writes them: entries that come while one is synced share the next sync.
    waiting: Mutex<VecDeque<Waiting>>,
    broken: AtomicBool,
}

impl AuditLog {
    /// The log at `path`, which is made when there is none.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::Transient`]: it cannot be opened; [`thalweg_core::ErrorKind::Corrupt`]: its last
    /// entry is none, or not the one that the head beside it names, or the key beside it is none.
    pub fn open(path: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = path.into();
        let failed = |e| io_error(format!("open audit log {}", path.display()), e);
        let mut options = File::options();
        options.create(true).append(true).read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let absolute = std::path::absolute(&path).map_err(failed)?;
        let folder = absolute.parent().unwrap_or(&absolute);
        durable::create_folders(folder).map_err(failed)?;
        let mut file = options.open(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        let newest = newest(&mut file, &path)?;
        if newest.seq == 0 {
            // There is a head before there is an entry: one that is missing later was removed.
            head::write(&path, &newest).map_err(failed)?;
        }
        durable::sync_folder(folder).map_err(failed)?;
        let key = DigestKey::open(&path)?;
        let (turn, waiting) = (Mutex::default(), Mutex::default());
        Ok(Self { path, key, clock, turn, waiting, broken: AtomicBool::new(false) })
    }

    /// A text's hash under this log's key, in hexadecimal: the same for the same text, and without the key nobody can
    /// try whether a text is the one.
    pub fn digest(&self, text: &str) -> String {
        self.key.digest(text)
    }

    /// What its clock says to those who measure how much is written.
    pub(crate) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Appends an entry and syncs it.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::Transient`] or [`thalweg_core::ErrorKind::Corrupt`]: what the entry tells of must
    /// not count as done.
    pub fn append(&self, event: &Event) -> Result<()> {
        let size = serde_json::to_vec(event).map_or(LONGEST, |text| text.len()) + ENVELOPE;
        if size > LONGEST {
            return Err(Error::internal("an audit entry is longer than one can be"));
        }
        let (tell, told) = channel();
        unpoisoned(&self.waiting).push_back(Waiting { event: event.clone(), size, tell });
        let _turn = unpoisoned(&self.turn);
        loop {
            match told.try_recv() {
                // Written by whoever had the turn before, or just now.
                Ok(done) => return done,
                Err(TryRecvError::Empty) => self.write_next(),
                Err(TryRecvError::Disconnected) => {
                    return Err(Error::internal(
                        "an audit entry was given up while it was written",
                    ));
                }
            }
        }
    }

    /// Writes those that have waited longest and tells them so. Together they are no longer than one entry may be: what a
    /// crash leaves half-written is short.
    fn write_next(&self) {
        let mut waiting = unpoisoned(&self.waiting);
        let mut bytes = 0;
        let fits = |next: &&Waiting| {
            bytes += next.size;
            bytes <= LONGEST
        };
        let first = waiting.iter().take_while(fits).count();
        let next: Vec<Waiting> = waiting.drain(..first).collect();
        drop(waiting);
        let done = self.write(next.iter().map(|waiting| &waiting.event));
        self.broken.store(done.is_err(), Ordering::SeqCst);
        for Waiting { tell, .. } in next {
            let told = match &done {
                Ok(()) => Ok(()),
                Err(error) => Err(Error::new(error.kind(), error.to_string())),
            };
            // Whoever waits has the other end.
            drop(tell.send(told));
        }
    }

    /// How many entries wait for whoever has the turn.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        unpoisoned(&self.waiting).len()
    }

    /// Whether entries can be written: to be asked before something is begun whose entry is written at its end.
    ///
    /// # Errors
    /// Those of [`AuditLog::append`].
    pub fn ready(&self) -> Result<()> {
        if self.broken.load(Ordering::SeqCst) {
            return self.append(&Event::new("server", Action::Resumed, Outcome::Done));
        }
        Ok(())
    }

    /// Appends entries, with one sync for all of them.
    fn write<'a>(&self, events: impl Iterator<Item = &'a Event>) -> Result<()> {
        let failed = |e| io_error(format!("write audit log {}", self.path.display()), e);
        // It is not made anew here: a log that has vanished is a failure.
        let mut file = File::options().append(true).read(true).open(&self.path).map_err(failed)?;
        file.lock().map_err(failed)?;
        let mut newest = newest(&mut file, &self.path)?;
        let mut lines = String::new();
        for event in events {
            let (body, hash) = self.entry(event, &newest)?;
            newest = Anchor { seq: newest.seq + 1, hash };
            lines += &format!("{body}{HASH}{}\"}}\n", newest.hash);
        }
        file.write_all(lines.as_bytes()).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        // Behind the log: a crash in between leaves a head that is behind, never one that is ahead.
        head::write(&self.path, &newest).map_err(failed)
    }

    /// The hashed part of the entry behind `before`, and its hash.
    fn entry(&self, event: &Event, before: &Anchor) -> Result<(String, String)> {
        let at = self
            .clock
            .now_micros()
            .try_into()
            .map_or(UNIX_EPOCH, |micros| UNIX_EPOCH + Duration::from_micros(micros));
        let at = humantime::format_rfc3339_micros(at).to_string();
        let line = Line { seq: before.seq + 1, at, event, prev: &before.hash };
        let mut body = serde_json::to_string(&line)
            .map_err(|_| Error::internal("an audit entry cannot be written as JSON"))?;
        // The hash goes in before the brace.
        body.pop();
        let hash = hex(&Sha256::digest(&body));
        Ok((body, hash))
    }
}

fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The newest entry, if the head beside the log agrees: nothing is appended behind an end that somebody has cut off or
/// written anew, which would hide it. What a crash has left half-written is cut off: it was never told to be done.
fn newest(file: &mut File, path: &Path) -> Result<Anchor> {
    let (last, end) = last(file, path)?;
    match head::read(path)? {
        Some(head) if head == last => {}
        // As a crash leaves it. What the head names must still be there.
        Some(head) if head.seq < last.seq => {
            verify(path, &[]).map_err(|found| match found.kind() {
                ErrorKind::Corrupt => damaged(path).with_source(found),
                _ => found,
            })?;
        }
        None if last.seq == 0 => {}
        _ => return Err(damaged(path)),
    }
    if let Some(end) = end {
        cut(file, end).map_err(|e| io_error(format!("write audit log {}", path.display()), e))?;
    }
    Ok(last)
}

/// The last whole entry, and where it ends if something stands behind it.
fn last(file: &mut File, path: &Path) -> Result<(Anchor, Option<u64>)> {
    let failed = |e| io_error(format!("read audit log {}", path.display()), e);
    let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let begin = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(begin)).map_err(failed)?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).map_err(failed)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let torn = tail.len().saturating_sub(whole);
    // What we began to write is no longer than that: anything else is not ours to cut off.
    if torn > 2 * LONGEST {
        return Err(damaged(path));
    }
    let end = (torn > 0).then(|| begin + whole as u64);
    let Some(lines) = tail.get(..whole.saturating_sub(1)).filter(|lines| !lines.is_empty()) else {
        return Ok((Anchor::none(), end));
    };
    let line = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or(lines);
    let last = std::str::from_utf8(line).ok().and_then(anchor_of);
    last.map(|last| (last, end)).ok_or_else(|| damaged(path))
}

fn damaged(path: &Path) -> Error {
    let shown = path.display();
    Error::corrupt(format!(
        "audit log {shown} is damaged: run `audit verify`, then move it and its .head aside and start the server again: a new one \
         begins"
    ))
}

fn cut(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.sync_data()
}
