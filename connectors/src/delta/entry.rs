//! Log entries: composing ours, reading what others wrote.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use deltalake::kernel::transaction::CommitData;
use deltalake::kernel::{Action, Add, Metadata, Protocol, Remove, StructField, Transaction};
use deltalake::logstore::get_actions;
use deltalake::protocol::{DeltaOperation, OutputMode, SaveMode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thalweg_core::connector::sink::{PendingCommit, Target};
use thalweg_core::{Error, Result};

use super::decide::EntryFacts;
use super::evolve::SchemaEvolution;
use super::failure;
use crate::clock::now_micros;

/// [`Target::definition`] in this committer's words: what a table is created with, and what becomes of one that lacks
/// some of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    /// Delta's schema string.
    pub(crate) schema: String,
    pub(crate) partition_columns: Vec<String>,
    pub(crate) configuration: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) schema_evolution: SchemaEvolution,
}

/// What is as usual is left out: who does not know it reads the rest.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Definition {
    pub(crate) fn of(target: &Target) -> Result<Self> {
        serde_json::from_value(target.definition.clone()).map_err(|_| {
            Error::incompatible(format!(
                "the definition of table `{}` was written by another version of Thalweg",
                target.path
            ))
        })
    }

    /// Entry 0: the oldest protocol, so that every reader can read the table, under the id given.
    pub(crate) fn creation(&self, table: &str, id: &str, app_id: &str) -> Result<Bytes> {
        let now = now_millis();
        let metadata = json!({
            "id": id,
            "format": { "provider": "parquet", "options": {} },
            "schemaString": self.schema,
            "partitionColumns": self.partition_columns,
            "configuration": self.configuration,
            "createdTime": now,
        });
        let protocol = json!({ "minReaderVersion": 1, "minWriterVersion": 2 });
        let read =
            |_| Error::internal(format!("cannot compose the first log entry of table `{table}`"));
        let protocol: Protocol = serde_json::from_value(protocol).map_err(read)?;
        let metadata: Metadata = serde_json::from_value(metadata).map_err(read)?;
        let actions = vec![Action::Protocol(protocol), Action::Metadata(metadata)];
        compose(table, actions, app_id, 0, 0)
    }
}

/// An entry without files: from here on `app_id` is known to the table (adoption).
pub(crate) fn claim(table: &str, app_id: &str) -> Result<Bytes> {
    compose(table, Vec::new(), app_id, 0, 0)
}

/// The entry that makes one checkpoint visible.
pub(crate) fn append(pending: &PendingCommit, adds: Vec<Add>) -> Result<Bytes> {
    let actions = adds.into_iter().map(Action::Add).collect();
    compose(&pending.path, actions, &pending.app_id, pending.checkpoint.0 as i64, pending.rows)
}

fn compose(table: &str, actions: Vec<Action>, app_id: &str, n: i64, rows: u64) -> Result<Bytes> {
    let operation = DeltaOperation::StreamingUpdate {
        output_mode: OutputMode::Append,
        query_id: app_id.to_owned(),
        epoch_id: n,
    };
    let files = actions.iter().filter(|a| matches!(a, Action::Add(_))).count();
    let about = HashMap::from([
        ("isBlindAppend".to_owned(), json!(true)),
        (
            "operationMetrics".to_owned(),
            json!({ "numAddedFiles": files.to_string(), "numOutputRows": rows.to_string() }),
        ),
    ]);
    let txn = Transaction::new_with_last_update(app_id, n, Some(now_millis()));
    CommitData::new(actions, operation, about, vec![txn])
        .get_bytes()
        .map_err(|_| Error::internal(format!("cannot compose a log entry of table `{table}`")))
}

/// The entry that gives a table more columns, and nothing else.
pub(crate) fn columns(table: &str, metadata: Metadata, new: Vec<StructField>) -> Result<Bytes> {
    let about = HashMap::from([("isBlindAppend".to_owned(), json!(true))]);
    let operation = DeltaOperation::AddColumn { fields: new };
    CommitData::new(vec![Action::Metadata(metadata)], operation, about, Vec::new())
        .get_bytes()
        .map_err(|_| Error::internal(format!("cannot compose a log entry of table `{table}`")))
}

/// Why files take the place of others.
#[derive(Debug, Clone)]
pub(crate) enum Replacement {
    /// They hold the same rows, in files of about this size.
    Layout {
        /// Bytes.
        target: u64,
    },
    /// They hold other rows where this holds.
    Rows {
        /// In SQL.
        predicate: String,
    },
}

impl Replacement {
    fn operation(&self) -> DeltaOperation {
        match self {
            Self::Layout { target } => DeltaOperation::Optimize {
                predicate: None,
                target_size: i64::try_from(*target).unwrap_or(i64::MAX),
            },
            Self::Rows { predicate } => DeltaOperation::Write {
                mode: SaveMode::Overwrite,
                partition_by: None,
                predicate: Some(predicate.clone()),
            },
        }
    }
}

/// The entry that puts files in the place of others. It has no `txn`: it is nobody's epoch.
pub(crate) fn replacement(
    table: &str,
    removes: Vec<Remove>,
    adds: Vec<Add>,
    why: &Replacement,
) -> Result<Bytes> {
    let about = HashMap::from([
        ("isBlindAppend".to_owned(), json!(false)),
        (
            "operationMetrics".to_owned(),
            json!({ "numAddedFiles": adds.len(), "numRemovedFiles": removes.len() }),
        ),
    ]);
    let now = now_millis();
    let data_change = matches!(why, Replacement::Rows { .. });
    let removes = removes.into_iter().map(|remove| {
        Action::Remove(Remove { data_change, deletion_timestamp: Some(now), ..remove })
    });
    let adds = adds.into_iter().map(|add| Action::Add(Add { data_change, ..add }));
    CommitData::new(removes.chain(adds).collect(), why.operation(), about, Vec::new())
        .get_bytes()
        .map_err(|_| Error::internal(format!("cannot compose a log entry of table `{table}`")))
}

/// The staged descriptions as `add` actions.
pub(crate) fn adds(pending: &PendingCommit) -> Result<Vec<Add>> {
    pending
        .staged
        .iter()
        .map(|item| Add::deserialize(item).map_err(|_| not_an_add(pending)))
        .collect()
}

fn not_an_add(pending: &PendingCommit) -> Error {
    Error::corrupt(format!(
        "checkpoint {} of sink `{}` names something that is not a file of table `{}`",
        pending.checkpoint, pending.sink, pending.path
    ))
}

/// What a writer stages: an `add` action without its wrapper.
pub(crate) fn describe(table: &str, add: &Add) -> Result<Value> {
    serde_json::to_value(add)
        .map_err(|_| Error::internal(format!("cannot describe a file of table `{table}`")))
}

/// What another's entry means to us, the `txn`s that it sets, and the files that it adds.
pub(crate) struct Read {
    pub(crate) facts: EntryFacts,
    pub(crate) txns: Vec<(String, i64)>,
    pub(crate) files: HashSet<String>,
}

pub(crate) fn read(table: &str, version: u64, bytes: &Bytes, app_id: &str) -> Result<Read> {
    let actions = get_actions(version, bytes)
        .map_err(|e| failure::log(format!("read log entry {version}"), table, &e))?;
    let txns: Vec<(String, i64)> = actions
        .iter()
        .filter_map(|a| match a {
            Action::Txn(txn) => Some((txn.app_id.clone(), txn.version)),
            _ => None,
        })
        .collect();
    #[cfg(test)]
    let txns = super::simulation::mutation::txns(txns);
    let changes_table =
        actions.iter().any(|a| matches!(a, Action::Metadata(_) | Action::Protocol(_)));
    let txn = txns.iter().filter(|(id, _)| id == app_id).map(|(_, n)| *n).max();
    let files = actions.into_iter().filter_map(|a| match a {
        Action::Add(add) => Some(add.path),
        _ => None,
    });
    Ok(Read { facts: EntryFacts { txn, changes_table }, txns, files: files.collect() })
}

/// Which files another's entry adds or removes, what is said of the values in those that it adds, and whether it changes
/// the table.
pub(crate) struct Touched {
    pub(crate) files: HashSet<String>,
    pub(crate) added: Vec<Option<String>>,
    pub(crate) changes_table: bool,
}

pub(crate) fn touched(table: &str, version: u64, bytes: &Bytes) -> Result<Touched> {
    let actions = get_actions(version, bytes)
        .map_err(|e| failure::log(format!("read log entry {version}"), table, &e))?;
    let changes_table =
        actions.iter().any(|a| matches!(a, Action::Metadata(_) | Action::Protocol(_)));
    let (mut files, mut added) = (HashSet::new(), Vec::new());
    for action in actions {
        match action {
            Action::Add(add) => {
                files.insert(add.path);
                added.push(add.stats);
            }
            Action::Remove(remove) => {
                files.insert(remove.path);
            }
            _ => {}
        }
    }
    Ok(Touched { files, added, changes_table })
}

pub(crate) fn now_millis() -> i64 {
    now_micros() / 1_000
}
