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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn who_takes_nothing_is_given_up_when_the_time_is_over() {
        let mut patience = Patience::new(Duration::ZERO);
        let ended = runtime().block_on(poll_fn(|c| patience.bound::<()>(c, Poll::Pending)));
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn who_takes_something_has_all_the_time_again() {
        let mut patience = Patience::new(Duration::from_hours(1));
        runtime().block_on(poll_fn(|c| {
            assert!(patience.bound::<()>(c, Poll::Pending).is_pending());
            assert!(patience.stalled.is_some());
            assert!(patience.bound(c, Poll::Ready(Ok(1))).is_ready());
            assert!(patience.stalled.is_none());
            Poll::Ready(())
        }));
    }
}
