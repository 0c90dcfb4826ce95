//! How far event time has come, as messages arrived: what lies further ahead is of a clock that is wrong.
//!
//! Windows that such a clock has opened close when a job is drained, hours before their time. Taken for the newest ones
//! they would leave no other row on the pages. Arrivals are what the broker wrote down, by which the job itself tells
//! clocks that are ahead, and not our own clock: a topic that is played again, and a demo whose hours pass in minutes, are
//! where their messages are. The lines of a file tell no arrival, and are believed; so is everything in tables that have
//! any, as no window tells whose it is.

use std::sync::Once;
use std::time::Duration;

use thalweg_connectors::delta::{DeltaFollower, TableFile, TableVersion, newest_until};
use thalweg_core::time::{MICROS_PER_SECOND, micros};
use thalweg_core::{ErrorKind, Result};

use super::feed::WINDOW;
use super::row;
use crate::healthcare::graph::BRONZE;
use crate::healthcare::record::Bronze;

/// The newest arrival among all messages, as the log of their table tells.
#[derive(Debug)]
pub(super) struct Arrivals {
    follower: DeltaFollower,
    /// How far ahead of its arrival an event may be, µs.
    ahead: i64,
    version: Option<TableVersion>,
    newest: Option<i64>,
    /// Whether there is something that may have come without one.
    untold: bool,
}

impl Arrivals {
    pub(super) fn new(follower: DeltaFollower, ahead: Duration) -> Self {
        Self { follower, ahead: micros(ahead), version: None, newest: None, untold: false }
    }

    /// Behind what no window begins but by a clock that is ahead, µs; the end of time where no arrival is known, or not of
    /// all.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) async fn until(&mut self) -> Result<i64> {
        match self.follow().await {
            // Files of which others have deleted rows are not read here. Nothing but arrivals is asked of this table.
            Err(error) if error.kind() == ErrorKind::IncompatibleState => self.newest = None,
            followed => followed?,
        }
        // Times in the log are cut off.
        let latest =
            |newest: i64| newest.saturating_add(self.ahead).saturating_add(MICROS_PER_SECOND);
        Ok(self.newest.filter(|_| !self.untold).map_or(i64::MAX, latest))
    }

    async fn follow(&mut self) -> Result<()> {
        let mut gained = None;
        if let Some(known) = &self.version {
            gained = self.follower.since(BRONZE, known).await?;
        }
        if gained.is_none() {
            self.newest = None;
            self.untold = false;
            self.version = None;
            let Some(version) = self.follower.newest(BRONZE).await? else { return Ok(()) };
            let files = self.follower.files(BRONZE, version.number()).await?;
            gained = Some((version, files));
        }
        let Some((version, files)) = gained else { return Ok(()) };
        let arrival = Bronze::KAFKA_TIMESTAMP.name();
        let told = files.iter().filter_map(|file| row::of_second(file.greatest_second(arrival)?));
        self.newest = told.max().max(self.newest);
        self.untold |= files.iter().any(|file| file.may_hold_nulls(arrival));
        self.version = Some(version);
        Ok(())
    }
}

/// The start of the newest window no later than `until` that files surely hold, µs. One with later ones counts by its first.
pub(super) fn newest_window(files: &[TableFile], until: i64) -> Option<i64> {
    let told = files.iter().filter_map(|file| {
        let greatest = row::of_second(file.greatest_second(WINDOW)?)?;
        let least = file.least_second(WINDOW).and_then(row::of_second);
        Some((least.unwrap_or(greatest), greatest))
    });
    newest_until(told, until)
}

/// Whether windows may be in a file that begin between these times, µs.
pub(super) fn may_hold(file: &TableFile, from: i64, until: i64) -> bool {
    let second = |micros| row::second(micros).filter(|_| micros != i64::MIN && micros != i64::MAX);
    second(from).is_none_or(|from| file.may_reach(WINDOW, &from))
        && second(until).is_none_or(|until| file.may_begin_by(WINDOW, &until))
}

/// Says, once, that there are windows and none of them is shown.
pub(super) fn warn_hidden() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "every minute in the tables is further ahead of its messages' arrival than `time.ahead`: the dashboards show \
             none of them; mend the times that are sent, or set `time.ahead` and `alerts.ahead` to \"1day\""
        );
    });
}
