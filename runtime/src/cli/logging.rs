//! Logs go to standard error, so that standard output stays clean for summaries and data.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Sets the process's log output: `warn` when quiet, else `info`; `THALWEG_LOG` overrides both
/// (`THALWEG_LOG=thalweg_runtime=debug`). A second call does nothing.
pub fn init_logging(quiet: bool) {
    let default = if quiet { "error" } else { "warn,thalweg=info,thalweg_runtime=info" };
    let filter = EnvFilter::try_from_env("THALWEG_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // Only the first subscriber of a process counts.
    drop(subscriber.try_init());
}
