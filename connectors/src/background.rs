//! Work beside whoever waits for it. Delta's kernel waits for threads of its own while it reads and writes, and librdkafka
//! for brokers.

use thalweg_core::{Error, Result};

/// Runs blocking work; `what` is it, should it panic.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    #[cfg(any(test, feature = "test-util"))]
    if let Some(steps) = crate::in_place::steps() {
        steps.begin().await;
        let done = work();
        steps.end();
        return Ok(done);
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| ended_early(what))
}

/// The same of work that waits by its own clock: for brokers that do not answer, say.
#[cfg(feature = "kafka")]
pub(crate) async fn waiting<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    #[cfg(any(test, feature = "test-util"))]
    if let Some(steps) = crate::in_place::steps() {
        let (tell, done) = tokio::sync::oneshot::channel();
        steps.beside(Box::new(move || drop(tell.send(work())))).await;
        return done.await.map_err(|_| ended_early(what));
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| ended_early(what))
}

fn ended_early(what: &str) -> Error {
    Error::internal(format!("{what} ended early"))
}

/// Lets `work` run by itself: on `runtime`, or on the one that commits.
#[cfg(feature = "delta")]
pub(crate) fn spawn(
    runtime: Option<&tokio::runtime::Handle>,
    work: impl Future<Output = ()> + Send + 'static,
) {
    #[cfg(any(test, feature = "test-util"))]
    if crate::in_place::steps().is_some() {
        return drop(tokio::task::spawn_local(work));
    }
    match runtime {
        Some(runtime) => drop(runtime.spawn(work)),
        None => drop(tokio::spawn(work)),
    }
}
