//! Who may read the files that a command makes: their owner alone, unless `THALWEG_UMASK` says so.

use std::ffi::OsStr;

use rustix::fs::{Mode, RawMode};
use rustix::process::umask;
use thalweg_core::{Error, Result};

/// The mask of permissions, in octal, in place of ours.
const VARIABLE: &str = "THALWEG_UMASK";

/// Sets the mask of the process, which is to come before its first thread and its first file.
///
/// # Errors
/// [`thalweg_core::ErrorKind::InvalidConfig`]: the variable holds no such mask.
pub(super) fn set() -> Result<()> {
    if let Some(wanted) = std::env::var_os(VARIABLE) {
        umask(parse(&wanted)?);
        return Ok(());
    }
    let ours = Mode::RWXG | Mode::RWXO;
    // What it takes away already stays away.
    let before = umask(ours);
    umask(before | ours);
    Ok(())
}

/// A mask that leaves the owner everything: the program reads and goes on with what it has written.
fn parse(text: &OsStr) -> Result<Mode> {
    let digits = text.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let mask = digits.and_then(|digits| RawMode::from_str_radix(digits, 8).ok());
    mask.filter(|mask| *mask <= 0o077).map(Mode::from_raw_mode).ok_or_else(|| {
        Error::config(format!("{VARIABLE} must be 000 to 077, in octal, such as 027"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_octal_and_leaves_the_owner_everything() {
        for (text, mask) in
            [("027", 0o027), ("27", 0o027), ("0077", 0o077), ("000", 0), ("0", 0), ("022", 0o022)]
        {
            assert_eq!(parse(OsStr::new(text)).unwrap().as_raw_mode(), mask, "{text}");
        }
        for text in ["", "0o27", "+27", "-1", "028", "100", "0777", "u=rwx", " 027", "99999999999"]
        {
            let error = parse(OsStr::new(text)).unwrap_err().to_string();
            assert!(error.contains("THALWEG_UMASK must be"), "{text}: {error}");
        }
    }
}
