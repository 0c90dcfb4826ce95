//! Work beside whoever commits. Delta's kernel waits for threads of its own while it reads and writes.

use thalweg_core::{Error, Result};
use tokio::runtime::Handle;

/// Runs blocking work on the log of the table `name`.
pub(crate) async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    #[cfg(any(test, feature = "test-util"))]
    if let Some(steps) = super::in_place::steps() {
        steps.begin().await;
        let done = work();
        steps.end();
        return Ok(done);
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::internal(format!("a task on the log of table `{name}` ended early")))
}

/// Lets `work` run by itself: on `runtime`, or on the one that commits.
pub(crate) fn spawn(runtime: Option<&Handle>, work: impl Future<Output = ()> + Send + 'static) {
    #[cfg(any(test, feature = "test-util"))]
    if super::in_place::steps().is_some() {
        return drop(tokio::task::spawn_local(work));
    }
    match runtime {
        Some(runtime) => drop(runtime.spawn(work)),
        None => drop(tokio::spawn(work)),
    }
}
