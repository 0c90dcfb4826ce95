//! The file beside the log that names its newest entry: entries that are missing at the end are noticed by it.

use std::fs;
use std::io;
use std::path::Path;

use thalweg_core::error::io as io_error;
use thalweg_core::{Error, Result};

use super::key::beside;
use super::verify::Anchor;

const ENDING: &str = ".head";

/// The entry that it names; `None` when there is no such file. One that is empty or all zeros, as a power cut may leave it,
/// names none: it is behind, as after any crash.
pub(super) fn read(log: &Path) -> Result<Option<Anchor>> {
    let shown = log.display();
    let bytes = match fs::read(beside(log, ENDING)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(io_error(format!("read the head beside audit log {shown}"), error));
        }
    };
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(Some(Anchor::none()));
    }
    let head = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
    head.map(Some).ok_or_else(|| {
        Error::corrupt(format!(
            "the head beside audit log {shown} is damaged: move both aside and start the server again: a new \
             log begins"
        ))
    })
}

/// Names another entry. Nothing is synced: a head that is taken back is an older entry of the same chain, and the log has
/// been synced before.
pub(super) fn write(log: &Path, head: &Anchor) -> io::Result<()> {
    let next = beside(log, ".head-next");
    fs::write(&next, head.to_string())?;
    fs::rename(&next, beside(log, ENDING))
}
