//! The manifest: what one checkpoint decided, as one immutable JSON object.
//!
//! Creating it is the decision (P1, P4): from then on the epoch becomes visible or the job stops with an error.
//! Everything that finishing and restoring need is in its bytes; nothing is recomputed from the graph (P11).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::connector::sink::{PendingCommit, Target, TargetExpectation};
use crate::connector::source::Split;
use crate::key::KeyGroupRange;
use crate::time::EventTime;
use crate::{CheckpointId, Error, OperatorUid, Result, SubtaskIndex};

/// Version of the manifest's own format.
pub const FORMAT: u32 = 1;

/// Why a manifest was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ManifestKind {
    /// The chain begins (P2).
    Genesis,
    /// A barrier was completed.
    Checkpoint,
    /// The job went back to an earlier state (P4).
    Rewind {
        /// The manifest whose positions and state it took.
        from: CheckpointId,
    },
    /// A checkpoint's rows for one sink were given up by a person (P15).
    Resolved {
        /// The checkpoint.
        void: CheckpointId,
        /// The sink.
        sink: OperatorUid,
    },
    /// The chain is closed; a new one has begun (P4).
    Sealed,
}

/// What a checkpoint knows of one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitSnapshot {
    /// Name, position, end, properties.
    #[serde(flatten)]
    pub split: Split,
    /// The split's running watermark in µs.
    pub watermark: Option<EventTime>,
}

/// What a checkpoint knows of one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceSnapshot {
    /// The source's uid.
    pub uid: OperatorUid,
    /// What the input was at genesis.
    pub identity: BTreeMap<String, String>,
    /// Its splits, sorted by name.
    pub splits: Vec<SplitSnapshot>,
    /// Rows emitted since genesis.
    pub rows: u64,
    /// How far event time had got, in µs, by what every subtask had told before its barrier; `None` while one had not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<EventTime>,
}

/// One stored state file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateFile {
    /// Whose state it is.
    pub uid: OperatorUid,
    /// The subtask that wrote it.
    pub subtask: SubtaskIndex,
    /// The groups it may hold.
    pub key_groups: KeyGroupRange,
    /// Its name in the checkpoint store.
    pub path: String,
    /// SHA-256 of the stored bytes, hex. Verifies, never names (P8).
    pub sha256: String,
    /// Length of the stored bytes.
    pub bytes: u64,
}

/// What a checkpoint knows of one sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SinkSnapshot {
    /// The sink's uid.
    pub uid: OperatorUid,
    /// Where its rows go.
    pub target: Target,
    /// job / chain / shard / sink (P3).
    pub app_id: String,
    /// What must be there before anything is read: the state that the parent's finish left (P12).
    pub expected: TargetExpectation,
    /// Commit order.
    pub rank: u8,
    /// Rows committed since genesis, this checkpoint included, and those that the target held when it became known.
    pub rows: u64,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// The job's name.
    pub job: String,
    /// The chain: random, made at genesis. A new one is a new incarnation.
    pub chain: String,
    /// `0 of 1`.
    pub shard: String,
    /// Dense and ascending (P1).
    pub number: CheckpointId,
    /// Random token of the attempt that made it (P6).
    pub attempt: String,
    /// SHA-256 of the parent's bytes, hex; none at genesis.
    pub parent: Option<String>,
    /// Why it was made.
    pub kind: ManifestKind,
    /// The input has been read to its end and every window has fired (P21).
    pub finished: bool,
    /// Wall clock, µs. Informative.
    pub created_at: i64,
    /// Number of key groups; never changes within a chain (G3).
    pub max_parallelism: u16,
    /// The graph that wrote its state ([`crate::graph::JobGraph::fingerprint`]).
    pub fingerprint: Vec<String>,
    /// Keys that anything retained was sealed with (P30).
    pub key_ids: Vec<String>,
    /// Positions and watermarks.
    pub sources: Vec<SourceSnapshot>,
    /// Operator state.
    pub state: Vec<StateFile>,
    /// Targets and what is expected of them.
    pub sinks: Vec<SinkSnapshot>,
    /// Commits that this manifest decided.
    pub pending: Vec<PendingCommit>,
}

impl Manifest {
    /// The bytes to store. The same manifest always gives the same bytes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|_| Error::internal("a manifest cannot be encoded"))
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for anything but a manifest, [`crate::ErrorKind::IncompatibleState`] for
    /// another format version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(bytes)
            .map_err(|_| Error::corrupt("a checkpoint manifest is damaged"))?;
        if head.format != FORMAT {
            return Err(Error::incompatible(format!(
                "a checkpoint manifest of format {} where {FORMAT} is known: use the release that wrote it",
                head.format
            )));
        }
        serde_json::from_slice(bytes)
            .map_err(|_| Error::corrupt("a checkpoint manifest is damaged"))
    }

    /// The object's name in the checkpoint store.
    pub fn name(number: CheckpointId) -> String {
        format!("manifest-{:020}.json", number.0)
    }

    /// The number in an object's name, if it is a manifest's.
    pub fn number_of(name: &str) -> Option<CheckpointId> {
        let digits = name.strip_prefix("manifest-")?.strip_suffix(".json")?;
        (digits.len() == 20).then(|| digits.parse().ok().map(CheckpointId))?
    }

    /// The app id of a sink: job / chain / shard / sink (P3).
    pub fn app_id(job: &str, chain: &str, sink: &str) -> String {
        format!("{job}/{chain}/0-of-1/{sink}")
    }

    /// What each sink must look like once this manifest is finished; `versions` holds what committing returned.
    #[must_use]
    pub fn expectations(&self, versions: &BTreeMap<String, u64>) -> Vec<SinkSnapshot> {
        let mut sinks = self.sinks.clone();
        for sink in &mut sinks {
            // Behind a `resolved` manifest the number is that of the checkpoint it finishes.
            if let Some(pending) = self.pending.iter().find(|p| p.sink == sink.uid.as_str()) {
                sink.expected.txn = Some(pending.checkpoint);
            }
            if let Some(version) = versions.get(sink.uid.as_str()) {
                sink.expected.version = Some(*version);
            }
        }
        sinks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_numbers_do_and_read_back() {
        let names: Vec<String> = [2, 10, 9].map(|n| Manifest::name(CheckpointId(n))).to_vec();
        let mut sorted = names.clone();
        sorted.sort();
        let numbers: Vec<u64> =
            sorted.iter().filter_map(|n| Manifest::number_of(n)).map(|n| n.0).collect();
        assert_eq!(numbers, [2, 9, 10]);
        assert_eq!(Manifest::number_of("manifest-1.json"), None);
        assert_eq!(Manifest::number_of(".tmp-12-0"), None);
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        for bytes in [&b""[..], b"{}", b"{\"format\":1}", b"\xff\xfe", b"[1,2", b"{\"format\":9}"] {
            assert!(Manifest::decode(bytes).is_err());
        }
    }
}
