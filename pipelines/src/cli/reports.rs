//! Reports as files: written beside their name and renamed, so that a reader never meets half of one.

use std::path::{Path, PathBuf};

use serde::Serialize;
use thalweg_core::{Error, Result, error};

/// Writes `NAME.json` and `NAME.html` into the folder, which is made, and returns the path of the page.
pub(super) fn write(
    out: &Path,
    name: &str,
    report: &impl Serialize,
    html: &str,
) -> Result<PathBuf> {
    let json = serde_json::to_string_pretty(report)
        .map_err(|_| Error::internal("a report cannot be written down"))?;
    std::fs::create_dir_all(out).map_err(|e| error::io(format!("make {}", out.display()), e))?;
    replace(&out.join(format!("{name}.json")), &(json + "\n"))?;
    let page = out.join(format!("{name}.html"));
    replace(&page, html)?;
    Ok(page)
}

fn replace(path: &Path, text: &str) -> Result<()> {
    let mut half = path.as_os_str().to_owned();
    half.push(format!(".{}.tmp", std::process::id()));
    std::fs::write(&half, text)
        .and_then(|()| std::fs::rename(&half, path))
        .map_err(|e| error::io(format!("write {}", path.display()), e))
}
