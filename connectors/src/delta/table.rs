//! What the committer knows about a live table, and the single steps by which it looks and writes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use delta_kernel::Snapshot;
use delta_kernel::table_properties::TableProperties;
use deltalake::kernel::{Add, Metadata};
use deltalake::logstore::{LogStore, LogStoreRef, commit_uri_from_version};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutOptions};
use thalweg_core::{Error, ErrorKind, Result};

use super::compatibility::{CHECKPOINT_PROTECTION, TableFacts};
use super::storage::Storage;
use super::{entry, failure, reach};
use crate::background;

/// How often a log that looks damaged is listed before it counts as damaged.
const READS: u32 = 3;

/// A table as far as we have read its log. Everything here can be had again by loading it anew.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) facts: TableFacts,
    /// The newest version that we know.
    pub(crate) version: u64,
    /// The last log checkpoint, as it was when this table was loaded; 0: none.
    pub(crate) log_checkpoint: u64,
    /// The newest whole log checkpoint that was listed before anything was read.
    listed_checkpoint: Option<u64>,
    log: LogStoreRef,
    /// Which object entry `version` is (`None`: others have cleaned it, a log checkpoint stands for it).
    anchor: Option<String>,
    snapshot: Arc<Snapshot>,
    txns: HashMap<String, Option<i64>>,
    /// Application ids whose columns were compared with `facts`.
    checked: HashSet<String>,
}

/// What became of an attempt to create an entry.
pub(crate) enum Put {
    /// It stands; which object it is.
    Created(Option<String>),
    /// The version is taken.
    Taken,
    /// Unknown: it may or may not stand.
    Unclear,
    /// The local folder refused; this attempt is over.
    Failed(Error),
}

/// Another's entry and which object it is.
pub(crate) struct Foreign {
    pub(crate) read: entry::Read,
    pub(crate) tag: Option<String>,
}

impl Table {
    /// Reads the log by listing. `None` when there is no table.
    pub(crate) async fn load(storage: &Storage, name: &str) -> Result<Option<Self>> {
        // A list is no snapshot: one that is read while entries are created can lack one of them and have the next.
        for _ in 1..READS {
            match Self::read_log(storage, name).await {
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                read => return read,
            }
        }
        Self::read_log(storage, name).await
    }

    async fn read_log(storage: &Storage, name: &str) -> Result<Option<Self>> {
        let log = storage.log(name)?;
        let exists = log.is_delta_table_location().await;
        if !exists.map_err(|e| failure::storage("look for the log", name, &e))? {
            return Ok(None);
        }
        let listed_checkpoint = newest_checkpoint(&log, name).await?;
        let (engine, url) = (log.engine(None), log.root_url().clone());
        let build = move || Snapshot::builder_for(url).build(engine.as_ref());
        let snapshot = background::blocking(&on_log_of(name), build)
            .await?
            .map_err(|e| failure::log("read the log", name, &e))?;
        let mut table = Self {
            name: name.to_owned(),
            facts: facts(name, &snapshot)?,
            version: snapshot.version(),
            log_checkpoint: 0,
            listed_checkpoint,
            log,
            anchor: None,
            snapshot,
            txns: HashMap::new(),
            checked: HashSet::new(),
        };
        table.anchor = table.tag(table.version).await?;
        // A hint that cannot be read, or of a later version, counts as one of now.
        table.log_checkpoint = table.last_checkpoint().await?.unwrap_or(0).min(table.version);
        Ok(Some(table))
    }

    /// Creates entry `v` of the table `name`, which need not exist yet.
    pub(crate) async fn put(
        storage: &Storage,
        log: &LogStoreRef,
        name: &str,
        v: u64,
        bytes: Bytes,
    ) -> Put {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = log.object_store(None);
        match put.put_opts(&commit_uri_from_version(Some(v)), bytes.into(), options).await {
            Ok(result) => Put::Created(result.e_tag),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Put::Taken,
            // A request that broke may have arrived: whoever sent it reads.
            Err(_) if storage.is_remote() => Put::Unclear,
            // A sync that failed is never tried again on the same file: the next attempt looks anew (P20).
            Err(error) if failure::io_kind(&error).is_some() => {
                Put::Failed(failure::storage(format!("create log entry {v}"), name, &error))
            }
            Err(_) => Put::Unclear,
        }
    }

    /// Creates entry `v` of this table.
    pub(crate) async fn create(&self, storage: &Storage, v: u64, bytes: &Bytes) -> Put {
        Self::put(storage, &self.log, &self.name, v, bytes.clone()).await
    }

    /// Whether entry `version` still is the object that we know; `None` if we know none.
    pub(crate) async fn anchored(&self) -> Result<Option<bool>> {
        match &self.anchor {
            None => Ok(None),
            known => Ok(Some(self.tag(self.version).await? == *known)),
        }
    }

    /// The version in `_last_checkpoint`, if there is one.
    pub(crate) async fn last_checkpoint(&self) -> Result<Option<u64>> {
        #[derive(serde::Deserialize)]
        struct Hint {
            version: u64,
        }
        let path = self.log.log_path().clone().join("_last_checkpoint");
        let bytes = match self.log.object_store(None).get(&path).await {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(failure::storage("read the last checkpoint", &self.name, &e)),
            Ok(found) => found.bytes().await,
        };
        let bytes =
            bytes.map_err(|e| failure::storage("read the last checkpoint", &self.name, &e))?;
        // A hint that cannot be read is no hint: readers list the log then, and so must we.
        Ok(Some(serde_json::from_slice::<Hint>(&bytes).map_or(u64::MAX, |hint| hint.version)))
    }

    /// The bytes of entry `v`, and which object it is.
    pub(crate) async fn fetch(&self, v: u64) -> Result<Option<(Bytes, Option<String>)>> {
        let what = || format!("read log entry {v}");
        let found = match self.log.object_store(None).get(&commit_uri_from_version(Some(v))).await {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            other => other.map_err(|e| failure::storage(what(), &self.name, &e))?,
        };
        let tag = found.meta.e_tag.clone();
        let bytes = found.bytes().await.map_err(|e| failure::storage(what(), &self.name, &e))?;
        Ok(Some((bytes, tag)))
    }

    /// What stands at `v`, seen by `app_id`.
    pub(crate) async fn read(&self, v: u64, app_id: &str) -> Result<Option<Foreign>> {
        let Some((bytes, tag)) = self.fetch(v).await? else { return Ok(None) };
        Ok(Some(Foreign { read: entry::read(&self.name, v, &bytes, app_id)?, tag }))
    }

    /// Takes note that `v` stands, and of the transactions in it that we follow.
    pub(crate) fn advance(&mut self, v: u64, tag: Option<String>, txns: Vec<(String, i64)>) {
        self.version = v;
        self.anchor = tag;
        for (app_id, n) in txns {
            if let Some(txn) = self.txns.get_mut(&app_id) {
                *txn = Some(n);
            }
        }
    }

    /// Follows the entries of others. `false`: the log must be listed to know.
    pub(crate) async fn catch_up(&mut self) -> Result<bool> {
        if self.anchored().await? != Some(true) {
            return Ok(false);
        }
        while let Some(Foreign { read, tag }) = self.read(self.version + 1, "").await? {
            if read.facts.changes_table {
                return Ok(false);
            }
            self.advance(self.version + 1, tag, read.txns);
        }
        Ok(self.last_checkpoint().await?.is_none_or(|c| c <= self.version))
    }

    /// Whether others have written a log checkpoint since this table was loaded: the entries that it was read from may have
    /// been cleaned meanwhile, and what stood in their places be what requests of long ago have left in the hole.
    pub(crate) async fn is_overtaken(&self) -> Result<bool> {
        Ok(newest_checkpoint(&self.log, &self.name).await? > self.listed_checkpoint)
    }

    /// The newest `txn` of `app_id`; `None` when it has to be read from a snapshot that is no longer the newest, or may never
    /// have been.
    pub(crate) async fn txn(&mut self, app_id: &str) -> Result<Option<Option<i64>>> {
        if let Some(txn) = self.txns.get(app_id) {
            return Ok(Some(*txn));
        }
        if self.version != self.snapshot.version() {
            return Ok(None);
        }
        let (snapshot, id) = (Arc::clone(&self.snapshot), app_id.to_owned());
        let engine = self.log.engine(None);
        let read = move || snapshot.get_app_id_version(&id, engine.as_ref());
        let txn = background::blocking(&on_log_of(&self.name), read)
            .await?
            .map_err(|e| failure::log("read the transactions", &self.name, &e))?;
        if self.is_overtaken().await? {
            return Ok(None);
        }
        self.txns.insert(app_id.to_owned(), txn);
        Ok(Some(txn))
    }

    pub(crate) fn is_checked(&self, app_id: &str) -> bool {
        self.checked.contains(app_id)
    }

    pub(crate) fn mark_checked(&mut self, app_id: &str) {
        self.checked.insert(app_id.to_owned());
    }

    pub(crate) fn log(&self) -> &LogStoreRef {
        &self.log
    }

    /// The table's metadata, as it was when it was loaded.
    pub(crate) fn metadata(&self) -> &Metadata {
        self.snapshot.table_configuration().metadata()
    }

    /// The table's properties, as they were when it was loaded.
    pub(crate) fn properties(&self) -> &TableProperties {
        self.snapshot.table_properties()
    }

    /// How long entries are kept, and whether they may be removed at all.
    pub(crate) fn retention(&self) -> Option<std::time::Duration> {
        let properties = self.properties();
        let protected = self.facts.writer_features.contains(CHECKPOINT_PROTECTION);
        let wanted = !protected && properties.enable_expired_log_cleanup.unwrap_or(true);
        let days_30 = std::time::Duration::from_hours(30 * 24);
        wanted.then(|| properties.log_retention_duration.unwrap_or(days_30))
    }

    /// Makes what we found durable (P20).
    pub(crate) async fn settle(&self, storage: &Storage) -> Result<()> {
        self.settle_at(storage, self.version).await
    }

    /// The same for entry `v`.
    pub(crate) async fn settle_at(&self, storage: &Storage, v: u64) -> Result<()> {
        storage.settle(&self.name, v).await
    }

    async fn tag(&self, v: u64) -> Result<Option<String>> {
        tag(&self.log, &self.name, v).await
    }
}

/// Of whatever version and age.
async fn newest_checkpoint(log: &LogStoreRef, name: &str) -> Result<Option<u64>> {
    reach::last_checkpoint(log, name, u64::MAX, i64::MAX).await
}

/// Which object entry `v` of a log is; `None`: it is not there.
pub(crate) async fn tag(log: &LogStoreRef, name: &str, v: u64) -> Result<Option<String>> {
    match log.object_store(None).head(&commit_uri_from_version(Some(v))).await {
        Err(StoreError::NotFound { .. }) => Ok(None),
        Ok(meta) => Ok(meta.e_tag.or_else(|| Some(meta.size.to_string()))),
        Err(e) => Err(failure::storage("look for a log entry", name, &e)),
    }
}

/// Every file exists with its size (P14).
pub(crate) async fn check_files(storage: &Storage, name: &str, adds: &[Add]) -> Result<()> {
    use futures::{StreamExt, TryStreamExt};
    let data = storage.data(name)?;
    let check = |add: &Add| {
        let (data, path, size) = (Arc::clone(&data), Path::parse(&add.path), add.size);
        async move {
            let gone = |what: &str| {
                Error::data_loss(format!(
                    "a file that waits to be committed to table `{name}` {what}; restore it, or give up the \
                     rows with `checkpoints resolve`"
                ))
            };
            match data.head(&path.map_err(|_| gone("has an impossible name"))?).await {
                Ok(meta) if i64::try_from(meta.size) == Ok(size) => Ok(()),
                Ok(_) => Err(gone("has another size than it was written with")),
                Err(StoreError::NotFound { .. }) => Err(gone("is missing")),
                Err(e) => Err(failure::storage("look for a data file", name, &e)),
            }
        }
    };
    let checks: Vec<_> = adds.iter().map(check).collect();
    futures::stream::iter(checks).buffer_unordered(16).try_collect().await
}

/// The names of the columns by which the files are partitioned.
pub(crate) fn partitions(adds: &[Add]) -> BTreeSet<&str> {
    adds.first()
        .map(|a| a.partition_values.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

/// What is done beside whoever commits.
pub(super) fn on_log_of(name: &str) -> String {
    format!("a task on the log of table `{name}`")
}

fn facts(name: &str, snapshot: &Snapshot) -> Result<TableFacts> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Protocol {
        min_writer_version: i32,
        #[serde(default)]
        writer_features: Option<BTreeSet<String>>,
    }
    let configuration = snapshot.table_configuration();
    let metadata = configuration.metadata();
    let schema = metadata.parse_schema().map_err(|e| failure::log("read the columns", name, &e))?;
    let protocol: Protocol = serde_json::to_value(configuration.protocol())
        .and_then(serde_json::from_value)
        .map_err(|e| failure::log("read the protocol", name, &e))?;
    Ok(TableFacts {
        id: metadata.id().to_owned(),
        schema,
        partition_columns: metadata.partition_columns().to_vec(),
        configuration: metadata.configuration().clone().into_iter().collect(),
        writer_version: protocol.min_writer_version,
        writer_features: protocol.writer_features.unwrap_or_default(),
    })
}
