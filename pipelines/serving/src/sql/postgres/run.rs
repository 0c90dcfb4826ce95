//! Running a planned query: rows are computed and encoded on the threads of queries and wait in a short queue for the
//! connection.
//!
//! Nothing leaves before it is written down. A short answer leaves when it is complete, behind one entry that tells how it
//! ended; of a longer one it is written down that it has begun before its first rows leave, and how it ended before its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arrow_pg::datatypes::arrow_schema_to_pg_fields;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execute_stream;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldInfo, QueryResponse};
use pgwire::error::PgWireResult;
use pgwire::messages::data::DataRow;
use pgwire::types::format::FormatOptions;
use tokio::sync::{mpsc, oneshot};

use super::answer::note_of;
use super::demand::{Demand, Piece, demand, rows, stopped};
use super::failure::Told;
use super::query::Query;
use super::rows::{encoded, is_writable};
use super::session::{Session, called_off, internal};
use crate::audit::{Action, Event, Outcome};

/// A network's packets are small: so are the pieces of an answer.
const ROWS_AT_ONCE: usize = 1024;
/// However large the rows are. A piece has one row at least.
const BYTES_AT_ONCE: usize = 256 << 10;

/// When a query begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    /// When the answers before it have been read, with which it was asked for.
    Behind,
}

/// Runs `query`, whose text is `text`, when it is its turn.
pub(super) async fn run(
    session: &Arc<Session>,
    query: Query,
    text: &str,
    format: &Format,
    options: FormatOptions,
    turn: Turn,
) -> Result<QueryResponse, Told> {
    let fields = fields(&query.schema(), format, options)?;
    let subject = session.engine.parts.audit.digest(text);
    // What stands behind it in a text may set another one before its turn comes.
    let limit = session.engine.timeout(session);
    let all = all(Arc::clone(session), query, subject.clone(), Arc::clone(&fields), limit);
    let all = Box::pin(all);
    if turn == Turn::Now {
        return Ok(QueryResponse::new(fields, all.await?));
    }
    let session = Arc::clone(session);
    let later = async move {
        // What stands before it may have taken long.
        match session.still() {
            Ok(()) => all.await,
            Err(told) => Err(note_of(&session, subject, told).await),
        }
    };
    Ok(QueryResponse::new(fields, stream::once(later).try_flatten()))
}

/// Begins to run `query` for all its rows, within `limit`.
async fn all(
    session: Arc<Session>,
    query: Query,
    subject: String,
    fields: Arc<Vec<FieldInfo>>,
    limit: Duration,
) -> Result<impl Stream<Item = PgWireResult<DataRow>> + Send + 'static, Told> {
    let (all, pieces) = demand(&session, &fields, u64::MAX, limit);
    // Nobody will ask for more.
    let (_, more) = mpsc::channel(1);
    begin(&session, query, subject, all, more).await?;
    Ok(rows(pieces, u64::MAX, |_| ()))
}

/// Begins to run `query`, whose text has the digest `subject`, for what is demanded first; more is demanded by `more`.
pub(super) async fn begin(
    session: &Arc<Session>,
    query: Query,
    subject: String,
    demand: Demand,
    more: mpsc::Receiver<Demand>,
) -> Result<(), Told> {
    let engine = &session.engine;
    let mut event = session.event(Action::Query, Outcome::Done);
    "select".clone_into(&mut event.kind);
    event.tables.clone_from(&query.tables);
    event.columns = demand.fields.len() as u64;
    event.subject = subject;
    let (begun, begin) = oneshot::channel();
    let work = Work {
        session: Arc::clone(session),
        began: engine.clock().monotonic(),
        event,
        held: Vec::new(),
        announced: false,
        demand,
        more,
    };
    drop(engine.queries.spawn(Box::pin(work.run(query, begun))));
    begin.await.unwrap_or_else(|_| Err(internal()))
}

/// How columns are sent.
pub(super) fn fields(
    schema: &SchemaRef,
    format: &Format,
    options: FormatOptions,
) -> Result<Arc<Vec<FieldInfo>>, Told> {
    check_format(format, schema.fields().len())?;
    let unsent = || Told::new("0A000", "a column has a type that the protocol cannot carry");
    if !schema.fields().iter().all(|field| is_writable(field.data_type())) {
        return Err(unsent());
    }
    arrow_schema_to_pg_fields(schema, format, Some(Arc::new(options)))
        .map(Arc::new)
        .map_err(|_| unsent())
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

struct Work {
    session: Arc<Session>,
    began: Duration,
    event: Event,
    /// The first rows, as long as they may be all.
    held: Vec<DataRow>,
    /// Whether it is written down that rows leave.
    announced: bool,
    /// What is asked for now.
    demand: Demand,
    /// And then.
    more: mpsc::Receiver<Demand>,
}

/// How a query ended that did not end well.
enum Ended {
    Failed(Told),
    /// Nobody is there to be told.
    Gone,
}

impl Work {
    async fn run(mut self, query: Query, begun: oneshot::Sender<Result<(), Told>>) {
        // Whatever happens, it is written down.
        let began = AssertUnwindSafe(Box::pin(self.begin(query))).catch_unwind().await;
        match began.unwrap_or_else(|_| Err(internal())) {
            Err(told) => {
                let audited = self.end(Some(&told)).await;
                drop(begun.send(Err(audited.err().unwrap_or(told))));
            }
            Ok(batches) => {
                // Whoever does not wait any more is noticed at the first rows.
                drop(begun.send(Ok(())));
                let ended = AssertUnwindSafe(Box::pin(self.stream(batches))).catch_unwind().await;
                let ended = ended.unwrap_or_else(|_| Err(Ended::Failed(internal())));
                if ended.is_err() && !self.announced {
                    self.event.rows = 0;
                }
                let last = match ended {
                    Ok(()) => match self.end(None).await {
                        Ok(()) => {
                            let rows = std::mem::take(&mut self.held);
                            drop(self.demand.rows.send(Piece::Rows(rows)).await);
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
                drop(self.demand.rows.send(last).await);
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
            told = stopped(&mut self.demand.stop) => Err(told),
        }
    }

    /// Does what is asked for until there are no more rows.
    async fn stream(&mut self, mut batches: SendableRecordBatchStream) -> Result<(), Ended> {
        let mut wanted = self.demand.most;
        let mut kept: Option<RecordBatch> = None;
        loop {
            if wanted == 0 {
                self.rest().await?;
                wanted = self.demand.most;
            }
            let batch = match kept.take() {
                Some(batch) => batch,
                None => match self.next(&mut batches).await? {
                    Some(batch) => batch,
                    None => return Ok(()),
                },
            };
            let now = usize::try_from(wanted).unwrap_or(usize::MAX).min(batch.num_rows());
            if now < batch.num_rows() {
                kept = Some(batch.slice(now, batch.num_rows() - now));
            }
            self.send(batch.slice(0, now)).await?;
            wanted -= now as u64;
        }
    }

    /// Waits until more is asked for, which is no time of a statement's. A connection that is silent for as long ends, and
    /// so does this: whoever asks other things in the meantime may have forgotten it.
    async fn rest(&mut self) -> Result<(), Ended> {
        self.announce().await?;
        let longest = self.session.engine.limits.idle;
        self.demand.stop.close();
        let next = async {
            drop(self.demand.rows.send(Piece::Enough).await);
            self.more.recv().await
        };
        let asked = tokio::time::timeout(longest, next).await;
        self.demand = match asked {
            Ok(Some(demand)) => demand,
            Ok(None) => return Err(Ended::Gone),
            Err(_) => {
                // What has come at the last moment is done all the same.
                self.more.close();
                self.more.try_recv().map_err(|_| Ended::Failed(rested()))?
            }
        };
        Ok(())
    }

    async fn next(
        &mut self,
        batches: &mut SendableRecordBatchStream,
    ) -> Result<Option<RecordBatch>, Ended> {
        let next = tokio::select! {
            next = batches.next() => next,
            told = stopped(&mut self.demand.stop) => return Err(Ended::Failed(told)),
            () = self.demand.rows.closed() => return Err(Ended::Gone),
        };
        next.transpose().map_err(|error| Ended::Failed(Told::execution(&error)))
    }

    async fn send(&mut self, batch: RecordBatch) -> Result<(), Ended> {
        let most = self.session.engine.limits.rows;
        if self.event.rows + batch.num_rows() as u64 > most {
            return Err(Ended::Failed(Told::new(
                "54000",
                format!("the query has more than {most} rows: add a LIMIT or a condition"),
            )));
        }
        let unsent =
            || Ended::Failed(Told::new("22000", "a value cannot be sent in the format asked for"));
        let mut rows = encoded(&self.demand.fields, &batch).map_err(|_| unsent())?;
        loop {
            let piece = piece(&mut rows).map_err(|_| unsent())?;
            if piece.is_empty() {
                return Ok(());
            }
            self.event.rows += piece.len() as u64;
            self.hand(piece).await?;
        }
    }

    /// Hands rows over, once they cannot be all or are too many to be held.
    async fn hand(&mut self, mut rows: Vec<DataRow>) -> Result<(), Ended> {
        if self.announced {
            return self.pass(rows).await;
        }
        self.held.append(&mut rows);
        let bytes: usize = self.held.iter().map(|row| row.data.len()).sum();
        let is_long = self.held.len() > ROWS_AT_ONCE || bytes > BYTES_AT_ONCE;
        if is_long { self.announce().await } else { Ok(()) }
    }

    /// Writes down that rows leave, and lets those go that were held.
    async fn announce(&mut self) -> Result<(), Ended> {
        if self.announced {
            return Ok(());
        }
        self.event.outcome = Outcome::Begun;
        self.audit().await.map_err(Ended::Failed)?;
        self.announced = true;
        let rows = std::mem::take(&mut self.held);
        self.pass(rows).await
    }

    async fn pass(&mut self, rows: Vec<DataRow>) -> Result<(), Ended> {
        let sent = tokio::select! {
            sent = self.demand.rows.send(Piece::Rows(rows)) => sent,
            told = stopped(&mut self.demand.stop) => return Err(Ended::Failed(told)),
        };
        sent.map_err(|_| Ended::Gone)
    }
}

/// The next rows that leave together; none: there are no more.
fn piece(rows: &mut impl Iterator<Item = PgWireResult<DataRow>>) -> PgWireResult<Vec<DataRow>> {
    let (mut piece, mut bytes) = (Vec::new(), 0);
    while piece.len() < ROWS_AT_ONCE
        && bytes < BYTES_AT_ONCE
        && let Some(row) = rows.next()
    {
        let row = row?;
        bytes += row.data.len();
        piece.push(row);
    }
    Ok(piece)
}

/// A cursor that was forgotten.
pub(super) fn rested() -> Told {
    Told::new(
        "57014",
        "the cursor was not fetched from for too long: CLOSE it and DECLARE it again",
    )
}

pub(super) fn outcome_of(told: &Told) -> Outcome {
    match told.code {
        "57014" if *told == called_off() => Outcome::Cancelled,
        "57014" | "54000" | "53200" => Outcome::Limited,
        "25006" | "28000" => Outcome::Refused,
        _ => Outcome::Failed,
    }
}
