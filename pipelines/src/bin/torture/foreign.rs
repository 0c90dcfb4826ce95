//! Another Delta writer: Python's `deltalake`, which compacts, vacuums and adds columns while the job commits.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thalweg_core::{Error, Result};

use crate::told::note;

const FOREIGN: &str = include_str!("foreign.py");
/// Pinned: the oracle reads tables with it.
const REQUIREMENTS: [&str; 2] = ["deltalake==1.6.6", "pyarrow"];

/// A Python that has the libraries.
#[derive(Debug, Clone)]
pub(crate) struct Python(PathBuf);

impl Python {
    /// The one in the user's cache, made at the first time.
    pub(crate) fn find() -> Result<Self> {
        let cache = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let folder = cache.join(".cache/thalweg/torture-python");
        let python = folder.join("bin/python");
        let works = |python: &Path| {
            let mut check = Command::new(python);
            check.args(["-c", "import deltalake, pyarrow"]);
            check.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        };
        if works(&python) {
            return Ok(Self(python));
        }
        note(&format!("installing {} for the oracle", REQUIREMENTS.join(" and ")));
        let ran = |command: &mut Command| {
            command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let made = ran(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            && ran(Command::new(&python).args(["-m", "pip", "install", "-q"]).args(REQUIREMENTS));
        if made && works(&python) {
            return Ok(Self(python));
        }
        Err(Error::config(format!(
            "the oracle needs python3 with venv and {}: install them, or make {} by hand",
            REQUIREMENTS.join(", "),
            folder.display()
        )))
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
