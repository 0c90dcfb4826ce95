//! What a person does to a job's chain or tables: the audit log tells that it begins and how it ended.

use std::path::Path;

use thalweg_core::Result;
use thalweg_objects::Place;
use thalweg_serving::audit::AuditLog;

use super::audit::Deed;
use crate::healthcare::serve::files;

/// Something that is written down, where it is to be and there is a place for it.
#[derive(Debug)]
pub(super) struct Act(Option<(AuditLog, Deed)>);

impl Act {
    /// `deed`, if there is one, in the log beside the data folder or where it was `named`. Nothing stands beside an object
    /// store: there it is done all the same, with a warning, since it may be what a job waits for.
    ///
    /// # Errors
    /// Those of [`files::audit_log`].
    pub(super) fn new(deed: Option<Deed>, data: &Place, named: Option<&Path>) -> Result<Self> {
        let Some(deed) = deed else { return Ok(Self(None)) };
        if let (Place::Remote(place), None) = (data, named) {
            tracing::warn!("nothing writes down who does this to {place}: pass --audit-log");
            return Ok(Self(None));
        }
        Ok(Self(Some((files::audit_log(data, named)?, deed))))
    }

    /// Does it. What cannot be written down is not begun.
    ///
    /// # Errors
    /// Those of `done`, and of the log.
    pub(super) fn perform<T>(self, done: impl FnOnce() -> Result<T>) -> Result<T> {
        let Self(Some((log, mut deed))) = self else { return done() };
        deed.begun(&log)?;
        deed.ended(&log, done())
    }
}
