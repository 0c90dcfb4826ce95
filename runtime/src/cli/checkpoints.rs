//! `checkpoints list | inspect | verify | rewind`.

use std::fmt::Write;
use std::sync::Arc;

use clap::{Args, Subcommand};
use thalweg_core::checkpoint::{Manifest, ManifestKind};
use thalweg_core::{CheckpointId, Error, Result};

use crate::checkpoint::recover::{JobContext, roll_forward};
use crate::checkpoint::state_files::{StateStore, sha256};
use crate::checkpoint::storage::{CheckpointStorage, create_resolved};
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
}

/// All retained manifests with their bytes, ascending.
fn manifests(storage: &dyn CheckpointStorage) -> Result<Vec<(Manifest, Vec<u8>)>> {
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
    Ok(found)
}

impl CheckpointsCommand {
    /// Whether the job's graph, key and lock are needed (`verify`, `rewind`), or reading the folder is enough.
    pub fn needs_job(&self) -> bool {
        matches!(self, Self::Verify | Self::Rewind { .. })
    }

    /// `list` and `inspect`: what to print.
    ///
    /// # Errors
    /// No such checkpoint, or a damaged one.
    pub fn read(&self, storage: &dyn CheckpointStorage) -> Result<String> {
        let all = manifests(storage)?;
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

    /// `verify` and `rewind`: does it and says what to print. The job must not be running.
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
            _ => runtime.block_on(verify(&context)),
        }
    }
}

fn no_such(number: CheckpointId, all: &[(Manifest, Vec<u8>)]) -> Error {
    let (first, last) = (all.first().map(|a| a.0.number), all.last().map(|a| a.0.number));
    Error::config(format!(
        "there is no checkpoint {number}: {} to {} are retained",
        first.unwrap_or_default(),
        last.unwrap_or_default()
    ))
}

fn list(all: &[(Manifest, Vec<u8>)]) -> String {
    let mut text =
        String::from("number      kind         rows read   rows committed   state bytes\n");
    for (manifest, _) in all {
        let kind = match manifest.kind {
            ManifestKind::Genesis => "genesis".to_owned(),
            ManifestKind::Checkpoint if manifest.finished => "finished".to_owned(),
            ManifestKind::Checkpoint => "checkpoint".to_owned(),
            ManifestKind::Rewind { from } => format!("rewind {from}"),
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
    let all = manifests(context.storage.as_ref())?;
    let mut problems = Vec::new();
    for ((_, bytes), (child, _)) in all.iter().zip(all.iter().skip(1)) {
        if child.parent.as_deref() != Some(&sha256(bytes)) {
            problems
                .push(format!("checkpoint {} does not follow from the one before", child.number));
        }
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
    let (head, _) = roll_forward(context).await?;
    let mut rows = 0;
    for sink in &head.sinks {
        let committer = context.committers.get(&sink.target.kind)?;
        rows += sink.rows;
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
            "{} checkpoints, {files} state files and {rows} committed rows are as they should be\n",
            all.len()
        ));
    }
    Err(Error::corrupt(problems.join("; ")))
}

/// M(head+1) with the positions and state of M(m); numbers never go back (P4).
async fn rewind(context: &JobContext, to: CheckpointId) -> Result<String> {
    let (head, digest) = roll_forward(context).await?;
    let all = manifests(context.storage.as_ref())?;
    let find = |number| all.iter().find(|(m, _)| m.number == number).map(|(m, _)| m);
    let target = find(to).ok_or_else(|| no_such(to, &all))?;
    if target.chain != head.chain {
        return Err(Error::config(format!("checkpoint {to} belongs to a chain that is closed")));
    }
    if target.kind == ManifestKind::Sealed || to == head.number {
        return Err(Error::config(format!("checkpoint {to} is not one to go back to")));
    }
    let rewound = Manifest {
        number: head.number.next(),
        attempt: uuid::Uuid::new_v4().simple().to_string(),
        parent: Some(digest),
        kind: ManifestKind::Rewind { from: to },
        finished: target.finished,
        created_at: context.clock.now_micros(),
        sources: target.sources.clone(),
        state: target.state.clone(),
        // What the tables hold is what the head left; what was written since `to` will be written again.
        sinks: head.sinks.clone(),
        pending: Vec::new(),
        ..head.clone()
    };
    create_resolved(context.storage.as_ref(), &Manifest::name(rewound.number), &rewound.encode()?)?;
    let mut text = format!(
        "checkpoint {} goes back to {to}; the next run reads on from there.\n",
        rewound.number
    );
    text.push_str("Rows committed since are still in the tables. To take them out, restore each table before that run:\n");
    // The manifest behind `to` knows the versions that hold exactly the checkpoints up to it.
    for sink in find(to.next()).map_or(&[][..], |m| &m.sinks) {
        if let Some(version) = sink.expected.version {
            let line = writeln!(text, "  {}  RESTORE TO VERSION AS OF {version}", sink.target.path);
            debug_assert!(line.is_ok(), "a String takes everything");
        }
    }
    Ok(text)
}
