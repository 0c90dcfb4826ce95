//! Puts files into the place of others: one log entry, or none.
//!
//! The rules are those of every commit (P13): the entry before must stand, and afterwards no log checkpoint may have
//! overtaken ours. Entries of others are read one by one. Appends are fine, but where a stretch of time is replaced
//! ([`Replacer::within`]) only those that lie outside. Whoever touches one of our files or changes the table was first: then
//! the files stay as they are, and the next run looks again.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use deltalake::kernel::{Add, Remove};
use thalweg_core::{Error, Result, failpoint};

use super::active;
use super::commit::RELOADS;
use super::decide::{self, AfterPut};
use super::entry::{self, Replacement};
use super::scan::Within;
use super::storage::Storage;
use super::table::{self, Put, Table};

/// How often an unclear outcome is looked at again.
const TRIES: u32 = 6;
/// How many entries of others may come between before someone else is let have the table.
const OVERTAKEN: u32 = 1_000;
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// What became of one replacement.
pub(super) enum Replaced {
    /// The new files are in the table.
    Done,
    /// They are not, and no entry names them: they may go.
    Refused(&'static str),
    /// They are not in the table's newest version, but some entry may name them.
    Lost(&'static str),
}

/// A table, and what others have done to it since its files were listed.
pub(super) struct Replacer<'a> {
    storage: &'a Storage,
    table: Table,
    /// Files whose fate we follow.
    watched: HashSet<String>,
    touched: HashSet<String>,
    changed: bool,
    stretch: Option<Stretch<'a>>,
}

/// A stretch of time whose rows are replaced: it must hold no others.
struct Stretch<'a> {
    within: &'a Within<'a>,
    /// All files of the table when it was read.
    read: HashSet<String>,
    /// Whether others have added a file since that may have rows in it.
    entered: bool,
}

/// What stands at a version.
enum Stands {
    Nothing,
    Ours(Option<String>),
    Others,
}

impl<'a> Replacer<'a> {
    /// `table`: as it was when `watched`, all files that may be replaced, were listed.
    pub(super) fn new(storage: &'a Storage, table: Table, watched: HashSet<String>) -> Self {
        let touched = HashSet::new();
        Self { storage, table, watched, touched, changed: false, stretch: None }
    }

    /// Rows of this stretch are replaced, which were looked for in the files `read`: all that the table had.
    pub(super) fn within(mut self, within: &'a Within<'a>, read: HashSet<String>) -> Self {
        self.stretch = Some(Stretch { within, read, entered: false });
        self
    }

    /// Replaces files by `adds`, of which there is at least one: by it an entry is known as ours.
    pub(super) async fn replace(
        &mut self,
        removes: Vec<Remove>,
        adds: &[Add],
        why: &Replacement,
    ) -> Result<Replaced> {
        let inputs: Vec<String> = removes.iter().map(|r| r.path.clone()).collect();
        let bytes = entry::replacement(&self.table.name, removes, adds.to_vec(), why)?;
        table::check_files(self.storage, &self.table.name, adds).await?;
        let (mut tries, mut reloads, mut sent) = (0, 0, false);
        let given_up = |sent, why| if sent { Replaced::Lost(why) } else { Replaced::Refused(why) };
        for _ in 0..OVERTAKEN {
            let v = self.table.version + 1;
            match self.look(v, adds).await? {
                Stands::Others => continue,
                Stands::Ours(tag) => {
                    self.table.settle_at(self.storage, v).await?;
                    if self.continues(v, tag).await? {
                        return Ok(Replaced::Done);
                    }
                }
                Stands::Nothing => {
                    if let Some(why) = self.obstacle(&inputs) {
                        return Ok(given_up(sent, why));
                    }
                    match self.put(v, &bytes).await? {
                        None => {}
                        Some(Put::Created(tag)) => {
                            sent = true;
                            if self.continues(v, tag).await? {
                                return Ok(Replaced::Done);
                            }
                        }
                        Some(Put::Failed(error)) => return Err(error),
                        Some(Put::Taken) => continue,
                        Some(Put::Unclear) => {
                            sent = true;
                            tries += 1;
                            self.pause(v, tries).await?;
                            continue;
                        }
                    }
                }
            }
            // The log was cleaned around us, and what we have created may stand in a hole.
            reloads += 1;
            if reloads > RELOADS {
                return Ok(given_up(sent, "its log is cleaned all the time"));
            }
            if self.reload(adds).await? {
                return Ok(Replaced::Done);
            }
        }
        Ok(given_up(sent, "others commit all the time"))
    }

    /// Creates entry `v`, unless the one before it is no longer the one that we know. One that we know from a log
    /// checkpoint alone is no ground to build on either: nothing is urgent here.
    async fn put(&self, v: u64, bytes: &Bytes) -> Result<Option<Put>> {
        if self.table.anchored().await? != Some(true) {
            return Ok(None);
        }
        failpoint::hit("compact.before")?;
        Ok(Some(self.table.create(self.storage, v, bytes).await))
    }

    /// Waits a little longer each time, then gives up.
    async fn pause(&self, v: u64, tries: u32) -> Result<()> {
        if tries >= TRIES {
            return Err(Error::transient(format!(
                "cannot create log entry {v} of table `{}` after {TRIES} tries",
                self.table.name
            )));
        }
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(tries - 1)).await;
        Ok(())
    }

    fn obstacle(&self, inputs: &[String]) -> Option<&'static str> {
        if self.changed {
            return Some("others changed its columns or settings meanwhile");
        }
        if self.stretch.as_ref().is_some_and(|stretch| stretch.entered) {
            return Some("others added rows of the same time meanwhile");
        }
        let touched = inputs.iter().any(|path| self.touched.contains(path));
        touched.then_some("others rewrote or removed the same files meanwhile")
    }

    /// Reads entry `v` and takes note of it, unless it is ours.
    async fn look(&mut self, v: u64, adds: &[Add]) -> Result<Stands> {
        let Some((bytes, tag)) = self.table.fetch(v).await? else { return Ok(Stands::Nothing) };
        let read = entry::touched(&self.table.name, v, &bytes)?;
        if adds.iter().any(|add| read.files.contains(&add.path)) {
            return Ok(Stands::Ours(tag));
        }
        self.changed |= read.changes_table;
        if let Some(stretch) = &mut self.stretch {
            let mut stats = read.added.iter().map(Option::as_deref);
            stretch.entered |= stats.any(|stats| !stretch.within.excludes(stats));
        }
        self.touched.extend(read.files.into_iter().filter(|f| self.watched.contains(f)));
        self.table.advance(v, tag, Vec::new());
        Ok(Stands::Others)
    }

    /// Whether our entry, which stands at `v`, continues the log (P13).
    async fn continues(&mut self, v: u64, tag: Option<String>) -> Result<bool> {
        let (checkpoint, anchored) =
            futures::try_join!(self.table.last_checkpoint(), self.table.anchored())?;
        let committed = decide::after_put(v, checkpoint, anchored) == AfterPut::Committed;
        if committed {
            self.table.advance(v, tag, Vec::new());
            failpoint::hit("compact.after")?;
        }
        Ok(committed)
    }

    /// Takes the table as it is now, by listing. Says whether `adds` are in it.
    async fn reload(&mut self, adds: &[Add]) -> Result<bool> {
        let name = self.table.name.clone();
        let (fresh, files) = active::newest(self.storage, &name)
            .await?
            .ok_or_else(|| Error::data_loss(format!("table `{name}` is missing")))?;
        let live: HashSet<&str> = files.iter().map(|f| f.path.as_str()).collect();
        let gone = self.watched.iter().filter(|f| !live.contains(f.as_str()));
        self.touched.extend(gone.cloned());
        if let Some(stretch) = &mut self.stretch {
            let ours = |path: &str| adds.iter().any(|add| add.path == path);
            let new = files.iter().filter(|f| !stretch.read.contains(&f.path) && !ours(&f.path));
            let mut stats = new.map(|f| f.stats.as_deref());
            stretch.entered |= stats.any(|stats| !stretch.within.excludes(stats));
        }
        self.changed |= fresh.facts != self.table.facts;
        self.table = fresh;
        Ok(adds.iter().all(|add| live.contains(add.path.as_str())))
    }
}
