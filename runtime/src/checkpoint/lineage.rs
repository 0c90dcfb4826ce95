//! Whose manifests a process may restart from (P6).

use thalweg_core::checkpoint::Manifest;
use thalweg_core::{Error, Result};

/// The manifest that the first attempt of a process found, and what the tokens of all of them begin with.
#[derive(Debug)]
pub(crate) struct Lineage {
    run: String,
    /// Its digest: later manifests of whoever wrote it are another's.
    first: Option<String>,
}

impl Lineage {
    pub(crate) fn new(run: impl Into<String>) -> Self {
        Self { run: run.into(), first: None }
    }

    /// The newest manifest, as an attempt found it: ours, or the one that this process began with.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::Fenced`] when another process has gone on meanwhile.
    pub(crate) fn check(&mut self, manifest: &Manifest, digest: &str) -> Result<()> {
        let first = self.first.get_or_insert_with(|| digest.to_owned());
        if *first == digest || manifest.attempt.starts_with(&self.run) {
            return Ok(());
        }
        Err(Error::fenced(format!(
            "another process owns this job: checkpoint {} was written by it; this one stops",
            manifest.number
        )))
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::ErrorKind;

    use super::*;
    use crate::checkpoint::sample::manifest;

    fn by(token: &str) -> Manifest {
        Manifest { attempt: token.into(), ..manifest(4) }
    }

    #[test]
    fn a_restart_goes_on_from_its_own_manifests_and_from_no_others() {
        let mut lineage = Lineage::new("ours");
        lineage.check(&by("theirs-1"), "a").unwrap();
        lineage.check(&by("theirs-1"), "a").unwrap();
        lineage.check(&by("ours-1"), "b").unwrap();
        let error = lineage.check(&by("theirs-1"), "c").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
    }
}
