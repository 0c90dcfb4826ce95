//! The server: a thread for connections, threads for queries, threads for what queries wait for.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::TryRngCore;
use rand::rngs::OsRng;
use thalweg_core::{Error, Result, error};
use thalweg_objects::Access;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};

use super::connection::{Desk, turn_away};
use super::engine::{Engine, Parts};
use super::login::{Login, Sessions};
use super::outside::Outside;
use super::tls;
use crate::catalog::Catalog;
use crate::network::network;
use crate::sql::{Served, SqlSettings};

/// A statement may be nested as deeply as its length allows. Only what is used of it is memory.
const STACK: usize = 128 << 20;

/// Threads for what blocks: reading a log waits on one of them for what is read. What it waits for has others (`Elsewhere`):
/// were they the same, as many readers as there are threads would wait for ever.
const BLOCKING: usize = 16;

/// How often a server that stops looks for entries of the audit log.
const LOOK: Duration = Duration::from_millis(5);

/// A thread of queries steps back for all that is more urgent on this machine, such as the job whose tables it reads: the
/// next answer may wait, the next checkpoint had better not.
fn step_back() {
    // Where a priority is that of the whole process, it stays as it is.
    #[cfg(target_os = "linux")]
    if let Err(kept) = rustix::process::nice(19) {
        tracing::debug!(error = %kept, "threads of queries keep their priority");
    }
}

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct SqlServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    connections: Option<JoinHandle<()>>,
    /// Of queries, and of what they wait for.
    queries: Option<(Runtime, Runtime)>,
    /// Whoever serves or runs a query has it.
    engine: Weak<Engine>,
    /// How long it waits for them when it stops.
    ending: Duration,
}

impl SqlServer {
    /// Begins to serve.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: the address is not safe or taken, or TLS is configured and broken.
    pub fn start(served: &Served, settings: &SqlSettings) -> Result<Self> {
        let listen = &settings.listen;
        listen.check()?;
        let acceptor = listen.tls.as_ref().map(tls::acceptor).transpose()?;
        let failed = |e| error::io("start the threads of SQL", e);
        let queries = Builder::new_multi_thread()
            .worker_threads(settings.limits.threads)
            .thread_name("sql-query")
            .thread_stack_size(STACK)
            .max_blocking_threads(BLOCKING)
            .on_thread_start(step_back)
            .enable_all()
            .build()
            .map_err(failed)?;
        let storage = Builder::new_multi_thread()
            .worker_threads(settings.limits.threads)
            .thread_name("sql-storage")
            .max_blocking_threads(BLOCKING)
            .on_thread_start(step_back)
            .enable_all()
            .build()
            .map_err(failed)?;
        let connections = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let names = served.tables.iter().map(|(name, path)| (name.as_str(), path.as_str()));
        let access = Access::from_environment();
        let catalog = Catalog::new(&served.place, &access, names, storage.handle().clone());
        let parts = Parts {
            catalog: Arc::new(catalog?),
            roles: Arc::clone(&served.roles),
            directory: Arc::clone(&served.directory),
            audit: Arc::clone(&served.audit),
            clock: Arc::clone(&served.clock),
        };
        let handle = queries.handle().clone();
        let engine = Arc::new(Engine::new(parts, &settings.database, settings.limits, handle)?);
        let weak = Arc::downgrade(&engine);
        let mut secret = [0; 32];
        OsRng
            .try_fill_bytes(&mut secret)
            .map_err(|_| Error::transient("the system gives no random bytes"))?;
        let sessions = Sessions::default();
        let desk = Desk {
            login: Arc::new(Login::new(engine, acceptor.is_some(), secret, sessions.clone())),
            sessions: Arc::new(sessions),
            tls: acceptor,
            patience: settings.limits.login,
            idle: settings.limits.idle,
            stalled: settings.limits.stalled,
        };
        let listener = connections.block_on(TcpListener::bind(listen.address)).map_err(|_| {
            Error::config(format!(
                "nothing can listen on {}: another process may, or the address is not this machine's",
                listen.address
            ))
        })?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let most = settings.limits.connections;
        let thread = std::thread::Builder::new()
            .name("sql-connections".to_owned())
            .stack_size(STACK)
            .spawn(move || connections.block_on(accept(listener, desk, most, stopped)))
            .map_err(failed)?;
        Ok(Self {
            address,
            stop,
            connections: Some(thread),
            queries: Some((queries, storage)),
            engine: weak,
            ending: settings.limits.ending,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Until it is told to stop. Connections end with the runtime.
async fn accept(
    listener: TcpListener,
    desk: Desk,
    most: usize,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(most));
    let mut outside = Outside::new(most);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(kind = ?error.kind(), "a connection could not be accepted");
                // Files may have run out: they come back when connections end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if places.available_permits() == 0 && !outside.make_room() {
            turn_away(stream, "there are too many connections: close some, or try again later");
            continue;
        }
        // Where room was made, it is free in a moment.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (desk, network) = (desk.clone(), Arc::new(network(from.ip())));
        let until_in = Arc::clone(&network);
        let connection = tokio::spawn(Box::pin(async move {
            // A client that goes away is no concern of the server's.
            drop(desk.serve(stream, from, until_in).await);
            drop(place);
        }));
        outside.add(&network, connection.abort_handle());
    }
}

impl Drop for SqlServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.connections.take() {
            // It cannot have panicked in a way that matters now.
            drop(thread.join());
        }
        if let Some((queries, storage)) = self.queries.take() {
            // Queries whose clients are gone write down how they ended: each has the engine until then.
            for _ in 0..self.ending.as_millis() / LOOK.as_millis() {
                if self.engine.strong_count() == 0 {
                    break;
                }
                std::thread::park_timeout(LOOK);
            }
            queries.shutdown_background();
            storage.shutdown_background();
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_queries_steps_back_and_takes_nobody_along() {
        let own = rustix::process::getpriority_process(None).unwrap();
        let stepped = std::thread::spawn(|| {
            step_back();
            rustix::process::getpriority_process(None).unwrap()
        });
        assert_eq!(stepped.join().unwrap(), (own + 19).min(19));
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), own);
    }
}
