//! Logs go to standard error, so that standard output stays clean for summaries and data.
//!
//! Libraries may quote what they work on, a row say. So only our own events are shown, and of a panic its place, not
//! its message.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;

use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sets the process's log output: `error` when quiet, else `info`; `THALWEG_LOG` overrides both
/// (`THALWEG_LOG=thalweg_runtime=debug`). Panics are logged by their place alone. Only the first call sets the output.
pub fn init_logging(quiet: bool) {
    let default = if quiet { "error" } else { "info" };
    let filter = EnvFilter::try_from_env("THALWEG_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let ours = filter_fn(|metadata| metadata.target().starts_with("thalweg"));
    let subscriber = tracing_subscriber::registry().with(filter).with(ours).with(lines);
    // Only the first subscriber of a process counts.
    drop(subscriber.try_init());
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked; what it was part of fails");
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            tracing::error!("{trace}");
        }
    }));
}
