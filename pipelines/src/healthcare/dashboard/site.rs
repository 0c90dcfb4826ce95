//! The routes of the dashboards. `docs/guide/dashboards.md` describes them for others.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use thalweg_connectors::delta::DeltaFollower;
use thalweg_core::error;
use thalweg_serving::http::{Board, Journal, LIVE, Routes, STATE, Shown, Visitor, live, state};
use tokio::time::Instant;

use super::answers::{Answers, COMMANDS};
use super::looks::{Looks, Sight};
use super::patients::{Patients, Reach};
use super::pipeline::Observed;
use super::row::{PatientId, Row};
use super::{assets, metrics};

/// Dashboards that may be open at once.
const STREAMS: usize = 256;

/// Each section, and the table that one must be allowed to read to see it.
const SECTIONS: &[(&str, &str)] = &[
    ("kpis", "gold_kpis"),
    ("types", "gold_vitals_by_minute"),
    ("categories", "gold_vitals_by_bp_category"),
    ("medications", "gold_medications"),
    ("alerts", "alerts_events"),
    ("checkpoints", "meta_checkpoints"),
    ("graph", "meta_checkpoints"),
    ("job", "meta_checkpoints"),
];

/// What visitors can do besides looking, and where it is written down that they looked.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    /// Takes commands about alerts; none: nobody reads them.
    pub answers: Option<Answers>,
    /// The audit log, if there is one.
    pub journal: Journal,
}

#[derive(Debug, Clone)]
struct Site {
    board: Arc<Board>,
    patients: Patients,
    job: Observed,
    answers: Option<Answers>,
    looks: Looks,
}

/// Pages and data over `board`.
pub fn site(board: &Arc<Board>, follower: DeltaFollower, job: Observed, desk: Desk) -> Routes {
    let shown = Shown::new(Arc::clone(board), SECTIONS, STREAMS);
    let Desk { answers, journal } = desk;
    let site = Site {
        board: Arc::clone(board),
        patients: Patients::new(follower.clone(), job.arrivals(follower)),
        job,
        answers: answers.clone(),
        looks: Looks::new(journal.clone()),
    };
    let (first, stream) = ((site.clone(), shown.clone()), (site.clone(), shown));
    let (who, patients, patient, counters) = (site.clone(), site.clone(), site.clone(), site);
    let routes = assets::add(Routes::default())
        .get("/api/me", async move |visitor| me(&who, &visitor))
        .get(STATE, async move |visitor| whole(first, visitor).await)
        .get(LIVE, async move |visitor, request| changes(stream, visitor, request).await)
        .get("/api/patients", async move |visitor, query| list(patients, visitor, query).await)
        .get("/api/patient/{id}", async move |visitor, id| one(patient, visitor, id).await)
        .get("/metrics", async move |visitor| scrape(&counters, &visitor));
    match answers {
        Some(answers) => {
            routes.post(COMMANDS, move |visitor, body| answers.take(journal, visitor, body))
        }
        None => routes,
    }
}

/// Who is signed in, which sections they may see, and whether alerts can be answered, by them.
fn me(site: &Site, visitor: &Extension<Visitor>) -> Response {
    let seen = SECTIONS.iter().filter(|(_, table)| visitor.may_read(table));
    let sections: Vec<&str> = seen.map(|(section, _)| *section).collect();
    let patients = visitor.may_read(Sight::Patients.table());
    let answers = site.answers.as_ref().map(|answers| answers.offer(visitor));
    Json(json!({
        "name": visitor.name(), "sections": sections, "patients": patients, "answers": answers,
    }))
    .into_response()
}

/// Everything, once.
async fn whole((site, shown): (Site, Shown), visitor: Extension<Visitor>) -> Response {
    match site.look_at_alerts(&visitor).await {
        Ok(()) => state(State(shown), visitor).await,
        Err(problem) => unwritten(&problem),
    }
}

/// Everything, and then what changes.
async fn changes(
    (site, shown): (Site, Shown),
    visitor: Extension<Visitor>,
    request: Request,
) -> Response {
    match site.look_at_alerts(&visitor).await {
        Ok(()) => live(State(shown), visitor, request).await,
        Err(problem) => unwritten(&problem),
    }
}

impl Site {
    /// Of what is on the board, alerts tell of patients: whose role has them looks at them, whatever page is open.
    async fn look_at_alerts(&self, visitor: &Visitor) -> thalweg_core::Result<()> {
        if visitor.may_read(Sight::Alerts.table()) {
            self.looks.note(visitor, Sight::Alerts, 0).await?;
        }
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
struct Search {
    #[serde(default)]
    begins: String,
}

async fn list(site: Site, visitor: Extension<Visitor>, Query(search): Query<Search>) -> Response {
    if !visitor.may_read(Sight::Patients.table()) {
        site.looks.note_refusal(&visitor, Sight::Patients).await;
        return forbidden();
    }
    let (patients, reach) = match site.patients.list(&search.begins).await {
        Ok(read) => read,
        Err(problem) => return unreadable(&problem),
    };
    match site.looks.note(&visitor, Sight::Patients, patients.len()).await {
        Ok(()) => Json(json!({ "patients": patients, "from": reach.from })).into_response(),
        Err(problem) => unwritten(&problem),
    }
}

/// The minutes of one patient, those that are not committed yet at the end.
#[derive(Debug, Serialize)]
struct Course {
    id: PatientId,
    rows: Vec<Row>,
    #[serde(flatten)]
    reach: Reach,
}

async fn one(site: Site, visitor: Extension<Visitor>, Path(patient): Path<i64>) -> Response {
    let sight = Sight::Patient(patient);
    if !visitor.may_read(sight.table()) {
        site.looks.note_refusal(&visitor, sight).await;
        return forbidden();
    }
    let (mut rows, reach) = match site.patients.rows(patient).await {
        Ok(read) => read,
        Err(problem) => return unreadable(&problem),
    };
    if let Some(tap) = site.job.tap() {
        rows.extend(tap.patient(patient, reach.committed, Instant::now()));
    }
    match site.looks.note(&visitor, sight, rows.len()).await {
        Ok(()) => Json(Course { id: PatientId(patient), rows, reach }).into_response(),
        Err(problem) => unwritten(&problem),
    }
}

fn scrape(site: &Site, visitor: &Extension<Visitor>) -> Response {
    if !visitor.may_read("meta_checkpoints") {
        return forbidden();
    }
    let readers = *site.board.readers().borrow();
    let text = metrics::text(site.job.metrics(), readers, &site.job.unusable());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn forbidden() -> Response {
    (StatusCode::FORBIDDEN, "your role does not include this table\n").into_response()
}

/// Who looks is written down first, or does not look.
fn unwritten(problem: &thalweg_core::Error) -> Response {
    tracing::warn!(error = error::chain(problem), "patients and alerts are not shown");
    let text = "the audit log cannot be written: no patient and no alert is shown\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// What went wrong is for the log of who runs the program.
fn unreadable(problem: &thalweg_core::Error) -> Response {
    tracing::warn!(error = error::chain(problem), "a request could not be answered");
    (StatusCode::INTERNAL_SERVER_ERROR, "the tables cannot be read just now\n").into_response()
}
