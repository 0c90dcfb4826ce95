//! What an entry tells.

use serde::{Deserialize, Serialize};

use crate::access::Token;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Someone came in, or tried to.
    Login,
    /// Rows were asked for.
    Query,
    /// Encrypted values were opened.
    Decrypt,
    /// An alert was acknowledged, snoozed or closed.
    Alert,
    /// The users were changed.
    Users,
    /// A chain of checkpoints was begun anew, or tables were taken over.
    Chain,
    /// A job was sent back to an earlier checkpoint.
    Rewind,
    /// Rows that could not be committed were given up.
    Resolve,
    /// The log could not be written for a while, and now can.
    Resumed,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was begun: another entry tells how it ended.
    Begun,
    /// It was done.
    Done,
    /// It was not allowed.
    Refused,
    /// It failed.
    Failed,
    /// Nobody acknowledged it in time: it may have been sent, and may still be done.
    Unknown,
    /// Who asked called it off, or went away.
    Cancelled,
    /// It hit a limit: time, rows or memory.
    Limited,
}

/// One thing that was done. Nothing in it may be a value of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Who: a user's name, or whatever was claimed to be one; `(no name)` for what may be a secret; on a command line what
    /// the program says, which should be what the system says.
    pub actor: String,
    /// The role in which.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// From where: an address, `cli`, or `http` for the dashboards.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// What.
    pub action: Action,
    /// Which kind of it: `select`, `acknowledge`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The tables that were read, or whose rows were given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// Where in the tables, where single messages were opened: `topic/partition/from..to`; or which `checkpoint/number`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
    /// How many columns were handed out.
    #[serde(default)]
    pub columns: u64,
    /// How many rows were handed out, or given up.
    #[serde(default)]
    pub rows: u64,
    /// How long it took.
    #[serde(default)]
    pub millis: u64,
    /// [`AuditLog::digest`](super::AuditLog::digest) of the text or of the thing's name: two entries can be compared,
    /// and whoever has the log's key can find a text that they know.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was not done: a code, no text of the outside.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How many refusals before it have no entry, because there were too many at once.
    #[serde(default, skip_serializing_if = "is_default")]
    pub left_out: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Event {
    /// `actor` did `action`; the rest is empty. Of the name what stands before its first dot is kept, in what can be
    /// printed, unless it may be a secret.
    pub fn new(actor: impl Into<String>, action: Action, outcome: Outcome) -> Self {
        Self {
            actor: printable(&actor.into()),
            role: String::new(),
            source: String::new(),
            action,
            kind: String::new(),
            tables: Vec::new(),
            places: Vec::new(),
            columns: 0,
            rows: 0,
            millis: 0,
            subject: String::new(),
            outcome,
            reason: String::new(),
            left_out: 0,
        }
    }
}

/// What stands for a name that may be a secret. No user can be called so.
const NO_NAME: &str = "(no name)";

/// A name can be anything that a client sends, a token too: what follows its dot is the secret, or the secret alone was
/// typed.
fn printable(name: &str) -> String {
    let public = name.split('.').next().unwrap_or_default();
    let mut shown: String = public.chars().filter(char::is_ascii_graphic).collect();
    if Token::may_be_in(&shown) {
        return NO_NAME.to_owned();
    }
    shown.truncate(64);
    shown
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
