//! What a connection asks of a running query: so many rows, in a form, within the time of a statement. A query that is
//! asked once gives all its rows; a cursor's is asked again by each `FETCH`. The rows wait in a short queue.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use pgwire::api::results::FieldInfo;
use pgwire::error::PgWireResult;
use pgwire::messages::data::DataRow;
use tokio::sync::{mpsc, oneshot, watch};

use super::failure::Told;
use super::session::{Session, called_off, internal, timed_out};

/// Batches that wait for a slow client; then the query waits.
const WAITING: usize = 2;

/// What comes out of the queue. Without an end the query has died, and what came is not all.
pub(super) enum Piece {
    Rows(Vec<DataRow>),
    Failed(Told),
    /// As many rows as were asked for: there may be more.
    Enough,
    /// The query has no more rows.
    End,
}

/// What is asked for.
pub(super) struct Demand {
    /// How columns are sent.
    pub(super) fields: Arc<Vec<FieldInfo>>,
    /// So many rows, if there are as many.
    pub(super) most: u64,
    pub(super) rows: mpsc::Sender<Piece>,
    /// Why the query has to end before.
    pub(super) stop: oneshot::Receiver<Told>,
}

/// At most `most` rows for a session, within `limit`. Their time begins now; they come out of the other end.
pub(super) fn demand(
    session: &Session,
    fields: &Arc<Vec<FieldInfo>>,
    most: u64,
    limit: Duration,
) -> (Demand, mpsc::Receiver<Piece>) {
    let (rows, pieces) = mpsc::channel(WAITING);
    // The clock runs on the connections' thread: a query that computes leaves its own threads no time for timers.
    let (ring, stop) = oneshot::channel();
    drop(tokio::spawn(watch_over(limit, session.cancelled(), ring)));
    (Demand { fields: Arc::clone(fields), most, rows, stop }, pieces)
}

/// Rings once the time is over or the statement is called off, unless nobody listens any more.
async fn watch_over(
    limit: Duration,
    mut cancelled: watch::Receiver<u64>,
    mut ring: oneshot::Sender<Told>,
) {
    let told = tokio::select! {
        () = tokio::time::sleep(limit) => timed_out(),
        _ = cancelled.changed() => called_off(),
        () = ring.closed() => return,
    };
    drop(ring.send(told));
}

/// Waits until a query has to end, and tells why.
pub(super) async fn stopped(stop: &mut oneshot::Receiver<Told>) -> Told {
    // Who would have rung has ended with the server.
    stop.await.unwrap_or_else(|_| called_off())
}

/// The rows that were asked for, at most `most`. `ended` hears whether there may be more, or what failed, unless the rows
/// are not read to their end: with the last of so many it has heard.
pub(super) fn rows<F>(
    pieces: mpsc::Receiver<Piece>,
    most: u64,
    ended: F,
) -> impl Stream<Item = PgWireResult<DataRow>> + Send + 'static
where
    F: FnOnce(&Result<bool, Told>) + Send + 'static,
{
    let pieces = stream::unfold(Some((pieces, most, ended)), |reading| async move {
        let (mut pieces, mut left, ended) = reading?;
        let mut last = None;
        let how = loop {
            break match pieces.recv().await {
                Some(Piece::Rows(rows)) => {
                    left = left.saturating_sub(rows.len() as u64);
                    if left > 0 {
                        return Some((Ok(rows), Some((pieces, left, ended))));
                    }
                    // Whoever asked for so many does not look further; what comes next is on its way.
                    last = Some(rows);
                    continue;
                }
                Some(Piece::Enough) => Ok(true),
                Some(Piece::End) => Ok(false),
                Some(Piece::Failed(told)) => Err(told),
                None => Err(internal()),
            };
        };
        ended(&how);
        match (last, how) {
            (_, Err(told)) => Some((Err(told), None)),
            (Some(rows), Ok(_)) => Some((Ok(rows), None)),
            (None, Ok(_)) => None,
        }
    });
    pieces.flat_map(|rows: Result<Vec<DataRow>, Told>| {
        stream::iter(match rows {
            Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(told) => vec![Err(told.into())],
        })
    })
}

/// How many rows come of those that were asked for: nobody reads them. `ended` hears what [`rows`] lets it hear.
pub(super) async fn passed<F>(mut pieces: mpsc::Receiver<Piece>, ended: F) -> Result<u64, Told>
where
    F: FnOnce(&Result<bool, Told>),
{
    let mut count = 0;
    let how = loop {
        match pieces.recv().await {
            Some(Piece::Rows(rows)) => count += rows.len() as u64,
            Some(Piece::Enough) => break Ok(true),
            Some(Piece::End) => break Ok(false),
            Some(Piece::Failed(told)) => break Err(told),
            None => break Err(internal()),
        }
    };
    ended(&how);
    how.map(|_| count)
}
