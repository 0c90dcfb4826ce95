//! Every route, and what is put on the board beside tables that nobody can read.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use thalweg_connectors::delta::DeltaFollower;
use thalweg_core::time::Clock;
use thalweg_objects::{Access, Place};
use thalweg_pipelines::healthcare::dashboard::{Desk, Observed, feed::feed, site, tap::Tap};
use thalweg_runtime::JobMetrics;
use thalweg_serving::http::{Board, Gate, HttpServer, Limits, Visitor};

use super::support::serving::{cookie, request};
use super::{PATIENCE, tables};

/// A clock by which a second passes with each look: no guess has to wait.
#[derive(Debug, Default)]
struct Hurried(AtomicU64);

impl Clock for Hurried {
    fn now_micros(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[test]
fn every_route_asks_who_it_is_and_serves_who_may() {
    let folder = tempfile::tempdir().unwrap();
    let data = Place::Folder(tables(folder.path(), 20_000));
    let follower = DeltaFollower::at(&data, &Access::from_environment()).unwrap();
    let (board, job) = (Arc::new(Board::default()), Observed::default());
    let routes = site(&board, follower.clone(), job.clone(), Desk::default());
    let listed: Vec<_> = routes.list().to_vec();
    assert!(listed.len() > 20, "pages, files and data: {listed:?}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = Gate::new(Arc::new(()), 1, Arc::new(Hurried::default()));
    let link = |tables: &'static [&str]| {
        let secret = gate.link(Visitor::new("x", "x", move |table| tables.contains(&table)));
        format!("/?token={secret}")
    };
    let all = link(&["gold_kpis", "gold_patient_vitals", "meta_checkpoints"]);
    let app = routes.behind(&gate);
    let feeding = feed(Arc::clone(&board), follower, job, false);
    let server = HttpServer::start(listener, app, Limits::default(), feeding).unwrap();
    // A first look waits for the tables, and not for ever.
    let reading = board.read();
    let deadline = Instant::now() + PATIENCE;
    while !*board.ready().borrow() {
        assert!(Instant::now() < deadline, "the tables are not read");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let everything = cookie(server.address(), &all);
    let nothing = cookie(server.address(), &link(&[]));
    for (method, path) in listed {
        let path = path.replace("{id}", "1001");
        let ask = |cookie: &str| request(server.address(), method.as_str(), &path, cookie);
        assert_eq!(ask("").0, 401, "{path}");
        assert_eq!(ask("Authorization: Bearer guess\r\n").0, 401, "{path}");
        assert_eq!(ask(&everything).0, 200, "{path}");
        let guarded = ["/api/patients", "/api/patient/1001", "/metrics"].contains(&path.as_str());
        assert_eq!(ask(&nothing).0, if guarded { 403 } else { 200 }, "{path}");
    }
    let (_, state) = request(server.address(), "GET", "/api/state", &everything);
    assert!(state.contains("\"kpis\":[{") && !state.contains("\"types\""), "{state}");
    let (_, patient) = request(server.address(), "GET", "/api/patient/1001", &everything);
    assert!(patient.contains("{\"id\":\"1001\",\"rows\":[{"), "{patient}");
    let (_, state) = request(server.address(), "GET", "/api/state", &nothing);
    assert!(state.ends_with("\"sections\":{}}"), "{state}");
    drop(reading);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_live_waits_for_no_table() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody can read this log: it is tried again, more and more seldom.
    let log = folder.path().join("meta/checkpoints/_delta_log");
    fs::create_dir_all(&log).unwrap();
    fs::write(log.join("00000000000000000000.json"), "{").unwrap();
    let data = Place::Folder(folder.path().to_owned());
    let follower = DeltaFollower::at(&data, &Access::from_environment()).unwrap();
    let (board, metrics) = (Arc::new(Board::default()), Arc::new(JobMetrics::default()));
    let job = Observed::default().running(&metrics, &Tap::new(Duration::from_mins(1)));
    let reading = board.read();
    let mut changes = board.changes();
    let feeding = tokio::spawn(feed(Arc::clone(&board), follower, job, false));
    let looks = async {
        // The tables are looked at fewer times than that in all the time that this has.
        for n in 1..=26 {
            metrics.checkpoint.store(n, Ordering::Relaxed);
            let told = format!("\"checkpoint\":{n},");
            while !board.message(None, &["job"]).0.contains(&told) {
                changes.changed().await.unwrap();
            }
        }
    };
    let looked = tokio::time::timeout(PATIENCE, looks).await;
    assert!(looked.is_ok(), "what is live waits for the tables");
    assert!(board.is_stale(), "the tables were read");
    feeding.abort();
    drop(reading);
}
