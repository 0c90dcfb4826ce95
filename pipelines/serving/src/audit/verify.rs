//! Looking for entries that were changed, removed or put in another order.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use thalweg_core::error::io as io_error;
use thalweg_core::{Error, Result};

use super::event::hex;
use super::head;
use super::log::{GENESIS, HASH};

/// An entry's number and hash: `NUMBER:HASH`. Kept elsewhere, it proves later that nothing up to it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    pub(super) seq: u64,
    pub(super) hash: String,
}

impl Anchor {
    /// What stands before the first entry.
    pub(super) fn none() -> Self {
        Self { seq: 0, hash: GENESIS.to_owned() }
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Anchor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.trim()
            .split_once(':')
            .and_then(|(seq, hash)| Some(Self { seq: seq.parse().ok()?, hash: hash.to_owned() }))
            .filter(|anchor| anchor.hash.len() == GENESIS.len())
            .ok_or_else(|| Error::config("an entry is named NUMBER:HASH, as `audit verify` prints"))
    }
}

/// What was found in a log that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many entries there are.
    pub entries: u64,
    /// The newest.
    pub head: Option<Anchor>,
}

#[derive(Deserialize)]
struct Links {
    seq: u64,
    prev: String,
}

/// Number and hash as the line tells them.
pub(super) fn anchor_of(line: &str) -> Option<Anchor> {
    let (body, hash) = line.rsplit_once(HASH)?;
    let hash = hash.strip_suffix("\"}")?.to_owned();
    let links: Links = serde_json::from_str(&format!("{body}}}")).ok()?;
    Some(Anchor { seq: links.seq, hash })
}

/// Reads the whole log. `expected` are entries that were kept elsewhere.
///
/// # Errors
/// [`thalweg_core::ErrorKind::Corrupt`], naming the first line that is not as it was written;
/// [`thalweg_core::ErrorKind::Transient`]: the log cannot be read.
pub fn verify(path: &Path, expected: &[Anchor]) -> Result<Verified> {
    let shown = path.display().to_string();
    let failed = |e| io_error(format!("read audit log {shown}"), e);
    let wrong =
        |line: u64, what: &str| Error::corrupt(format!("audit log {shown}, line {line}: {what}"));
    let head = head::read(path)?;
    let wanted: Vec<&Anchor> = head.iter().chain(expected).collect();
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut prev = GENESIS.to_owned();
    let (mut entries, mut bytes) = (0_u64, Vec::new());
    loop {
        bytes.clear();
        reader.read_until(b'\n', &mut bytes).map_err(failed)?;
        // What a crash left half-written was never told to be done, and the next entry takes its place.
        let Some(line) = bytes.strip_suffix(b"\n") else { break };
        let number = entries + 1;
        let line = std::str::from_utf8(line).map_err(|_| wrong(number, "it is no text"))?;
        let (body, _) = line.rsplit_once(HASH).ok_or_else(|| wrong(number, "it is no entry"))?;
        let links: Links = serde_json::from_str(&format!("{body}}}"))
            .map_err(|_| wrong(number, "it is no entry"))?;
        if line != format!("{body}{HASH}{}\"}}", hex(&Sha256::digest(body))) {
            return Err(wrong(number, "the entry was changed after it was written"));
        }
        if links.seq != number || links.prev != prev {
            return Err(wrong(number, "an entry before it was removed or put in another place"));
        }
        prev = hex(&Sha256::digest(body));
        entries = number;
        if wanted.iter().any(|anchor| anchor.seq == number && anchor.hash != prev) {
            return Err(wrong(
                number,
                "the log was written anew: its hash is another than the one kept",
            ));
        }
    }
    if let Some(missing) = wanted.iter().find(|anchor| anchor.seq > entries) {
        return Err(Error::corrupt(format!(
            "audit log {shown} ends at entry {entries}, but there was an entry {}: its end was removed",
            missing.seq
        )));
    }
    if head.is_none() && entries > 0 {
        return Err(Error::corrupt(format!("the head beside audit log {shown} was removed")));
    }
    Ok(Verified { entries, head: (entries > 0).then_some(Anchor { seq: entries, hash: prev }) })
}
