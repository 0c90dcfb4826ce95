//! A rule as data.

use std::time::Duration;

use thalweg_core::record::ColumnName;
use thalweg_core::time::micros;
use thalweg_core::{Error, Result};

use super::{Policy, Rule, Severity};
use crate::detect::Limit;

/// A limit of a column whose crossing is an alert.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::record::ColumnName;
/// use thalweg_operators::alert::{AlertRule, Severity};
/// use thalweg_operators::detect::Limit;
/// let rule = AlertRule::new("too-hot", ColumnName("celsius"), Limit::at_least(90.0).clears_at(80.0))
///     .persist_for(Duration::from_secs(10))
///     .severity(Severity::Critical);
/// assert_eq!(rule.name(), "too-hot");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRule {
    name: String,
    column: ColumnName,
    limit: Limit,
    persist_for: Duration,
    severity: Severity,
    escalate_after: Option<Duration>,
}

impl AlertRule {
    /// `limit` on `column`: a warning at the first reading beyond it, which does not become worse.
    pub fn new(name: impl Into<String>, column: impl Into<ColumnName>, limit: Limit) -> Self {
        Self {
            name: name.into(),
            column: column.into(),
            limit,
            persist_for: Duration::ZERO,
            severity: Severity::Warning,
            escalate_after: None,
        }
    }

    /// How long the limit must stay crossed before the alert fires. Default: not at all.
    #[must_use]
    pub fn persist_for(mut self, persist_for: Duration) -> Self {
        self.persist_for = persist_for;
        self
    }

    /// How bad it is. Default: a warning.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// After how long an alert that nobody acknowledges becomes one step worse. Default: never.
    #[must_use]
    pub fn escalate_after(mut self, after: Duration) -> Self {
        self.escalate_after = Some(after);
        self
    }

    /// What its alerts are called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The column that it watches.
    pub fn column(&self) -> ColumnName {
        self.column
    }
}

/// Rules as they are asked, each by its place.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) all: Vec<Rule>,
    /// The limit of each rule, and how bad it is to cross it.
    pub(super) limits: Vec<(Limit, Severity)>,
    pub(super) layout: u64,
    /// µs.
    pub(super) forget_after: i64,
}

impl Rules {
    pub(super) fn new(rules: &[AlertRule], forget_after: Duration) -> Result<Self> {
        for (index, rule) in rules.iter().enumerate() {
            let wrong =
                |what: &str| Err(Error::graph(format!("the alert rule `{}` {what}", rule.name)));
            if rules.iter().take(index).any(|other| other.name == rule.name) {
                return wrong("is there twice: give one another name");
            }
            if !rule.limit.is_possible() {
                return wrong("must clear on the good side of its limit");
            }
            if rule.persist_for >= forget_after {
                return wrong("waits until its key is forgotten: make forget_after longer");
            }
        }
        let all: Vec<Rule> = rules
            .iter()
            .map(|rule| {
                let escalate_after = rule.escalate_after.map(micros);
                Rule::new(
                    &rule.name,
                    Policy { persist_for: micros(rule.persist_for), escalate_after },
                )
            })
            .collect();
        Ok(Self {
            layout: Rule::layout(&all),
            all,
            limits: rules.iter().map(|rule| (rule.limit, rule.severity)).collect(),
            forget_after: micros(forget_after),
        })
    }
}
