//! The server: a thread of its own, and limits.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thalweg_core::{Result, error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

use super::address::Peer;
use super::wire::Wire;

/// What a client may ask of the server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more are closed at once. Default: 512.
    pub connections: usize,
    /// Bytes of a request's head. Default: 16 KiB.
    pub head: usize,
    /// Lines in it. Default: 64.
    pub headers: usize,
    /// How long a request's head may take to arrive, and a connection may be idle. Default: 30 s.
    pub head_timeout: Duration,
    /// How long a client may take nothing of what is sent to it. Default: 1 min.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head: 16 * 1024,
            headers: 64,
            head_timeout: Duration::from_secs(30),
            stalled: Duration::from_mins(1),
        }
    }
}

/// A running server; it ends when dropped. It waits for no client.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Serves `app` on `listener`, and runs `beside` on the same threads.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        listener: TcpListener,
        app: Router,
        limits: Limits,
        beside: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self> {
        let failed = |e| error::io("start the HTTP server", e);
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // One worker: it serves people. Reading tables happens on threads that come and go. Who reads a log blocks one of them
        // until others have read its files: whatever is served has fewer such readers at once than there are threads.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4)
            .thread_name("thalweg-http")
            .enable_all()
            .build()
            .map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                let beside = tokio::spawn(beside);
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, app, limits) => {}
                }
                beside.abort();
            });
            // A log that is being read just now would panic if its runtime went. The process is about to end.
            std::mem::forget(runtime);
        };
        let thread = std::thread::Builder::new()
            .name("thalweg-http".to_owned())
            .spawn(serve)
            .map_err(failed)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it ends, which it does not by itself.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it was logged and concerns nobody else.
            drop(thread.join());
        }
    }
}

async fn accept(listener: TcpListener, app: Router, limits: Limits) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(problem) => {
            tracing::warn!(error = %problem, "the dashboard is not served");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(limits.connections));
    // Those that are open end with this future.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, from)) = listener.accept().await else {
            // No descriptors left, say: others may give some back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        drop(stream.set_nodelay(true));
        connections.spawn(serve(stream, Peer(from.ip()), app.clone(), limits, place));
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    peer: Peer,
    app: Router,
    limits: Limits,
    _place: OwnedSemaphorePermit,
) {
    let app = TowerToHyperService::new(app);
    let app = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        app.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.headers)
        .max_buf_size(limits.head)
        .serve_connection(TokioIo::new(Wire::new(stream, limits.stalled)), app);
    // Whatever a client did wrong was its own doing.
    drop(connection.await);
}
