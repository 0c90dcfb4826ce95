//! One commit: from a manifest's bytes to a log entry that stands, whatever stood in the way.
//!
//! The usual path is: check the files, see that the newest known entry stands, create the next one, see that no log
//! checkpoint has overtaken it. Everything else is a loop around [`decide`]: look, decide, and look again.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::{Add, StructType};
use thalweg_core::connector::sink::{Committed, PendingCommit};
use thalweg_core::{Error, Result, failpoint};

use super::decide::{self, AfterPut, BeforePut, Occupied, Standing};
#[cfg(test)]
use super::simulation::mutation;
use super::storage::Storage;
use super::table::{self, Put, Table};
use super::{compatibility, entry, footer};

/// How often an unclear outcome is looked at again before the attempt is given up.
const TRIES: u32 = 6;
/// How often a log may be read anew within one commit or opening.
pub(super) const RELOADS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// One commit under way.
pub(super) struct Commit<'a> {
    storage: &'a Storage,
    pending: &'a PendingCommit,
    n: i64,
    adds: Vec<Add>,
    bytes: Bytes,
    /// Whether the rows are given up: an entry with our `txn` and no files.
    void: bool,
    /// Whether `held` was loaded within this commit.
    fresh: bool,
    /// Whether an entry of ours may have been created.
    sent: bool,
    reloads: u32,
    tries: u32,
}

impl<'a> Commit<'a> {
    pub(super) fn of(storage: &'a Storage, pending: &'a PendingCommit) -> Result<Self> {
        let adds = entry::adds(pending)?;
        let bytes = entry::append(pending, adds.clone())?;
        let n = pending.checkpoint.0 as i64;
        Ok(Self {
            storage,
            pending,
            n,
            adds,
            bytes,
            void: false,
            fresh: false,
            sent: false,
            reloads: 0,
            tries: 0,
        })
    }

    /// The commit that gives the rows up.
    pub(super) fn void(storage: &'a Storage, pending: &'a PendingCommit) -> Result<Self> {
        let nothing = PendingCommit { rows: 0, staged: Vec::new(), ..pending.clone() };
        let bytes = entry::append(&nothing, Vec::new())?;
        Ok(Self { adds: Vec::new(), bytes, void: true, ..Self::of(storage, pending)? })
    }

    pub(super) async fn run(mut self, held: &mut Option<Table>) -> Result<Committed> {
        let mut files_checked = false;
        loop {
            let table = self.existing(held).await?;
            let Some(txn) = table.txn(&self.pending.app_id).await? else {
                *held = None;
                continue;
            };
            match decide::standing(txn, self.n) {
                Standing::Done => {
                    table.settle(self.storage).await?;
                    return Ok(Committed { version: table.version, replayed: !self.sent });
                }
                Standing::Fenced => return Err(self.fenced()),
                Standing::Missing if self.adds.is_empty() && !self.void => {
                    return Ok(Committed { version: table.version, replayed: false });
                }
                Standing::Missing => {}
            }
            if !files_checked {
                table::check_files(self.storage, &self.pending.path, &self.adds).await?;
                files_checked = true;
            }
            self.check_columns(table).await?;
            if decide::before_put(table.anchored().await?, self.fresh) == BeforePut::Reload {
                *held = None;
                continue;
            }
            match self.put(table).await? {
                Step::Committed(version) => return Ok(Committed { version, replayed: false }),
                Step::Found(version) => {
                    return Ok(Committed { version, replayed: !self.sent });
                }
                Step::Reload => *held = None,
                Step::Next => {}
            }
        }
    }

    /// The table, loaded if it is not known; it must be the one that the manifest means.
    async fn existing<'t>(&mut self, held: &'t mut Option<Table>) -> Result<&'t mut Table> {
        let (name, sink) = (&self.pending.path, &self.pending.sink);
        let table = if let Some(table) = held {
            table
        } else {
            self.reloads += 1;
            if self.reloads > RELOADS {
                return Err(restless(name));
            }
            self.fresh = true;
            let loaded = Table::load(self.storage, name).await?.ok_or_else(|| {
                Error::data_loss(format!(
                    "table `{name}` of sink `{sink}` is missing though checkpoints were committed to it"
                ))
            })?;
            held.insert(loaded)
        };
        if table.facts.id != self.pending.target_id {
            return Err(recreated(name));
        }
        Ok(table)
    }

    /// P15, once per application id and state of the table.
    async fn check_columns(&self, table: &mut Table) -> Result<()> {
        let app_id = &self.pending.app_id;
        if table.is_checked(app_id) {
            return Ok(());
        }
        let Some(first) = self.adds.first() else { return Ok(()) };
        let partitions = table::partitions(&self.adds);
        let columns = self.columns(first, &partitions, table).await?;
        compatibility::check(&table.name, table.version, &columns, &partitions, &table.facts)?;
        table.mark_checked(app_id);
        Ok(())
    }

    /// The columns of the files: all writers of a sink write the same, so one file's footer tells. Columns by which
    /// the table is partitioned are not in the file; the table's own word is taken for them.
    async fn columns(
        &self,
        add: &Add,
        partitions: &BTreeSet<&str>,
        table: &Table,
    ) -> Result<StructType> {
        let name = &table.name;
        let footer = footer::read(self.storage, name, add).await?;
        let file: StructType = footer.schema().as_ref().try_into_kernel().map_err(|_| {
            Error::corrupt(format!("a data file of table `{name}` has unknown columns"))
        })?;
        let held = table.facts.schema.fields().filter(|f| partitions.contains(f.name().as_str()));
        StructType::try_new(file.fields().chain(held).cloned()).map_err(|_| {
            Error::corrupt(format!("a data file of table `{name}` has a column twice"))
        })
    }

    async fn put(&mut self, table: &mut Table) -> Result<Step> {
        let v = table.version + 1;
        failpoint::hit_at("entry.before", &table.name)?;
        let mut put = table.create(self.storage, v, &self.bytes).await;
        // What fails here is the answer.
        if matches!(put, Put::Created(_)) && failpoint::hit_at("entry.answer", &table.name).is_err()
        {
            put = Put::Unclear;
        }
        failpoint::hit_at("entry.after", &table.name)?;
        if matches!(put, Put::Unclear) {
            tracing::warn!(table = %table.name, v, "whether it was created is unclear; reading it");
        }
        #[cfg(test)]
        let put = mutation::put(put, table.create(self.storage, v + 1, &self.bytes)).await;
        self.sent |= matches!(put, Put::Created(_) | Put::Unclear);
        let tag = match put {
            Put::Created(tag) => tag,
            Put::Failed(error) => return Err(error),
            Put::Taken | Put::Unclear => {
                let found = table.read(v, &self.pending.app_id).await?;
                let verdict = decide::occupied(found.as_ref().map(|f| &f.read.facts), self.n);
                match (verdict, found) {
                    (Occupied::Ours, Some(found)) => {
                        if !self.void
                            && self.adds.iter().any(|a| !found.read.files.contains(&a.path))
                        {
                            return Err(self.copied());
                        }
                        return self.confirm(table, v, found.tag, Step::Found(v)).await;
                    }
                    // It may stand in a hole as ours may.
                    (Occupied::Next, Some(_)) if !Self::continues(table, v).await? => {
                        return Ok(Step::Reload);
                    }
                    (Occupied::Next, Some(found)) => {
                        table.advance(v, found.tag, found.read.txns);
                        return Ok(Step::Next);
                    }
                    (Occupied::Fenced, _) => return Err(self.fenced()),
                    (Occupied::Reload, _) => return Ok(Step::Reload),
                    _ => return self.again(v).await,
                }
            }
        };
        self.confirm(table, v, tag, Step::Committed(v)).await
    }

    /// Whether entry `v`, which stands, continues the log (P13).
    async fn continues(table: &Table, v: u64) -> Result<bool> {
        let (checkpoint, anchored) = futures::try_join!(table.last_checkpoint(), table.anchored())?;
        Ok(decide::after_put(v, checkpoint, anchored) == AfterPut::Committed)
    }

    /// After entry `v` stands with our `txn`: what the log says of it.
    async fn confirm(
        &self,
        table: &mut Table,
        v: u64,
        tag: Option<String>,
        step: Step,
    ) -> Result<Step> {
        if !Self::continues(table, v).await? {
            return Ok(Step::Reload);
        }
        table.advance(v, tag, vec![(self.pending.app_id.clone(), self.n)]);
        if matches!(step, Step::Found(_)) {
            table.settle(self.storage).await?;
        }
        Ok(step)
    }

    /// The outcome is unclear and nothing stands at `v`: wait a little longer each time, then give up the attempt.
    async fn again(&mut self, v: u64) -> Result<Step> {
        self.tries += 1;
        if self.tries >= TRIES {
            return Err(Error::transient(format!(
                "cannot create log entry {v} of table `{}` after {TRIES} tries",
                self.pending.path
            )));
        }
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(self.tries - 1)).await;
        Ok(Step::Next)
    }

    /// Our number with other files: another manifest of that number decided them.
    fn copied(&self) -> Error {
        Error::fenced(format!(
            "table `{}` holds checkpoint {} of `{}` with other rows: a copy of the checkpoint folder is being run beside it",
            self.pending.path, self.n, self.pending.app_id
        ))
    }

    fn fenced(&self) -> Error {
        Error::fenced(format!(
            "table `{}` already holds a checkpoint of `{}` later than {}: another instance owns this job",
            self.pending.path, self.pending.app_id, self.n
        ))
    }
}

/// What one attempt to create an entry led to.
enum Step {
    /// We created it.
    Committed(u64),
    /// It was found there.
    Found(u64),
    /// The log must be listed.
    Reload,
    /// Another try: at the next version, or at the same.
    Next,
}

pub(super) fn recreated(table: &str) -> Error {
    Error::data_loss(format!(
        "table `{table}` is not the table this job has written to: it was removed and created again; restore the old \
         one, or start a new chain"
    ))
}

pub(super) fn restless(table: &str) -> Error {
    Error::transient(format!("the log of table `{table}` changes faster than it can be read"))
}
