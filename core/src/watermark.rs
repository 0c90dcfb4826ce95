//! Watermarks: generated per split inside the source, merged as a minimum everywhere else.
//!
//! A subtask whose splits are all idle goes along with the others of its source ([`SourceWatermarks`]), and so does an
//! idle split with its subtask; a source that has ended goes along with the slowest that has not. Nobody downstream is
//! therefore ever ahead of any split, and one that comes back judges its rows by what was told meanwhile.
//!
//! Beside the stream's watermark each row learns its own split's running watermark *before* it, in the column
//! [`ROW_WATERMARK`]. Lateness is judged by that column alone, so that batch cuts, parallelism and restarts do not
//! show (P22).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::checkpoint::manifest::SplitSnapshot;
use crate::element::Watermark;
use crate::record::{Column, Timestamp};
use crate::sensitivity::{mark, sensitivities};
use crate::time::{EventTime, micros};
use crate::{Error, Result};

/// Name of the column that a watermarked source adds: `Int64`, µs, null while the split has no watermark yet. It tells
/// the event time of another row, and carries the marks of the columns that it is made of.
pub const ROW_WATERMARK: &str = "row_watermark";

/// How a source's watermarks are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkStrategy {
    /// The column that holds event time; rows without one do not count.
    pub event_time: &'static str,
    /// How far out of order rows may be.
    pub out_of_orderness: Duration,
    /// After how long without rows a split without end no longer holds the others back; never, when `None`.
    pub idle_after: Option<Duration>,
    /// Rows further ahead of their arrival than this do not move the watermark (E11); the column of arrivals. A row whose
    /// arrival is null is believed.
    pub future_cap: Option<(&'static str, Duration)>,
}

impl WatermarkStrategy {
    /// Rows of `event_time` are at most `bound` out of order.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::record::{Column, Timestamp};
    /// use thalweg_core::watermark::WatermarkStrategy;
    /// let at: Column<Timestamp> = Column::nullable("event_time");
    /// let strategy = WatermarkStrategy::bounded_out_of_orderness(at, Duration::from_secs(30))
    ///     .with_idleness(Duration::from_secs(60));
    /// assert_eq!(strategy.event_time, "event_time");
    /// ```
    pub fn bounded_out_of_orderness(event_time: Column<Timestamp>, bound: Duration) -> Self {
        Self {
            event_time: event_time.name(),
            out_of_orderness: bound,
            idle_after: None,
            future_cap: None,
        }
    }

    /// A split without rows that count for `after` stops holding the watermark back until its next one. Not so a split
    /// that has an end, which will be read: it holds the watermark back until it has been.
    #[must_use]
    pub fn with_idleness(mut self, after: Duration) -> Self {
        self.idle_after = Some(after);
        self
    }

    /// Rows more than `ahead` of their `arrival` do not count: they neither move the watermark nor hold it back. The arrival
    /// is a column and no clock, so that a replay judges alike.
    #[must_use]
    pub fn with_future_cap(mut self, arrival: Column<Timestamp>, ahead: Duration) -> Self {
        self.future_cap = Some((arrival.name(), ahead));
        self
    }

    /// The source's schema with [`ROW_WATERMARK`] behind it.
    pub fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        let mut marks = BTreeSet::new();
        for column in
            std::iter::once(self.event_time).chain(self.future_cap.iter().map(|(c, _)| *c))
        {
            let field = input.field_with_name(column).map_err(|_| {
                Error::graph(format!("watermark column `{column}` is not in the source"))
            })?;
            if !matches!(
                field.data_type(),
                DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, _)
            ) {
                return Err(Error::graph(format!(
                    "watermark column `{column}` must be a timestamp in microseconds"
                )));
            }
            marks.extend(sensitivities(field));
        }
        let mut fields: Vec<Arc<Field>> = input.fields().iter().cloned().collect();
        fields.push(Arc::new(mark(Field::new(ROW_WATERMARK, DataType::Int64, true), marks)));
        Ok(Arc::new(Schema::new(fields)))
    }
}

/// The watermarks of the splits of one subtask.
#[derive(Debug)]
pub struct SplitWatermarks {
    strategy: WatermarkStrategy,
    schema: SchemaRef,
    splits: BTreeMap<String, SplitState>,
    emitted: Watermark,
}

#[derive(Debug, Clone, Copy)]
struct SplitState {
    /// The split's running watermark; `None` before its first row.
    watermark: Option<EventTime>,
    /// When the last row came that counts, later by all the time since in which no row could come.
    last_row: Duration,
    /// Whether it has an end: until that is reached it has not been read, however silent it is.
    bounded: bool,
    /// Until its next row that counts.
    idle: bool,
    finished: bool,
}

/// What the subtask by itself says about event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceTime {
    /// At least one split counts; this is their minimum, never lower than emitted before.
    At(Watermark),
    /// No split counts: all are idle or finished. The furthest of them.
    Idle(Watermark),
    /// Every split has been read to its end, or there are none. The furthest of them.
    Ended(Watermark),
}

impl SourceTime {
    fn at(self) -> Option<Watermark> {
        match self {
            Self::At(watermark) => Some(watermark),
            Self::Idle(_) | Self::Ended(_) => None,
        }
    }

    fn furthest(self) -> Watermark {
        match self {
            Self::At(watermark) | Self::Idle(watermark) | Self::Ended(watermark) => watermark,
        }
    }
}

impl SplitWatermarks {
    /// No splits yet; `input` is the source's own schema.
    pub fn new(strategy: WatermarkStrategy, input: &SchemaRef) -> Result<Self> {
        let schema = strategy.output_schema(input)?;
        Ok(Self { strategy, schema, splits: BTreeMap::new(), emitted: Watermark::MIN })
    }

    /// Adds a split with what a checkpoint remembers of it. An unread split holds the others back from the start; one
    /// that is found later begins at what was emitted meanwhile.
    pub fn add(&mut self, SplitSnapshot { split, watermark }: &SplitSnapshot, now: Duration) {
        let state = SplitState {
            watermark: (*watermark).max(self.floor()),
            last_row: now,
            bounded: split.end.is_some(),
            idle: false,
            finished: split.is_finished(),
        };
        self.splits.insert(split.id.clone(), state);
    }

    /// From `since` to `now` no row could come: nobody's silence lasted longer for it.
    pub fn stood_still(&mut self, since: Duration, now: Duration) {
        let stood = now.saturating_sub(since);
        for state in self.splits.values_mut() {
            state.last_row = (state.last_row + stood).min(now);
        }
    }

    /// The split has been read to its end: it no longer holds anything back.
    pub fn finish(&mut self, split: &str) {
        if let Some(state) = self.splits.get_mut(split) {
            state.finished = true;
        }
    }

    /// What a checkpoint remembers of the split.
    pub fn of_split(&self, split: &str) -> Option<EventTime> {
        self.splits.get(split).and_then(|s| s.watermark)
    }

    /// Appends [`ROW_WATERMARK`] and advances the split by the rows' event times. `now` is monotonic time.
    pub fn observe(
        &mut self,
        split: &str,
        batch: &RecordBatch,
        now: Duration,
    ) -> Result<RecordBatch> {
        let internal = || Error::internal("a source batch without its event-time column");
        let state = self
            .splits
            .get_mut(split)
            .ok_or_else(|| Error::internal("rows of an unknown split"))?;
        let times = timestamps(batch, self.strategy.event_time).ok_or_else(internal)?;
        let arrivals = match &self.strategy.future_cap {
            Some((column, ahead)) => {
                Some((timestamps(batch, column).ok_or_else(internal)?, micros(*ahead)))
            }
            None => None,
        };
        // Without a single arrival, as in a file, every row counts.
        let arrivals = arrivals.filter(|(arrival, _)| arrival.null_count() < arrival.len());
        let bound = micros(self.strategy.out_of_orderness);
        let mut counts = false;
        let before = match arrivals {
            None if times.null_count() == 0 => {
                counts = true;
                let times = times.values().iter().map(|time| Some(*time));
                running_before(&mut state.watermark, times, bound)
            }
            arrivals => {
                let counted = (0..batch.num_rows()).map(|row| {
                    let time = times.is_valid(row).then(|| times.value(row))?;
                    let ahead = arrivals.is_some_and(|(arrival, cap)| {
                        arrival.is_valid(row) && time > arrival.value(row).saturating_add(cap)
                    });
                    counts |= !ahead;
                    (!ahead).then_some(time)
                });
                running_before(&mut state.watermark, counted, bound)
            }
        };
        // Rows without a time that counts say nothing about how far the split is: it may fall idle all the same.
        if counts {
            state.last_row = now;
            state.idle = false;
        }
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(before));
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|_| internal())
    }

    /// What to say now. `caught_up` tells that no rows are waiting behind back-pressure: only then may a split fall
    /// idle (E4), and only one without end. Of splits that are read one after another those behind are no more silent
    /// than the first, and how long they wait depends on the machine.
    pub fn current(&mut self, now: Duration, caught_up: bool) -> SourceTime {
        let mut low: Option<Watermark> = None;
        for state in self.splits.values_mut().filter(|s| !s.finished) {
            let silent = now.saturating_sub(state.last_row);
            let may_fall_idle = caught_up && !state.bounded;
            state.idle |= may_fall_idle && self.strategy.idle_after.is_some_and(|d| silent >= d);
            if !state.idle {
                let own = state.watermark.map_or(Watermark::MIN, Watermark);
                low = Some(low.map_or(own, |l| l.min(own)));
            }
        }
        if let Some(low) = low {
            return SourceTime::At(low.max(self.emitted));
        }
        let furthest = self.splits.values().filter_map(|s| s.watermark).max();
        let furthest = furthest.map_or(self.emitted, |w| self.emitted.max(Watermark(w)));
        if self.splits.values().all(|s| s.finished) {
            SourceTime::Ended(furthest)
        } else {
            SourceTime::Idle(furthest)
        }
    }

    /// `watermark` is being emitted: idle splits go along.
    pub fn emitted(&mut self, watermark: Watermark) {
        self.emitted = self.emitted.max(watermark);
        let floor = self.floor();
        for state in self.splits.values_mut().filter(|s| s.idle) {
            state.watermark = state.watermark.max(floor);
        }
    }

    /// Below this no row counts as on time any more.
    fn floor(&self) -> Option<EventTime> {
        (self.emitted > Watermark::MIN).then_some(self.emitted.0)
    }
}

/// What every subtask of one source says, so that an idle one can go along with the others.
#[derive(Debug)]
pub struct SourceWatermarks(Mutex<Vec<SourceTime>>);

impl SourceWatermarks {
    /// For `subtasks`, none of which has said anything: each holds the others back.
    pub fn new(subtasks: usize) -> Self {
        Self(Mutex::new(vec![SourceTime::At(Watermark::MIN); subtasks]))
    }

    /// Subtask `subtask` says `time`; returns what it may emit: its own watermark, or, when it is idle, the lowest of
    /// those that are not. When all are idle nobody waits for anybody: the furthest counts.
    pub fn post(&self, subtask: usize, time: SourceTime) -> Watermark {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(subtask) {
            *own = time;
        }
        time.at().unwrap_or_else(|| together(&all))
    }

    /// How far the source is; `None` once all of it has been read to its end. Beside sources that go on it then goes
    /// along with them, so that it holds nobody back ([`SourceWatermarks::beside`]).
    fn time(&self) -> Option<Watermark> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = all.iter().all(|time| matches!(time, SourceTime::Ended(_)));
        (!ended).then(|| together(&all))
    }

    /// What a source whose own watermark is `own` says beside `others`: its own until it has ended, from then on what
    /// the slowest of those says that have not.
    pub fn beside(&self, own: Watermark, others: &[Arc<Self>]) -> Watermark {
        if others.is_empty() || self.time().is_some() {
            return own;
        }
        let slowest = others.iter().filter_map(|other| other.time()).min();
        slowest.map_or(own, |slowest| slowest.max(own))
    }
}

/// The lowest of the subtasks that count; the furthest, where none does.
fn together(all: &[SourceTime]) -> Watermark {
    let lowest = all.iter().filter_map(|time| time.at()).min();
    let furthest = || all.iter().map(|time| time.furthest()).max();
    lowest.or_else(furthest).unwrap_or(Watermark::MIN)
}

/// The split's watermark before each row, which it has once a row has counted: `None` does not, by `times`.
fn running_before(
    watermark: &mut Option<EventTime>,
    times: impl ExactSizeIterator<Item = Option<EventTime>>,
    bound: i64,
) -> Int64Array {
    let mut times = times;
    let rows = times.len();
    let mut before = Vec::with_capacity(rows);
    let mut unknown = 0;
    while watermark.is_none()
        && let Some(time) = times.next()
    {
        before.push(0);
        unknown += 1;
        *watermark = time.map(|time| time.saturating_sub(bound));
    }
    if let Some(watermark) = watermark {
        let mut running = *watermark;
        // The same as a saturating difference, and less to work out.
        let lowest = EventTime::MIN.saturating_add(bound);
        before.extend(times.map(|time| {
            let before = running;
            if let Some(time) = time {
                running = before.max(time.max(lowest) - bound);
            }
            before
        }));
        *watermark = running;
    }
    let nulls = (unknown > 0).then(|| (0..rows).map(|row| row >= unknown).collect());
    Int64Array::new(before.into(), nulls)
}

fn timestamps<'a>(
    batch: &'a RecordBatch,
    column: &str,
) -> Option<&'a arrow_array::TimestampMicrosecondArray> {
    batch.column_by_name(column)?.as_primitive_opt::<TimestampMicrosecondType>()
}

/// The minimum over a subtask's input channels.
#[derive(Debug)]
pub struct InputWatermarks {
    channels: Vec<Channel>,
    current: Watermark,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    watermark: Watermark,
    /// Whether it holds the others back.
    counts: bool,
}

impl InputWatermarks {
    /// `channels` inputs that have said nothing yet.
    pub fn new(channels: usize) -> Self {
        let channel = Channel { watermark: Watermark::MIN, counts: true };
        Self { channels: vec![channel; channels], current: Watermark::MIN }
    }

    /// Input `channel` knows no event time: it holds nobody back, except from the end of time. Rows of its own may come
    /// until it has ended too, and what they set timers for must still be called.
    pub fn ignore(&mut self, channel: usize) {
        if let Some(own) = self.channels.get_mut(channel) {
            own.counts = false;
        }
    }

    /// A watermark came in; returns the new minimum if it has risen.
    pub fn advance(&mut self, channel: usize, watermark: Watermark) -> Option<Watermark> {
        if let Some(own) = self.channels.get_mut(channel) {
            own.watermark = own.watermark.max(watermark);
        }
        let low = if self.channels.iter().all(|own| own.watermark == Watermark::MAX) {
            Watermark::MAX
        } else {
            let counted = self.channels.iter().filter(|own| own.counts);
            counted.map(|own| own.watermark).min().filter(|low| *low < Watermark::MAX)?
        };
        let risen = low > self.current;
        self.current = self.current.max(low);
        risen.then_some(low)
    }
}

#[cfg(test)]
#[path = "watermark/tests.rs"]
mod tests;
