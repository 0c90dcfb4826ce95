//! `checkpoints list | inspect | verify | rewind | resolve`.

use std::fmt::Write;
use std::sync::Arc;

use clap::{Args, Subcommand};
use thalweg_core::checkpoint::{Manifest, ManifestKind};
use thalweg_core::{CheckpointId, Error, Result};

use crate::checkpoint::recover::{Chain, JobContext, roll_forward};
use crate::checkpoint::state_files::{StateStore, sha256};
use crate::checkpoint::storage::CheckpointStorage;
use crate::cli::repair::{resolve, rewind};
use crate::job::JobBuilder;

/// Look at checkpoints, check them, go back to one.
#[derive(Debug, Clone, Args)]
pub struct CheckpointsArgs {
    /// What to do
    #[command(subcommand)]
    pub command: CheckpointsCommand,
}

/// What to do with checkpoints.
#[derive(Debug, Clone, Subcommand)]
pub enum CheckpointsCommand {
    /// One line per retained checkpoint, oldest first
    List,
    /// Everything that a checkpoint's manifest says, as JSON
    Inspect {
        /// Number [default: the newest]
        number: Option<u64>,
    },
    /// Check manifests, state files and row counts against the tables
    Verify,
    /// Go back to an earlier checkpoint: the next run reads on from there
    Rewind {
        /// Number of a retained checkpoint
        #[arg(long, value_name = "M")]
        to: u64,
    },
    /// Give up rows that cannot be committed to one table, so that the job can go on without them
    Resolve {
        /// The sink, as messages and `inspect` call it
        #[arg(long, value_name = "S")]
        sink: String,
        /// The checkpoint whose rows are given up: the newest
        #[arg(long, value_name = "N")]
        void: u64,
    },
}

/// A manifest with its bytes.
pub(super) type Stored = (Manifest, Vec<u8>);

/// The retained manifests with their bytes, ascending: the newest, and what each follows from. And what else is there: below
/// them, where garbage was collected, a copy that woke up late may have left one, which is of no chain (P7).
pub(super) fn manifests(storage: &dyn CheckpointStorage) -> Result<(Vec<Stored>, Vec<Stored>)> {
    let mut numbers: Vec<CheckpointId> =
        storage.list("")?.iter().filter_map(|n| Manifest::number_of(n)).collect();
    numbers.sort_unstable();
    if numbers.is_empty() {
        return Err(Error::config(format!("there are no checkpoints in {}", storage.describe())));
    }
    let mut found = Vec::new();
    for number in numbers {
        // One that a running job has just deleted is no error.
        if let Some(bytes) = storage.read(&Manifest::name(number))? {
            found.push((Manifest::decode(&bytes)?, bytes));
        }
    }
    let linked = found.windows(2).rev().take_while(|pair| follows(pair)).count();
    let retained = found.split_off(found.len().saturating_sub(linked + 1));
    Ok((retained, found))
}

/// Whether the second of two manifests follows from the first.
fn follows(pair: &[Stored]) -> bool {
    matches!(pair, [(_, bytes), (child, _)] if child.parent.as_deref() == Some(&sha256(bytes)))
}

impl CheckpointsCommand {
    /// Whether the job's graph, key and lock are needed, or reading the folder is enough.
    pub fn needs_job(&self) -> bool {
        matches!(self, Self::Verify | Self::Rewind { .. } | Self::Resolve { .. })
    }

    /// `list` and `inspect`: what to print.
    ///
    /// # Errors
    /// No such checkpoint, or a damaged one.
    pub fn read(&self, storage: &dyn CheckpointStorage) -> Result<String> {
        let (all, _) = manifests(storage)?;
        match self {
            Self::Inspect { number } => {
                let wanted = number.map(CheckpointId);
                let found = match wanted {
                    None => all.last(),
                    Some(number) => all.iter().find(|(m, _)| m.number == number),
                };
                let (manifest, _) =
                    found.ok_or_else(|| no_such(wanted.unwrap_or_default(), &all))?;
                let bytes = manifest.encode()?;
                Ok(String::from_utf8_lossy(&bytes).into_owned() + "\n")
            }
            _ => Ok(list(&all)),
        }
    }

    /// `verify`, `rewind` and `resolve`: does it and says what to print. The job must not be running.
    ///
    /// # Errors
    /// What is wrong with the checkpoints.
    pub fn act(&self, job: JobBuilder) -> Result<String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| thalweg_core::error::io("start the I/O threads", e))?;
        let context = job.into_context();
        match self {
            Self::Rewind { to } => runtime.block_on(rewind(&context, CheckpointId(*to))),
            Self::Resolve { sink, void } => {
                runtime.block_on(resolve(&context, sink, CheckpointId(*void)))
            }
            _ => runtime.block_on(verify(&context)),
        }
    }
}

pub(super) fn no_such(number: CheckpointId, all: &[Stored]) -> Error {
    let (first, last) = (all.first().map(|a| a.0.number), all.last().map(|a| a.0.number));
    Error::config(format!(
        "there is no checkpoint {number}: {} to {} are retained",
        first.unwrap_or_default(),
        last.unwrap_or_default()
    ))
}

fn list(all: &[Stored]) -> String {
    let mut text =
        String::from("number      kind         rows read   rows committed   state bytes\n");
    for (manifest, _) in all {
        let kind = match manifest.kind {
            ManifestKind::Genesis => "genesis".to_owned(),
            ManifestKind::Checkpoint if manifest.finished => "finished".to_owned(),
            ManifestKind::Checkpoint => "checkpoint".to_owned(),
            ManifestKind::Rewind { from } => format!("rewind {from}"),
            ManifestKind::Resolved { void, .. } => format!("resolved {void}"),
            ManifestKind::Sealed => "sealed".to_owned(),
        };
        let read: u64 = manifest.sources.iter().map(|s| s.rows).sum();
        let written: u64 = manifest.sinks.iter().map(|s| s.rows).sum();
        let state: u64 = manifest.state.iter().map(|s| s.bytes).sum();
        let line =
            writeln!(text, "{:<11} {kind:<12} {read:<11} {written:<16} {state}", manifest.number.0);
        debug_assert!(line.is_ok(), "a String takes everything");
    }
    text
}

async fn verify(context: &JobContext) -> Result<String> {
    let (all, others) = manifests(context.storage.as_ref())?;
    let mut problems = Vec::new();
    // One that was left over is alone. Some that follow from each other are the rest of a chain that is broken here.
    if others.windows(2).any(follows)
        && let Some((first, _)) = all.first()
    {
        problems.push(format!("checkpoint {} does not follow from the one before", first.number));
    }
    let mut files = 0;
    for (manifest, _) in &all {
        let store = StateStore {
            storage: Arc::clone(&context.storage),
            key: Arc::clone(&context.key),
            chain: manifest.chain.clone(),
            token: String::new(),
        };
        files += manifest.state.len();
        if let Err(error) = store.read(&manifest.state) {
            problems.push(format!("checkpoint {}: {error}", manifest.number));
        }
    }
    let (head, _) = roll_forward(context, Chain::GoesOn, None).await?;
    let (mut rows, mut notes) = (0, String::new());
    for (left, _) in &others {
        let is_before = all.first().is_some_and(|(first, _)| first.number == left.number.next());
        let or = if is_before { ", or it was changed" } else { "" };
        notes.push_str(&format!(
            "checkpoint {} is of no chain: a copy of the job that was fenced left it{or}\n",
            left.number
        ));
    }
    for sink in &head.sinks {
        let Some(committer) = context.committers.find(&sink.target.kind) else {
            notes.push_str(&format!(
                "{} is not counted: this program has no sink of kind `{}`\n",
                sink.target.path, sink.target.kind
            ));
            continue;
        };
        rows += sink.rows;
        // After a rewind the tables are what the person who rewound makes of them, until the next run counts them.
        if matches!(head.kind, ManifestKind::Rewind { .. }) {
            continue;
        }
        match committer.count_rows(&sink.target.path).await? {
            Some(found) if found != sink.rows => problems.push(format!(
                "table {} holds {found} rows, the checkpoints say {}",
                sink.target.path, sink.rows
            )),
            _ => {}
        }
    }
    if problems.is_empty() {
        return Ok(format!(
            "{} checkpoints, {files} state files and {rows} committed rows are as they should be\n{notes}",
            all.len()
        ));
    }
    Err(Error::corrupt(problems.join("; ")))
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;
    use crate::checkpoint::sample::manifest;
    use crate::checkpoint::storage::{Created, MemoryStorage};

    /// Stores manifests, each of which follows from the one before, and the first from `parent`.
    fn store(storage: &MemoryStorage, numbers: RangeInclusive<u64>, parent: &str) {
        let mut parent = parent.to_owned();
        for number in numbers {
            let stored = Manifest { parent: Some(parent), ..manifest(number) };
            let bytes = stored.encode().unwrap();
            let created = storage.create(&Manifest::name(stored.number), &bytes);
            assert!(matches!(created, Created::Yes));
            parent = sha256(&bytes);
        }
    }

    fn numbers(all: &[Stored]) -> Vec<u64> {
        all.iter().map(|(manifest, _)| manifest.number.0).collect()
    }

    #[test]
    fn what_a_fenced_copy_has_left_is_not_among_the_retained() {
        for left in [3, 1] {
            let storage = MemoryStorage::default();
            store(&storage, left..=left, "one that was collected");
            store(&storage, 4..=6, "the third, which was collected");
            let (retained, others) = manifests(&storage).unwrap();
            assert_eq!((numbers(&retained), numbers(&others)), (vec![4, 5, 6], vec![left]));
            assert!(!others.windows(2).any(follows));
        }
    }

    #[test]
    fn the_rest_of_a_chain_that_is_broken_is_told_from_what_was_left() {
        let storage = MemoryStorage::default();
        store(&storage, 1..=2, "the genesis");
        store(&storage, 3..=4, "another");
        let (retained, others) = manifests(&storage).unwrap();
        assert_eq!((numbers(&retained), numbers(&others)), (vec![3, 4], vec![1, 2]));
        assert!(others.windows(2).any(follows));
    }
}
