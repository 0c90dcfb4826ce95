//! Events counted by minute, and within a minute by kind.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, Float64Array, Int32Array, RecordBatch};
use thalweg_core::window::{TimeWindow, TumblingEventTimeWindows};

use super::row::Vitals;
use crate::healthcare::record::{Event, Silver};

/// More minutes than that are not open at once, but for clocks that are wrong.
pub(super) const OPEN: usize = 16;
/// Clocks differ by this much, µs: a minute may begin so long after an event of it has arrived. One that begins later has
/// not begun: whoever tells of it has a clock that is ahead.
pub(super) const AHEAD: i64 = 5_000_000;

/// By start of the minute, µs.
pub(super) type Minutes = BTreeMap<i64, Minute>;

#[derive(Debug, Default)]
pub(super) struct Minute {
    pub(super) end: i64,
    /// Whether the broker said when an event of it came: then it has begun.
    begun: bool,
    pub(super) all: Group,
    pub(super) types: HashMap<String, Group>,
    pub(super) categories: HashMap<String, Group>,
    pub(super) medications: HashMap<String, Group>,
    /// Of those who are followed.
    pub(super) patients: HashMap<i64, Group>,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) events: i64,
    pub(super) patients: HashSet<i64>,
    vitals: [Summary; 6],
}

#[derive(Debug, Clone, Copy, Default)]
struct Summary {
    count: u32,
    sum: f64,
    least: f64,
    greatest: f64,
}

/// Adds the events of a batch to `minutes`, which are locked once it is found to be readable; those of patients who are
/// `followed` by patient, too. Left out are events of minutes that had not begun when the broker took them; a file does not
/// tell.
pub(super) fn count(
    minutes: &Mutex<Minutes>,
    windows: TumblingEventTimeWindows,
    followed: &HashSet<i64>,
    batch: &RecordBatch,
) -> Option<()> {
    let column = |name: &str| batch.column_by_name(name);
    let times = column(Silver::EVENT_TIME.name())?;
    let times = times.as_primitive_opt::<TimestampMicrosecondType>()?.values();
    let patients = column(Silver::PATIENT_ID.name())?;
    let patients = patients.as_primitive_opt::<Int64Type>()?.values();
    let vitals = VITALS.map(|name| Numbers::of(batch, name));
    let keys = KEYS.map(|name| column(name).and_then(|c| c.as_string_opt::<i32>()));
    let arrivals = column(Event::KAFKA_TIMESTAMP.name());
    let arrivals = arrivals.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    let mut window = TimeWindow { start: 0, end: 0 };
    let mut minutes = lock(minutes);
    for (at, (time, patient)) in times.iter().zip(patients.iter()).enumerate() {
        if !window.contains(*time) {
            window = windows.window_of(*time);
        }
        let arrival = arrivals.filter(|a| a.is_valid(at)).map(|a| a.value(at));
        if arrival.is_some_and(|arrival| window.start > arrival.saturating_add(AHEAD)) {
            continue;
        }
        let vitals = vitals.each_ref().map(|values| values.get(at));
        let minute = minutes.entry(window.start).or_default();
        minute.end = window.end;
        minute.begun |= arrival.is_some();
        minute.all.add(*patient, &vitals);
        if followed.contains(patient) {
            minute.patients.entry(*patient).or_default().add(*patient, &vitals);
        }
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
    trim(&mut minutes);
    Some(())
}

/// Of too many forgets one that may not have begun, the furthest ahead; where all have, the oldest, so that the one that
/// runs stays.
pub(super) fn trim(minutes: &mut Minutes) {
    while minutes.len() > OPEN {
        if minutes.last_key_value().is_some_and(|(_, minute)| minute.begun) {
            minutes.pop_first();
        } else {
            minutes.pop_last();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Adds what was counted apart.
    pub(super) fn merge(&mut self, mut other: Self) {
        self.end = other.end;
        self.begun |= other.begun;
        for (groups, others) in self.groups().into_iter().zip(other.groups()) {
            for (key, group) in others.drain() {
                groups.entry(key).or_default().merge(group);
            }
        }
        for (patient, group) in other.patients.drain() {
            self.patients.entry(patient).or_default().merge(group);
        }
        self.all.merge(other.all);
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

    fn merge(&mut self, other: Self) {
        self.events += other.events;
        self.patients.extend(other.patients);
        for (summary, other) in self.vitals.iter_mut().zip(other.vitals) {
            summary.merge(other);
        }
    }

    pub(super) fn vitals(&self) -> Vitals {
        let [hr, sys, dia, temp, spo2, rr] = self.vitals.map(Summary::figures);
        Vitals { hr, sys, dia, temp, spo2, rr }
    }
}

impl Summary {
    fn add(&mut self, value: f64) {
        self.merge(Self { count: 1, sum: value, least: value, greatest: value });
    }

    fn merge(&mut self, other: Self) {
        if self.count == 0 {
            *self = other;
        } else if other.count > 0 {
            self.count += other.count;
            self.sum += other.sum;
            self.least = self.least.min(other.least);
            self.greatest = self.greatest.max(other.greatest);
        }
    }

    fn figures(self) -> [Option<f64>; 3] {
        if self.count == 0 {
            return [None; 3];
        }
        [Some(self.sum / f64::from(self.count)), Some(self.least), Some(self.greatest)]
    }
}
