//! How long a client may take nothing of what is sent to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

/// Watches the writes of one connection.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Ends when nothing has left for as long as `limit`.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, stalled: None }
    }

    /// What came of a write, or [`io::ErrorKind::TimedOut`] when nothing has left for too long.
    pub(crate) fn bound<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}
