//! What asks a process in the foreground to end.

/// Ctrl-C, and SIGTERM, by which service managers and containers end a process.
#[derive(Debug)]
pub struct Signals {
    /// Of each kind what has come since is kept. Empty where none can be listened for.
    #[cfg(unix)]
    streams: Option<[tokio::signal::unix::Signal; 2]>,
}

impl Signals {
    /// Listens from now on. Wants a tokio runtime with I/O.
    #[must_use]
    pub fn new() -> Self {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let listen =
                || Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]);
            let streams: std::io::Result<_> = listen();
            Self { streams: streams.ok() }
        }
        #[cfg(not(unix))]
        Self {}
    }

    /// Waits for the next one. It may be given up and called again, in a loop of `select!` say.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        if let Some([interrupt, terminate]) = &mut self.streams {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
        drop(tokio::signal::ctrl_c().await);
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self::new()
    }
}
