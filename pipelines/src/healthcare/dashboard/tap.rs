//! What the open minutes hold so far, for dashboards, told by the events on their way to gold.
//!
//! The tap sits on the operator that decides lateness: behind the masks, in front of the windows. It counts what that
//! operator passes on and changes nothing of it, as a metric does: it is in no checkpoint, in no graph, and no result
//! depends on it. So it is *provisional*: an attempt that starts anew starts it anew, from its checkpoint, and a minute in
//! which somebody began to look is counted from there. What is committed replaces it.
//!
//! While nobody looks it costs one load of a flag per batch. While somebody looks a subtask counts its batch under a lock
//! that all share; it never waits for it: a batch that finds it taken is not counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, Float64Array, Int32Array, RecordBatch};
use arrow_schema::SchemaRef;
use thalweg_core::Result;
use thalweg_core::operator::{
    Collector, Context, OpenContext, Operator, OperatorFactory, SideOutput, StateBlob, StateChunk,
};
use thalweg_core::window::{TimeWindow, TumblingEventTimeWindows};

use super::row::{Row, Vitals};
use crate::healthcare::record::Silver;

/// More minutes than that are not open at once, but for clocks that are wrong.
const OPEN: usize = 8;

/// Counts events by minute while somebody looks. Shared by the subtasks of a job and the dashboard's feed.
#[derive(Debug)]
pub struct Tap {
    watched: AtomicBool,
    windows: TumblingEventTimeWindows,
    minutes: Mutex<BTreeMap<i64, Minute>>,
}

#[derive(Debug, Default)]
struct Minute {
    end: i64,
    all: Group,
    types: HashMap<String, Group>,
    categories: HashMap<String, Group>,
    medications: HashMap<String, Group>,
}

#[derive(Debug, Default)]
struct Group {
    events: i64,
    patients: HashSet<i64>,
    vitals: [Summary; 6],
}

#[derive(Debug, Clone, Copy, Default)]
struct Summary {
    count: u32,
    sum: f64,
    least: f64,
    greatest: f64,
}

/// The open minutes as rows, by section.
#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) kpis: Vec<Row>,
    pub(super) types: Vec<Row>,
    pub(super) categories: Vec<Row>,
    pub(super) medications: Vec<Row>,
}

impl Tap {
    /// A tap that counts by windows of this length.
    pub fn new(window: Duration) -> Arc<Self> {
        Arc::new(Self {
            watched: AtomicBool::new(false),
            windows: TumblingEventTimeWindows::of(window),
            minutes: Mutex::default(),
        })
    }

    /// Whether to count. What was counted is forgotten when nobody looks any more.
    pub(super) fn watch(&self, watched: bool) {
        if self.watched.swap(watched, Ordering::Relaxed) && !watched {
            self.minutes().clear();
        }
    }

    /// The minutes behind `committed` (start of the newest committed one, ms); the others are forgotten.
    pub(super) fn open(&self, committed: Option<i64>) -> Open {
        let mut minutes = self.minutes();
        if let Some(committed) = committed {
            *minutes = minutes.split_off(&(committed * 1_000 + 1));
        }
        let mut open = Open::default();
        for (start, minute) in &*minutes {
            let row = |k: Option<&String>, group: &Group, vitals: bool| Row {
                t: start / 1_000,
                w: (minute.end - start) / 1_000,
                k: k.cloned(),
                n: group.events,
                p: group.patients.len() as i64,
                vitals: vitals.then(|| group.vitals()),
                live: true,
            };
            let rows = |groups: &HashMap<String, Group>, vitals| -> Vec<Row> {
                groups.iter().map(|(k, group)| row(Some(k), group, vitals)).collect()
            };
            open.kpis.push(row(None, &minute.all, true));
            open.types.extend(rows(&minute.types, true));
            open.categories.extend(rows(&minute.categories, true));
            open.medications.extend(rows(&minute.medications, false));
        }
        open
    }

    /// Counts the events of a batch, if anybody looks and nobody else counts just then. What it cannot read it passes
    /// over.
    fn observe(&self, batch: &RecordBatch) {
        if self.watched.load(Ordering::Relaxed) {
            self.count(batch).unwrap_or_default();
        }
    }

    fn count(&self, batch: &RecordBatch) -> Option<()> {
        let column = |name: &str| batch.column_by_name(name);
        let times = column(Silver::EVENT_TIME.name())?;
        let times = times.as_primitive_opt::<TimestampMicrosecondType>()?.values();
        let patients = column(Silver::PATIENT_ID.name())?;
        let patients = patients.as_primitive_opt::<Int64Type>()?.values();
        let vitals = VITALS.map(|name| Numbers::of(batch, name));
        let keys = KEYS.map(|name| column(name).and_then(|c| c.as_string_opt::<i32>()));
        let mut window = TimeWindow { start: 0, end: 0 };
        let mut minutes = match self.minutes.try_lock() {
            Ok(minutes) => minutes,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        for (at, (time, patient)) in times.iter().zip(patients.iter()).enumerate() {
            if !window.contains(*time) {
                window = self.windows.window_of(*time);
            }
            let vitals = vitals.each_ref().map(|values| values.get(at));
            let minute = minutes.entry(window.start).or_default();
            minute.end = window.end;
            minute.all.add(*patient, &vitals);
            for (groups, values) in minute.groups().into_iter().zip(&keys) {
                if let Some(key) = values.filter(|v| v.is_valid(at)).map(|v| v.value(at)) {
                    if let Some(group) = groups.get_mut(key) {
                        group.add(*patient, &vitals);
                    } else {
                        groups.entry(key.to_owned()).or_default().add(*patient, &vitals);
                    }
                }
            }
        }
        while minutes.len() > OPEN {
            minutes.pop_first();
        }
        Some(())
    }

    fn minutes(&self) -> MutexGuard<'_, BTreeMap<i64, Minute>> {
        self.minutes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const VITALS: [&str; 6] = [
    Silver::HEART_RATE.name(),
    Silver::SYSTOLIC.name(),
    Silver::DIASTOLIC.name(),
    Silver::TEMPERATURE.name(),
    Silver::SPO2.name(),
    Silver::RESPIRATORY_RATE.name(),
];

/// By what events are grouped, in the order of [`Minute::groups`].
const KEYS: [&str; 3] =
    [Silver::EVENT_TYPE.name(), Silver::BP_CATEGORY.name(), Silver::MEDICATION.name()];

impl Minute {
    fn groups(&mut self) -> [&mut HashMap<String, Group>; 3] {
        [&mut self.types, &mut self.categories, &mut self.medications]
    }
}

/// A column of either type that vitals have, found once a batch.
enum Numbers<'a> {
    Double(&'a Float64Array),
    Int(&'a Int32Array),
    Absent,
}

impl<'a> Numbers<'a> {
    fn of(batch: &'a RecordBatch, name: &str) -> Self {
        let Some(column) = batch.column_by_name(name) else { return Self::Absent };
        let int = || column.as_primitive_opt::<Int32Type>().map(Self::Int);
        let double = column.as_primitive_opt::<Float64Type>().map(Self::Double);
        double.or_else(int).unwrap_or(Self::Absent)
    }

    fn get(&self, at: usize) -> Option<f64> {
        match self {
            Self::Double(values) => values.is_valid(at).then(|| values.value(at)),
            Self::Int(values) => values.is_valid(at).then(|| f64::from(values.value(at))),
            Self::Absent => None,
        }
    }
}

impl Group {
    fn add(&mut self, patient: i64, vitals: &[Option<f64>; 6]) {
        self.events += 1;
        self.patients.insert(patient);
        for (summary, value) in self.vitals.iter_mut().zip(vitals) {
            if let Some(value) = value {
                summary.add(*value);
            }
        }
    }

    fn vitals(&self) -> Vitals {
        let [hr, sys, dia, temp, spo2, rr] = self.vitals.map(Summary::figures);
        Vitals { hr, sys, dia, temp, spo2, rr }
    }
}

impl Summary {
    fn add(&mut self, value: f64) {
        let first = self.count == 0;
        self.count += 1;
        self.sum += value;
        self.least = if first { value } else { self.least.min(value) };
        self.greatest = if first { value } else { self.greatest.max(value) };
    }

    fn figures(self) -> [Option<f64>; 3] {
        if self.count == 0 {
            return [None; 3];
        }
        [Some(self.sum / f64::from(self.count)), Some(self.least), Some(self.greatest)]
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

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        self.inner.output_schema(input)
    }

    fn side_outputs(&self, input: &SchemaRef) -> Result<Vec<SideOutput>> {
        self.inner.side_outputs(input)
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        // A new attempt reads again what is behind its checkpoint.
        self.tap.minutes().clear();
        Ok(Box::new(TappedOperator {
            inner: self.inner.create(context)?,
            tap: Arc::clone(&self.tap),
        }))
    }
}

struct TappedOperator {
    inner: Box<dyn Operator>,
    tap: Arc<Tap>,
}

impl TappedOperator {
    /// Runs `call` and passes on what it emits.
    fn through(
        &mut self,
        out: &mut Collector,
        call: impl FnOnce(&mut dyn Operator, &mut Collector) -> Result<()>,
    ) -> Result<()> {
        let mut emitted = Collector::default();
        let done = call(self.inner.as_mut(), &mut emitted);
        for (tag, batch) in emitted.take() {
            match tag {
                None => {
                    self.tap.observe(&batch);
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

    #[test]
    fn open_minutes_are_summed_up_while_somebody_looks() {
        let tap = Tap::new(Duration::from_mins(1));
        let events = batch(&[
            (1, 7, "vitals", Some(60.0)),
            (2, 7, "lab_result", Some(80.0)),
            (3, 8, "vitals", None),
        ]);
        tap.observe(&events);
        assert!(tap.open(None).kpis.is_empty(), "nobody looked");
        tap.watch(true);
        tap.observe(&events);
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
    fn a_batch_waits_for_no_lock() {
        let tap = Tap::new(Duration::from_mins(1));
        tap.watch(true);
        let held = tap.minutes();
        tap.observe(&batch(&[(1, 7, "vitals", None)]));
        drop(held);
        assert!(tap.open(None).kpis.is_empty());
    }

    #[test]
    fn a_committed_minute_is_no_longer_open() {
        let tap = Tap::new(Duration::from_mins(1));
        tap.watch(true);
        tap.observe(&batch(&[(1, 7, "vitals", None), (MINUTE, 7, "vitals", None)]));
        let left: Vec<i64> = tap.open(Some(0)).kpis.iter().map(|row| row.t).collect();
        assert_eq!(left, [60_000]);
    }

    #[test]
    fn a_clock_that_runs_wild_does_not_fill_the_memory() {
        let tap = Tap::new(Duration::from_mins(1));
        tap.watch(true);
        let events: Vec<_> = (0..100).map(|n| (n * MINUTE, 7, "vitals", None)).collect();
        tap.observe(&batch(&events));
        assert_eq!(tap.open(None).kpis.len(), OPEN);
    }
}
