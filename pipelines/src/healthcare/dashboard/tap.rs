//! What the open minutes hold so far, for dashboards, told by the events on their way to gold.
//!
//! The tap sits on the operator that decides lateness: behind the masks, in front of the windows. It counts what that
//! operator passes on and changes nothing of it, as a metric does: it is in no checkpoint, in no graph, and no result
//! depends on it. So it is *provisional*: an attempt that starts anew starts it anew, from its checkpoint, and a minute in
//! which somebody began to look is counted from there. What is committed replaces it. An event of a minute that had not
//! begun when the broker took it is left out, as its minute is not running; committed it is counted like any other.
//!
//! While nobody looks it costs one load of a flag per call. While somebody looks each subtask counts into a part of its
//! own, and the feed takes away what the parts hold, whenever it looks: a subtask waits for no other one, and for the
//! feed no longer than a map is taken.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard, Weak};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use thalweg_core::Result;
use thalweg_core::operator::{
    Collector, Context, OpenContext, Operator, OperatorFactory, SideOutput, StateBlob, StateChunk,
};
use thalweg_core::window::TumblingEventTimeWindows;
use thalweg_operators::MaskCounters;
use tokio::time::Instant;

use super::counts::{Group, Minute, Minutes, count, lock, trim};
use super::followed::Followed;
use super::row::Row;

/// Counts events by minute while somebody looks. Shared by the subtasks of a job and the dashboard's feed.
#[derive(Debug)]
pub struct Tap {
    watched: AtomicBool,
    windows: TumblingEventTimeWindows,
    /// What was taken from the parts.
    minutes: Mutex<Minutes>,
    /// One of each subtask; it goes with its subtask.
    parts: Mutex<Vec<Weak<Mutex<Minutes>>>>,
    /// Read at each batch, written when somebody opens the page of a patient.
    followed: RwLock<Followed>,
    /// What the masks in front of it count.
    masked: Arc<MaskCounters>,
}

/// The open minutes as rows, by section.
#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) kpis: Vec<Row>,
    pub(super) types: Vec<Row>,
    pub(super) categories: Vec<Row>,
    pub(super) medications: Vec<Row>,
}

impl Open {
    pub(super) fn sections(self) -> [(&'static str, Vec<Row>); 4] {
        let Self { kpis, types, categories, medications } = self;
        [("kpis", kpis), ("types", types), ("categories", categories), ("medications", medications)]
    }
}

impl Tap {
    /// A tap that counts by windows of this length.
    pub fn new(window: Duration) -> Arc<Self> {
        Arc::new(Self {
            watched: AtomicBool::new(false),
            windows: TumblingEventTimeWindows::of(window),
            minutes: Mutex::default(),
            parts: Mutex::default(),
            followed: RwLock::default(),
            masked: Arc::default(),
        })
    }

    /// Where the masks in front of it count values that they do not understand: whether or not somebody looks.
    pub fn masked(&self) -> &Arc<MaskCounters> {
        &self.masked
    }

    /// Whether to count. What was counted is forgotten when somebody begins to look, and when nobody does any more.
    pub(super) fn watch(&self, watched: bool) {
        if self.watched.swap(watched, Ordering::Relaxed) != watched {
            self.forget();
            *self.following() = Followed::default();
        }
    }

    fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    fn following(&self) -> RwLockWriteGuard<'_, Followed> {
        self.followed.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        drop(self.taken());
        lock(&self.minutes).clear();
    }

    /// A part for another subtask.
    fn part(self: &Arc<Self>) -> Part {
        let minutes = Arc::default();
        lock(&self.parts).push(Arc::downgrade(&minutes));
        Part { tap: Arc::clone(self), minutes }
    }

    /// What the parts hold; they go on with nothing.
    fn taken(&self) -> Vec<Minutes> {
        let mut parts = lock(&self.parts);
        parts.retain(|part| part.strong_count() > 0);
        let alive = parts.iter().filter_map(Weak::upgrade);
        alive.map(|part| std::mem::take(&mut *lock(&part))).collect()
    }

    /// All that was counted.
    fn merged(&self) -> MutexGuard<'_, Minutes> {
        let mut minutes = lock(&self.minutes);
        for (start, minute) in self.taken().into_iter().flatten() {
            minutes.entry(start).or_default().merge(minute);
        }
        trim(&mut minutes);
        minutes
    }

    /// The minutes behind `committed` (start of the newest committed one, ms) of one patient, counted from the first time
    /// on that somebody asks: while a dashboard is open, and of few patients at once.
    pub(super) fn patient(&self, patient: i64, committed: i64, now: Instant) -> Vec<Row> {
        if !self.is_watched() {
            return Vec::new();
        }
        self.following().ask(patient, now);
        let minutes = self.merged();
        let behind = minutes.iter().filter(|(start, _)| **start > committed * 1_000);
        let of = behind.filter_map(|(start, minute)| {
            let group = minute.patients.get(&patient)?;
            Some(row(*start, minute, None, group, true))
        });
        of.collect()
    }

    /// The minutes behind `committed` (start of the newest committed one, ms); the others are forgotten.
    pub(super) fn open(&self, committed: Option<i64>) -> Open {
        let mut minutes = self.merged();
        if let Some(committed) = committed {
            *minutes = minutes.split_off(&(committed * 1_000 + 1));
        }
        let mut open = Open::default();
        for (start, minute) in &*minutes {
            let rows = |groups: &HashMap<String, Group>, vitals| -> Vec<Row> {
                groups
                    .iter()
                    .map(|(k, group)| row(*start, minute, Some(k), group, vitals))
                    .collect()
            };
            open.kpis.push(row(*start, minute, None, &minute.all, true));
            open.types.extend(rows(&minute.types, true));
            open.categories.extend(rows(&minute.categories, true));
            open.medications.extend(rows(&minute.medications, false));
        }
        open
    }
}

fn row(start: i64, minute: &Minute, k: Option<&String>, group: &Group, vitals: bool) -> Row {
    Row {
        t: start / 1_000,
        w: (minute.end - start) / 1_000,
        k: k.cloned(),
        n: group.events,
        p: group.patients.len() as i64,
        vitals: vitals.then(|| group.vitals()),
        live: true,
    }
}

/// What one subtask has counted since the feed last looked.
#[derive(Debug)]
struct Part {
    tap: Arc<Tap>,
    minutes: Arc<Mutex<Minutes>>,
}

impl Part {
    /// Counts the events of a batch, if anybody looks. What it cannot read it passes over.
    fn observe(&self, batch: &RecordBatch) {
        if self.tap.is_watched() {
            let followed = self.tap.followed.read().unwrap_or_else(PoisonError::into_inner).ids();
            count(&self.minutes, self.tap.windows, &followed, batch).unwrap_or_default();
        }
    }
}

/// An operator whose main output a tap looks at. To the graph it is that operator.
#[derive(Debug)]
pub(crate) struct Tapped<F> {
    inner: F,
    tap: Arc<Tap>,
}

impl<F> Tapped<F> {
    pub(crate) fn new(inner: F, tap: &Arc<Tap>) -> Self {
        Self { inner, tap: Arc::clone(tap) }
    }
}

impl<F: OperatorFactory> OperatorFactory for Tapped<F> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn input_record(&self) -> Option<SchemaRef> {
        self.inner.input_record()
    }

    fn needs_event_time(&self) -> bool {
        self.inner.needs_event_time()
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        self.inner.output_schema(input)
    }

    fn side_outputs(&self, input: &SchemaRef) -> Result<Vec<SideOutput>> {
        self.inner.side_outputs(input)
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        // A new attempt reads again what is behind its checkpoint.
        self.tap.forget();
        Ok(Box::new(TappedOperator { inner: self.inner.create(context)?, part: self.tap.part() }))
    }
}

struct TappedOperator {
    inner: Box<dyn Operator>,
    part: Part,
}

impl TappedOperator {
    /// Runs `call` and passes on what it emits; while nobody looks there is nothing to do in between.
    fn through(
        &mut self,
        out: &mut Collector,
        call: impl FnOnce(&mut dyn Operator, &mut Collector) -> Result<()>,
    ) -> Result<()> {
        if !self.part.tap.is_watched() {
            return call(self.inner.as_mut(), out);
        }
        let mut emitted = Collector::default();
        let done = call(self.inner.as_mut(), &mut emitted);
        out.leave_out(emitted.take_left_out());
        for (tag, batch) in emitted.take() {
            match tag {
                None => {
                    self.part.observe(&batch);
                    out.emit(batch);
                }
                Some(tag) => out.side_output(tag, batch),
            }
        }
        done
    }
}

impl Operator for TappedOperator {
    fn process(
        &mut self,
        batch: RecordBatch,
        context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        self.through(out, |inner, out| inner.process(batch, context, out))
    }

    fn on_watermark(
        &mut self,
        watermark: thalweg_core::Watermark,
        context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        self.through(out, |inner, out| inner.on_watermark(watermark, context, out))
    }

    fn before_barrier(&mut self, context: &Context<'_>, out: &mut Collector) -> Result<()> {
        self.through(out, |inner, out| inner.before_barrier(context, out))
    }

    fn snapshot(&mut self) -> Result<Vec<StateChunk>> {
        self.inner.snapshot()
    }

    fn restore(&mut self, blobs: Vec<StateBlob>) -> Result<()> {
        self.inner.restore(blobs)
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::super::counts::{AHEAD, OPEN};
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn batch(rows: &[(i64, i64, &str, Option<f64>)]) -> RecordBatch {
        let times: Vec<i64> = rows.iter().map(|row| row.0).collect();
        let columns: [(&str, ArrayRef); 4] = [
            ("event_time", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))),
            ("patient_id", Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Int64Array>())),
            ("event_type", Arc::new(rows.iter().map(|row| Some(row.2)).collect::<StringArray>())),
            ("heart_rate", Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    /// The same, with the broker's time of each.
    fn arrived(rows: &[(i64, i64, &str, Option<f64>)], arrivals: &[Option<i64>]) -> RecordBatch {
        let batch = batch(rows);
        let arrivals: TimestampMicrosecondArray = arrivals.iter().copied().collect();
        let arrivals: ArrayRef = Arc::new(arrivals.with_timezone("UTC"));
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let columns = names.zip(batch.columns().iter().cloned());
        let columns = columns.chain([("kafka_timestamp", arrivals)]);
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    fn minutes(open: &Open) -> Vec<i64> {
        open.kpis.iter().map(|row| row.t / 60_000).collect()
    }

    fn tapped() -> (Arc<Tap>, Part) {
        let tap = Tap::new(Duration::from_mins(1));
        let part = tap.part();
        (tap, part)
    }

    #[test]
    fn open_minutes_are_summed_up_while_somebody_looks() {
        let (tap, part) = tapped();
        let events = batch(&[
            (1, 7, "vitals", Some(60.0)),
            (2, 7, "lab_result", Some(80.0)),
            (3, 8, "vitals", None),
        ]);
        part.observe(&events);
        assert!(tap.open(None).kpis.is_empty(), "nobody looked");
        tap.watch(true);
        part.observe(&events);
        let open = tap.open(None);
        let all = open.kpis.first().unwrap();
        assert_eq!((all.t, all.w, all.n, all.p, all.live), (0, 60_000, 3, 2, true));
        assert_eq!(all.vitals.unwrap().hr, [Some(70.0), Some(60.0), Some(80.0)]);
        assert_eq!(all.vitals.unwrap().temp, [None; 3]);
        let vitals = open.types.iter().find(|row| row.k.as_deref() == Some("vitals")).unwrap();
        assert_eq!((vitals.n, vitals.p), (2, 2));
        assert!(open.categories.is_empty() && open.medications.is_empty());
        tap.watch(false);
        assert!(tap.open(None).kpis.is_empty());
    }

    #[test]
    fn subtasks_that_count_at_once_lose_nothing() {
        const SUBTASKS: i64 = 4;
        const BATCHES: i64 = 500;
        let tap = Tap::new(Duration::from_mins(1));
        tap.watch(true);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let subtasks: Vec<_> = (0..SUBTASKS)
                .map(|subtask| {
                    let part = tap.part();
                    scope.spawn(move || {
                        for n in 0..BATCHES {
                            let rate = Some((n % 100) as f64);
                            part.observe(&batch(&[
                                (n, 7, "vitals", rate),
                                (n, subtask, "lab", None),
                            ]));
                        }
                        // It goes on living: what a part holds when it goes is lost, as is its attempt.
                        part
                    })
                })
                .collect();
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    tap.open(None);
                }
            });
            let joined: Vec<_> =
                subtasks.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            // Even if one has panicked: the other thread would look for ever.
            done.store(true, Ordering::Relaxed);
            let parts: Vec<Part> = joined.into_iter().map(Result::unwrap).collect();
            let open = tap.open(None);
            let all = open.kpis.first().unwrap();
            assert_eq!((all.n, all.p), (2 * SUBTASKS * BATCHES, SUBTASKS + 1));
            assert_eq!(all.vitals.unwrap().hr, [Some(49.5), Some(0.0), Some(99.0)]);
            drop(parts);
        });
        assert!(tap.taken().is_empty(), "parts that are gone are forgotten");
    }

    #[test]
    fn a_committed_minute_is_no_longer_open() {
        let (tap, part) = tapped();
        tap.watch(true);
        part.observe(&batch(&[(1, 7, "vitals", None), (MINUTE, 7, "vitals", None)]));
        assert_eq!(minutes(&tap.open(Some(0))), [1]);
    }

    #[test]
    fn a_patient_is_counted_from_when_somebody_asks() {
        let (tap, part) = tapped();
        let events = batch(&[
            (1, 7, "vitals", Some(60.0)),
            (2, 8, "vitals", Some(90.0)),
            (MINUTE, 7, "vitals", Some(80.0)),
        ]);
        let now = Instant::now();
        assert!(tap.patient(7, -1, now).is_empty());
        part.observe(&events);
        tap.watch(true);
        part.observe(&events);
        assert!(tap.patient(7, -1, now).is_empty(), "nobody asked before, or nobody looked");
        part.observe(&events);
        part.observe(&events);
        let rows = tap.patient(7, -1, now);
        let seen = |row: &Row| (row.t, row.n, row.p, row.live, row.vitals.unwrap().hr[0]);
        let seen: Vec<_> = rows.iter().map(seen).collect();
        assert_eq!(seen, [(0, 2, 1, true, Some(60.0)), (60_000, 2, 1, true, Some(80.0))]);
        // What the table has is not told by the tap.
        assert_eq!(tap.patient(7, 0, now).len(), 1);
        assert!(tap.patient(8, -1, now).is_empty());
    }

    #[test]
    fn a_clock_that_runs_wild_does_not_fill_the_memory() {
        let (tap, part) = tapped();
        tap.watch(true);
        let events: Vec<_> = (0..100).rev().map(|n| (n * MINUTE, 7, "vitals", None)).collect();
        part.observe(&batch(&events));
        // Those that are committed first stay.
        assert_eq!(minutes(&tap.open(None)), (0..OPEN as i64).collect::<Vec<_>>());
    }

    #[test]
    fn the_minute_that_runs_stays_however_long_nothing_is_committed() {
        let (tap, part) = tapped();
        tap.watch(true);
        for minute in 0..20 {
            let event = [(minute * MINUTE, 7, "vitals", None)];
            part.observe(&arrived(&event, &[Some(minute * MINUTE)]));
        }
        // A clock that is ahead, of whose event nobody knows when it came.
        part.observe(&batch(&[(1_000 * MINUTE, 7, "vitals", None)]));
        assert_eq!(minutes(&tap.open(None)), (20 - OPEN as i64..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_minute_that_has_not_begun_is_not_open() {
        let (tap, part) = tapped();
        tap.watch(true);
        let at = |minute: i64| (minute * MINUTE, 7, "vitals", None);
        // More wild minutes than are kept, all of them before the one that runs.
        let wild: Vec<_> = (0..100).map(|n| at(1_000 + n)).collect();
        part.observe(&arrived(&wild, &[Some(10 * MINUTE); 100]));
        assert!(tap.open(None).kpis.is_empty());
        let (now, next) = (Some(10 * MINUTE), Some(11 * MINUTE - AHEAD));
        part.observe(&arrived(&[at(10), at(11), at(11)], &[now, now, next]));
        let open = tap.open(None);
        assert_eq!(minutes(&open), [10, 11]);
        assert_eq!(open.kpis.last().unwrap().n, 1, "clocks differ by seconds");
        // Who does not know when it arrived counts it.
        part.observe(&arrived(&[at(12)], &[None]));
        assert_eq!(minutes(&tap.open(None)), [10, 11, 12]);
    }
}
