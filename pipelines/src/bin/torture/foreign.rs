//! Another Delta writer: Python's `deltalake`, which compacts, vacuums and adds columns while the job commits.

use std::path::{Path, PathBuf};
use std::process::Command;

use thalweg_core::{Error, Result};
use thalweg_objects::testing::deltalake;

const FOREIGN: &str = include_str!("foreign.py");

/// A Python that has the libraries.
#[derive(Debug, Clone)]
pub(crate) struct Python(PathBuf);

impl Python {
    /// The one in the user's cache, made at the first time.
    pub(crate) fn find() -> Result<Self> {
        let found = deltalake().map(Self);
        found.map_err(|why| {
            Error::config(format!("the oracle needs python3 with venv, and pip: {why}"))
        })
    }

    /// Runs a script to its end; its output. Fails with the end of what it said.
    pub(crate) fn run(&self, script: &str, args: &[&str]) -> Result<String> {
        let output = Command::new(&self.0).args(["-c", script]).args(args).output();
        let output = output.map_err(|e| Error::config("python does not run").with_source(e))?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(told);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().unwrap_or("nothing").to_owned();
        Err(Error::transient(format!("python: {last}")))
    }

    /// Does one thing (`optimize`, `vacuum`, `column`) to a table; how many files were merged or deleted, or columns added.
    pub(crate) fn disturb(&self, table: &Path, what: &str) -> Result<u64> {
        let table = table.display().to_string();
        let told = self.run(FOREIGN, &[&table, what])?;
        told.trim().parse().map_err(|_| Error::internal("the other writer did not say what it did"))
    }
}
