//! A browser for tests of pages: Chromium from the system's packages, driven by Playwright from `npm`.
//!
//! Environment: `THALWEG_REQUIRE_BROWSER=1` fails a test rather than skip it when there is none;
//! `THALWEG_EMULATORS_CACHE` is where Playwright is installed, by default `~/.cache/thalweg/emulators`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::install;

/// What a test of pages needs.
#[derive(Debug)]
pub struct Browser {
    modules: PathBuf,
    chromium: PathBuf,
}

impl Browser {
    /// A browser, or `None` with a loud word.
    pub fn find() -> Option<Self> {
        match Self::install() {
            Ok(browser) => Some(browser),
            Err(why) if std::env::var_os("THALWEG_REQUIRE_BROWSER").is_some_and(|v| v == "1") => {
                panic!("no browser, though THALWEG_REQUIRE_BROWSER=1: {why}")
            }
            Err(why) => {
                eprintln!("\n==== SKIPPED: no browser: {why} ====\n");
                None
            }
        }
    }

    fn install() -> Result<Self, String> {
        let chromium = if let Some(found) = chromium() {
            found
        } else {
            install::chromium()?;
            chromium().ok_or("chromium is not on the path after its installation")?
        };
        Ok(Self { modules: install::playwright()?, chromium })
    }

    /// `node SCRIPT`, with `playwright-core` and `axe-core` in reach and the browser's path in `CHROMIUM`.
    pub fn script(&self, script: &Path) -> Command {
        let mut node = Command::new("node");
        node.arg(script).env("MODULES", &self.modules).env("CHROMIUM", &self.chromium);
        node
    }
}

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut all =
        std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    all.find(|program| program.is_file())
}
