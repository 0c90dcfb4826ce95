//! What both targets need: time that hurries, and a process that ends when our own code panics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thalweg_core::time::Clock;

/// Every look at it is a second later, so that no rate limit answers instead of what is behind it.
#[derive(Debug, Default)]
pub(crate) struct Hurried(AtomicU64);

impl Clock for Hurried {
    fn now_micros(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Where code of others is compiled from: registries, other repositories, the standard library.
const OTHERS: [&str; 4] = ["/registry/", "/git/checkouts/", "/rustc/", "/rustlib/"];

/// A server's threads catch panics. One of ours, or of the harness, is a finding all the same; what a library panics about
/// is told to the client as an error, and the server goes on.
pub(crate) fn panics_are_findings() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(std::panic::Location::file).unwrap_or_default();
        if !OTHERS.iter().any(|others| place.contains(others)) {
            eprintln!("{panic}");
            std::process::abort();
        }
    }));
}
