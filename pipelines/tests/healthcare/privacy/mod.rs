//! No direct identity value reaches a disk, a log, an error, or an answer to anybody in any role.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod at_rest;
mod served;

/// Parts of the made-up identities that no mask lets through.
const SECRETS: [&str; 6] = ["Quimby", "123-45-", "867-1", "1961-07", "Evergreen", "MA 02118"];

/// Whether `text` is somewhere in `bytes`.
fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
