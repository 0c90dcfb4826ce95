//! Roles, and the tables and columns that each may see.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use thalweg_core::{Error, Result};

/// A role's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Role(String);

impl Role {
    /// The role called `name`; whether it exists is for [`Roles`] to say.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Role {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which columns of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// Every one, those that are added later included.
    All,
    /// These alone: a column that is added later stays hidden.
    Only(BTreeSet<String>),
}

impl Columns {
    /// These alone.
    pub fn only<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Only(names.into_iter().map(str::to_owned).collect())
    }

    /// Whether `column` is among them.
    pub fn allow(&self, column: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(column),
        }
    }
}

/// What a role may see. A table that it does not name does not exist for the role.
///
/// ```
/// use thalweg_serving::access::{Columns, Policy};
/// let policy = Policy::default().table("gold_kpis", Columns::All).table("raw", Columns::only(["id"]));
/// assert!(policy.allows("raw", "id"));
/// assert!(!policy.allows("raw", "payload"));
/// assert!(policy.columns("secrets").is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    tables: BTreeMap<String, Columns>,
}

impl Policy {
    /// Adds a table, or changes which of its columns are seen.
    #[must_use]
    pub fn table(mut self, name: impl Into<String>, columns: Columns) -> Self {
        self.tables.insert(name.into(), columns);
        self
    }

    /// The columns of `table` that are seen; none when the table does not exist for the role.
    pub fn columns(&self, table: &str) -> Option<&Columns> {
        self.tables.get(table)
    }

    /// Whether this column is seen.
    pub fn allows(&self, table: &str, column: &str) -> bool {
        self.columns(table).is_some_and(|columns| columns.allow(column))
    }

    /// The tables, by name.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &Columns)> {
        self.tables.iter().map(|(name, columns)| (name.as_str(), columns))
    }
}

/// All roles.
#[derive(Debug, Clone, Default)]
pub struct Roles {
    policies: BTreeMap<Role, Policy>,
}

impl Roles {
    /// Adds a role, or changes what it may see.
    #[must_use]
    pub fn role(mut self, name: impl Into<String>, policy: Policy) -> Self {
        self.policies.insert(Role::new(name), policy);
        self
    }

    /// What a role may see; `None`: there is no such role, and whoever claims it sees nothing.
    pub fn policy(&self, role: &str) -> Option<&Policy> {
        self.policies.get(role)
    }

    /// The role called `name`.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`], naming the roles that there are.
    pub fn named(&self, name: &str) -> Result<Role> {
        self.policies.get_key_value(name).map(|(role, _)| role.clone()).ok_or_else(|| {
            let all: Vec<&str> = self.policies.keys().map(Role::as_str).collect();
            Error::config(format!("there is no such role: the roles are {}", all.join(", ")))
        })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &Role> {
        self.policies.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_role_is_refused_with_the_names_of_the_others() {
        let roles =
            Roles::default().role("viewer", Policy::default()).role("admin", Policy::default());
        assert_eq!(roles.named("viewer").unwrap(), Role::new("viewer"));
        assert!(roles.policy("root").is_none());
        let error = roles.named("root").unwrap_err().to_string();
        assert_eq!(error, "there is no such role: the roles are admin, viewer");
    }
}
