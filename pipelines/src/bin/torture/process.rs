//! A worker as its supervisor sees it: a process, its log, and what was done to it.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use thalweg_core::{Error, Result, error};

use crate::clock::JUMPED;
use crate::disk::FULL;
use crate::ends::{End, Met};
use crate::worker::{MERGED, TRIMMED, VACUUMED, WorkerArgs};

/// What the hook for panics writes into the log, whether or not the job goes on.
const PANICKED: &str = " panicked; ";
/// Where a panic is nobody's failure: delta-rs aborts an upload that could not be finished, on a full disk say, knows that
/// the store's writer panics if it had begun to finish, and catches that. The upload's own error goes on.
const CAUGHT: [&str; 2] = ["/object_store-", "/buffered.rs:"];
/// How many of the last lines say why a worker ended.
const LAST_LINES: usize = 5;
const SIGKILL: i32 = 9;

/// A worker. It dies with this value.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    log: PathBuf,
    pub(crate) met: Met,
    /// What was asked for already.
    known: News,
}

/// What a worker tells of what it meets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Writes that found no room.
    pub(crate) full: u64,
    /// Jumps of its clock.
    pub(crate) jumps: u64,
    /// Runs of its maintenance that merged files.
    pub(crate) merged: u64,
    /// Those that looked after logs.
    pub(crate) trimmed: u64,
    /// Those that removed files.
    pub(crate) vacuumed: u64,
}

impl Worker {
    /// Starts one that tells what it meets in the file `log`.
    pub(crate) fn start(arguments: &WorkerArgs, log: PathBuf) -> Result<Self> {
        let errors = File::create(&log).map_err(|e| error::io("create a log", e))?;
        let program = std::env::current_exe().map_err(|e| error::io("find this program", e))?;
        let child = Command::new(program)
            .args(arguments.to_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .map_err(|e| error::io("start a worker", e))?;
        let met = Met { full_disk: arguments.full_every.is_some(), ..Met::default() };
        Ok(Self { child, log, met, known: News::default() })
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<End>> {
        let status = self.child.try_wait().map_err(|e| error::io("wait for a worker", e))?;
        Ok(status.map(End::of))
    }

    /// Kills it. `None`: that is what it died of; else it had ended by itself before.
    pub(crate) fn kill(&mut self) -> Result<Option<End>> {
        self.child.kill().map_err(|e| error::io("kill a worker", e))?;
        let status = self.child.wait().map_err(|e| error::io("wait for a worker", e))?;
        Ok((status.signal() != Some(SIGKILL)).then(|| End::of(status)))
    }

    /// Sends a signal such as `-STOP`. `false`: there was nobody any more to receive it.
    pub(crate) fn signal(&mut self, signal: &str) -> Result<bool> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        let sent = sent.map_err(|e| error::io("send a signal", e))?;
        // A process that has ended takes signals until it is waited for.
        Ok(sent.success() && self.ended()?.is_none())
    }

    /// What it has met since this was last asked.
    pub(crate) fn news(&mut self) -> Result<News> {
        let log = self.log()?;
        let told = |line: &str| log.lines().filter(|told| *told == line).count() as u64;
        let all = News {
            full: told(FULL),
            jumps: told(JUMPED),
            merged: told(MERGED),
            trimmed: told(TRIMMED),
            vacuumed: told(VACUUMED),
        };
        let known = std::mem::replace(&mut self.known, all);
        Ok(News {
            full: all.full - known.full,
            jumps: all.jumps - known.jumps,
            merged: all.merged - known.merged,
            trimmed: all.trimmed - known.trimmed,
            vacuumed: all.vacuumed - known.vacuumed,
        })
    }

    /// `None`: it was killed.
    ///
    /// # Errors
    /// It ended in a way that what it met does not explain, or it panicked, even if it went on. Its last lines are told:
    /// they hold no record's values.
    pub(crate) fn judge(&self, end: Option<End>) -> Result<()> {
        let log = self.log()?;
        let place = self.log.display();
        let caught = |line: &str| CAUGHT.iter().all(|part| line.contains(part));
        let panics = log.lines().filter(|line| line.contains(PANICKED) && !caught(line));
        let panics: Vec<&str> = panics.collect();
        if !panics.is_empty() {
            return Err(Error::internal(format!(
                "a worker panicked ({place}): {}",
                panics.join(" | ")
            )));
        }
        match end {
            Some(end) if !end.fits(self.met) => {
                let lines: Vec<&str> = log.lines().collect();
                let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
                Err(Error::internal(format!(
                    "a worker ended by itself, {end:?}, and what it met does not explain it, {:?} ({place}): {}",
                    self.met,
                    last.join(" | ")
                )))
            }
            _ => Ok(()),
        }
    }

    fn log(&self) -> Result<String> {
        let bytes = fs::read(&self.log).map_err(|e| error::io("read a worker's log", e))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A run that fails leaves nobody behind, stopped processes least of all.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
