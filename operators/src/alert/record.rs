//! The columns of alerts and of commands about them.

use thalweg_core::Record;
use thalweg_core::record::Micros;

/// What [`super::Alerts`] emits behind the columns of the key: a change of an alert's state. Key, rule and `opened_at` name the
/// alert, `sequence` the change.
#[derive(Debug, Clone, Record)]
pub struct AlertChange {
    /// The rule's name.
    pub rule: String,
    /// The first reading beyond the limit.
    pub opened_at: Micros,
    /// The how-manieth change of the alert this is, from 1.
    pub sequence: i32,
    /// The state before: `normal`, or as `state`.
    pub from_state: String,
    /// `pending`, `firing`, `acknowledged`, `snoozed`, `resolved`.
    pub state: String,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// The newest reading of the rule's column.
    pub value: Option<f64>,
    /// When the state changed, in event time; never before the alert's change before.
    pub changed_at: Micros,
    /// When it fired first; null if it never did.
    pub fired_at: Option<Micros>,
    /// Who acknowledged or snoozed it.
    pub by: Option<String>,
}

impl AlertChange {
    /// Where there is no alert.
    pub const NORMAL: &'static str = "normal";
}

/// What somebody says about an alert: columns beside those of the readings, null in a row of readings. A row with an
/// `alert_action` is a command, of which only the key is looked at besides.
#[derive(Debug, Clone, Record)]
pub struct AlertCommand {
    /// [`AlertCommand::ACKNOWLEDGE`] or [`AlertCommand::SNOOZE`].
    pub alert_action: Option<String>,
    /// The rule's name.
    pub alert_rule: Option<String>,
    /// When the alert was opened.
    pub alert_opened_at: Option<Micros>,
    /// Until when it is snoozed, in event time.
    pub alert_snooze_until: Option<Micros>,
    /// Who says so.
    pub alert_by: Option<String>,
}

impl AlertCommand {
    /// Somebody looks after it.
    pub const ACKNOWLEDGE: &'static str = "acknowledge";
    /// Somebody does not want to hear of it for a while.
    pub const SNOOZE: &'static str = "snooze";
}
