//! Running a planned query: rows are computed and encoded on the threads of queries and wait in a short queue for the
//! connection.
//!
//! Nothing leaves before it is written down. A short answer leaves when it is complete, behind one entry that tells how it
//! ended; of a longer one it is written down that it has begun before its first rows leave, and how it ended before its end.

use std::sync::Arc;
use std::time::Duration;

use arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execute_stream;
use futures::{Stream, StreamExt, stream};
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldInfo, QueryResponse};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::data::DataRow;
use pgwire::types::format::FormatOptions;
use tokio::sync::{mpsc, oneshot, watch};

use super::failure::Told;
use super::query::Query;
use super::session::{Session, called_off, internal, timed_out};
use crate::audit::{Action, Event, Outcome};

/// Batches that wait for a slow client; then the query waits.
const WAITING: usize = 2;
/// A network's packets are small: so are the pieces of an answer.
const ROWS_AT_ONCE: usize = 1024;

/// What comes out of the queue. Without an end the query has died, and what came is not all.
enum Piece {
    Rows(Vec<DataRow>),
    Failed(Told),
    End,
}

/// Begins to run `query`, whose text is `text`.
pub(super) async fn run(
    session: &Arc<Session>,
    query: Query,
    text: &str,
    format: &Format,
    options: FormatOptions,
) -> Result<QueryResponse, Told> {
    let engine = &session.engine;
    let fields = fields(&query, format, options)?;
    let mut event = session.event(Action::Query, Outcome::Done);
    "select".clone_into(&mut event.kind);
    event.tables.clone_from(&query.tables);
    event.columns = fields.len() as u64;
    event.subject = engine.parts.audit.digest(text);
    let (rows, waiting) = mpsc::channel(WAITING);
    let (begun, begin) = oneshot::channel();
    // The clock runs on the connections' thread: a query that computes leaves its own threads no time for timers.
    let (ring, expired) = oneshot::channel();
    let limit = engine.timeout(session);
    drop(tokio::spawn(time_is_up(limit, ring)));
    let work = Work {
        session: Arc::clone(session),
        cancelled: session.cancelled(),
        expired,
        began: engine.clock().monotonic(),
        fields: Arc::clone(&fields),
        event,
        held: Vec::new(),
        announced: false,
        rows,
    };
    drop(engine.queries.spawn(Box::pin(work.run(query, begun))));
    begin.await.unwrap_or_else(|_| Err(internal()))?;
    Ok(QueryResponse::new(fields, flat(waiting)))
}

/// How the columns are sent.
pub(super) fn fields(
    query: &Query,
    format: &Format,
    options: FormatOptions,
) -> Result<Arc<Vec<FieldInfo>>, Told> {
    let schema = query.schema();
    check_format(format, schema.fields().len())?;
    arrow_schema_to_pg_fields(&schema, format, Some(Arc::new(options)))
        .map(Arc::new)
        .map_err(|_| Told::new("0A000", "a column has a type that the protocol cannot carry"))
}

/// One format for all columns, or one for each.
pub(super) fn check_format(format: &Format, columns: usize) -> Result<(), Told> {
    match format {
        Format::Individual(formats) if formats.len() != columns => {
            Err(Told::new("08P01", "there are more or fewer formats than columns"))
        }
        _ => Ok(()),
    }
}

fn flat(waiting: mpsc::Receiver<Piece>) -> impl Stream<Item = PgWireResult<DataRow>> + Send {
    let pieces = stream::unfold(Some(waiting), |waiting| async move {
        let mut waiting = waiting?;
        match waiting.recv().await {
            Some(Piece::Rows(rows)) => Some((Ok(rows), Some(waiting))),
            Some(Piece::End) => None,
            Some(Piece::Failed(told)) => Some((Err(told), None)),
            None => Some((Err(internal()), None)),
        }
    });
    pieces.flat_map(|rows: Result<Vec<DataRow>, Told>| {
        stream::iter(match rows {
            Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(told) => vec![Err(told.into())],
        })
    })
}

/// Its end is the ringing: once the time is over, or when the query has ended and nobody listens any more.
async fn time_is_up(limit: Duration, mut ring: oneshot::Sender<()>) {
    tokio::select! {
        () = tokio::time::sleep(limit) => {}
        () = ring.closed() => {}
    }
}

struct Work {
    session: Arc<Session>,
    cancelled: watch::Receiver<u64>,
    expired: oneshot::Receiver<()>,
    began: Duration,
    fields: Arc<Vec<FieldInfo>>,
    event: Event,
    /// The first rows, as long as they may be all.
    held: Vec<DataRow>,
    /// Whether it is written down that rows leave.
    announced: bool,
    rows: mpsc::Sender<Piece>,
}

/// How a query ended that did not end well.
enum Ended {
    Failed(Told),
    /// Nobody is there to be told.
    Gone,
}

impl Work {
    async fn run(mut self, query: Query, begun: oneshot::Sender<Result<(), Told>>) {
        match Box::pin(self.begin(query)).await {
            Err(told) => {
                let audited = self.end(Some(&told)).await;
                drop(begun.send(Err(audited.err().unwrap_or(told))));
            }
            Ok(batches) => {
                // Whoever does not wait any more is noticed at the first rows.
                drop(begun.send(Ok(())));
                let ended = Box::pin(self.stream(batches)).await;
                if ended.is_err() && !self.announced {
                    self.event.rows = 0;
                }
                let last = match ended {
                    Ok(()) => match self.end(None).await {
                        Ok(()) => {
                            let rows = std::mem::take(&mut self.held);
                            drop(self.rows.send(Piece::Rows(rows)).await);
                            Piece::End
                        }
                        Err(told) => Piece::Failed(told),
                    },
                    Err(Ended::Gone) => {
                        self.event.outcome = Outcome::Cancelled;
                        drop(self.audit().await);
                        return;
                    }
                    Err(Ended::Failed(told)) => {
                        Piece::Failed(self.end(Some(&told)).await.err().unwrap_or(told))
                    }
                };
                drop(self.rows.send(last).await);
            }
        }
    }

    /// Writes down how it ended.
    async fn end(&mut self, told: Option<&Told>) -> Result<(), Told> {
        self.event.outcome = told.map_or(Outcome::Done, outcome_of);
        told.map_or("", |told| told.code).clone_into(&mut self.event.reason);
        self.audit().await
    }

    /// The statement's entry.
    async fn audit(&mut self) -> Result<(), Told> {
        let engine = Arc::clone(&self.session.engine);
        let took = engine.clock().monotonic().saturating_sub(self.began);
        self.event.millis = took.as_millis() as u64;
        engine.tell(self.event.clone()).await
    }

    async fn begin(&mut self, query: Query) -> Result<SendableRecordBatchStream, Told> {
        let planning = async {
            let plan = query.state.create_physical_plan(&query.plan).await;
            let plan = plan.map_err(|error| Told::typing(&error))?;
            execute_stream(plan, query.state.task_ctx()).map_err(|error| Told::execution(&error))
        };
        tokio::select! {
            done = planning => done,
            _ = &mut self.expired => Err(timed_out()),
            _ = self.cancelled.changed() => Err(called_off()),
        }
    }

    async fn stream(&mut self, mut batches: SendableRecordBatchStream) -> Result<(), Ended> {
        let most = self.session.engine.limits.rows;
        loop {
            let next = tokio::select! {
                next = batches.next() => next,
                _ = &mut self.expired => return Err(Ended::Failed(timed_out())),
                _ = self.cancelled.changed() => return Err(Ended::Failed(called_off())),
                () = self.rows.closed() => return Err(Ended::Gone),
            };
            let Some(batch) = next else { return Ok(()) };
            let batch = batch.map_err(|error| Ended::Failed(Told::execution(&error)))?;
            if self.event.rows + batch.num_rows() as u64 > most {
                return Err(Ended::Failed(Told::new(
                    "54000",
                    format!("the query has more than {most} rows: add a LIMIT or a condition"),
                )));
            }
            let mut rows = encode_recordbatch(Arc::clone(&self.fields), batch);
            loop {
                let piece: Result<Vec<DataRow>, PgWireError> =
                    rows.by_ref().take(ROWS_AT_ONCE).collect();
                let piece = piece.map_err(|_| {
                    Ended::Failed(Told::new(
                        "22000",
                        "a value cannot be sent in the format asked for",
                    ))
                })?;
                if piece.is_empty() {
                    break;
                }
                self.event.rows += piece.len() as u64;
                self.hand(piece).await?;
            }
        }
    }

    /// Hands rows over, once they cannot be all or are too many to be held.
    async fn hand(&mut self, mut rows: Vec<DataRow>) -> Result<(), Ended> {
        if !self.announced {
            self.held.append(&mut rows);
            if self.held.len() <= ROWS_AT_ONCE {
                return Ok(());
            }
            self.event.outcome = Outcome::Begun;
            self.audit().await.map_err(Ended::Failed)?;
            self.announced = true;
            rows = std::mem::take(&mut self.held);
        }
        let sent = tokio::select! {
            sent = self.rows.send(Piece::Rows(rows)) => sent,
            _ = &mut self.expired => return Err(Ended::Failed(timed_out())),
            _ = self.cancelled.changed() => return Err(Ended::Failed(called_off())),
        };
        sent.map_err(|_| Ended::Gone)
    }
}

pub(super) fn outcome_of(told: &Told) -> Outcome {
    match told.code {
        "57014" if *told == called_off() => Outcome::Cancelled,
        "57014" | "54000" | "53200" => Outcome::Limited,
        "25006" | "28000" => Outcome::Refused,
        _ => Outcome::Failed,
    }
}
