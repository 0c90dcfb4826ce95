//! Vitals by patient, of the newest hour of `gold/patient_vitals`: read when somebody asks for a patient, followed
//! while somebody goes on asking.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use thalweg_connectors::delta::{DeltaFollower, TableFile, TableVersion};
use thalweg_core::{Error, Record, Result};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::arrivals::{Arrivals, may_hold, newest_window};
use super::feed::{SPAN, millis};
use super::row::{self, PatientId, Row};
use crate::healthcare::gold::PatientVitals;

const TABLE: &str = "gold/patient_vitals";
/// Windows kept in memory over all patients; the oldest are forgotten first.
const MOST: usize = 200_000;
/// A table is not looked at more often.
const FRESH: Duration = Duration::from_millis(500);
/// Patients listed at once.
const LISTED: usize = 200;

/// The patients. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Patients {
    follower: DeltaFollower,
    held: Arc<Mutex<Held>>,
    arrivals: Arc<Mutex<Arrivals>>,
}

#[derive(Debug, Default)]
struct Held {
    version: Option<TableVersion>,
    looked: Option<Instant>,
    newest: i64,
    /// Where the first windows begin that were not forgotten for want of room, ms.
    whole: Option<i64>,
    /// Windows behind that are of clocks that are ahead, ms; as far as messages had arrived at the last look.
    until: i64,
    /// By patient, then start of the window (ms). An answer costs what it holds, not what is held: one thread answers
    /// everybody, and keeps their dashboards live.
    rows: BTreeMap<(i64, i64), Row>,
    /// The same windows, oldest first.
    by_time: BTreeSet<(i64, i64)>,
}

/// How far what is held reaches, ms.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Reach {
    /// Start of the newest committed minute of all patients.
    pub(super) committed: i64,
    /// Start of the oldest minute of which everything is held, unless that is so of the whole hour.
    pub(super) from: Option<i64>,
}

/// A patient in a list, as in the newest window.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    id: PatientId,
    newest: Row,
}

impl Patients {
    pub(super) fn new(follower: DeltaFollower, arrivals: Arrivals) -> Self {
        Self { follower, held: Arc::default(), arrivals: Arc::new(Mutex::new(arrivals)) }
    }

    /// Those whose number begins with `begins`, by number.
    pub(super) async fn list(&self, begins: &str) -> Result<(Vec<Listed>, Reach)> {
        let held = self.followed().await?;
        Ok((held.list(begins), held.reach()))
    }

    /// The windows of one patient, oldest first.
    pub(super) async fn rows(&self, patient: i64) -> Result<(Vec<Row>, Reach)> {
        let held = self.followed().await?;
        Ok((held.of(patient).cloned().collect(), held.reach()))
    }

    /// What is held, as it is now. Who hangs up leaves behind what was begun: reading a log blocks a thread to its end, of
    /// which there are few, and one reads at a time.
    async fn followed(&self) -> Result<OwnedMutexGuard<Held>> {
        let mut held = Arc::clone(&self.held).lock_owned().await;
        let this = self.clone();
        let following = tokio::spawn(async move {
            let done = this.follow(&mut held).await;
            done.map(|()| held)
        });
        following.await.map_err(|_| Error::internal("reading the patients was given up"))?
    }

    async fn follow(&self, held: &mut Held) -> Result<()> {
        let now = Instant::now();
        if held.looked.is_some_and(|looked| now.duration_since(looked) < FRESH) {
            return Ok(());
        }
        // After a while of silence all of it is old.
        if held.looked.is_some_and(|looked| now.duration_since(looked) > SPAN) {
            *held = Held::default();
        }
        let mut gained = None;
        if let Some(known) = &held.version {
            gained = self.follower.since(TABLE, known).await?;
        }
        let anew = gained.is_none();
        if anew {
            *held = Held::default();
            gained = self.whole().await?;
        }
        let Some((version, mut files)) = gained else { return Ok(()) };
        // Asked for last: the messages of what is read are among those that have arrived.
        let until = self.arrivals.lock().await.until().await?;
        held.until = until / 1_000;
        let newest = newest_window(&files, until).filter(|_| anew);
        let from = newest.map_or(i64::MIN, |micros| micros - millis(SPAN) * 1_000);
        files.retain(|file| may_hold(file, from, until));
        for file in &files {
            self.read(held, file).await?;
        }
        held.version = Some(version);
        held.looked = Some(now);
        held.trim();
        Ok(())
    }

    /// The newest version and all its files; `None` when there is no such table.
    async fn whole(&self) -> Result<Option<(TableVersion, Vec<TableFile>)>> {
        let Some(version) = self.follower.newest(TABLE).await? else { return Ok(None) };
        let files = self.follower.files(TABLE, version.number()).await?;
        Ok(Some((version, files)))
    }

    async fn read(&self, held: &mut Held, file: &TableFile) -> Result<()> {
        for batch in self.follower.rows(TABLE, file, PatientVitals::COLUMNS).await? {
            for at in 0..batch.num_rows() {
                let patient = row::long(&batch, PatientVitals::PATIENT_ID.name(), at);
                if let (Some(patient), Some(row)) = (patient, row::row(&batch, None, true, at)) {
                    held.put(patient, row);
                }
            }
            held.trim();
            // There may be many, and others wait for this thread.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

impl Held {
    fn put(&mut self, patient: i64, row: Row) {
        if row.t > self.until {
            return;
        }
        self.newest = self.newest.max(row.t);
        self.by_time.insert((row.t, patient));
        self.rows.insert((patient, row.t), row);
    }

    fn reach(&self) -> Reach {
        // What was forgotten before the hour is missed by nobody.
        let from = self.whole.filter(|whole| *whole > self.newest - millis(SPAN));
        Reach { committed: self.newest, from }
    }

    /// The windows of one patient, oldest first.
    fn of(&self, patient: i64) -> impl DoubleEndedIterator<Item = &Row> {
        self.rows.range((patient, i64::MIN)..=(patient, i64::MAX)).map(|(_, row)| row)
    }

    /// The first few of those whose number begins with `begins`, by number.
    fn list(&self, begins: &str) -> Vec<Listed> {
        let found = beginning(begins).into_iter().flat_map(|numbers| self.among(numbers));
        found.take(LISTED).collect()
    }

    /// Those whose number lies in a stretch, by number.
    fn among(&self, (first, last): (i64, i64)) -> impl Iterator<Item = Listed> {
        let mut next = Some(first);
        std::iter::from_fn(move || {
            let from = next.filter(|from| *from <= last)?;
            let ((patient, _), _) = self.rows.range((from, i64::MIN)..=(last, i64::MAX)).next()?;
            next = patient.checked_add(1);
            let newest = self.of(*patient).next_back()?.clone();
            Some(Listed { id: PatientId(*patient), newest })
        })
    }

    fn trim(&mut self) {
        let from = self.newest - millis(SPAN);
        while let Some((t, patient)) = self.by_time.first().copied()
            && (t < from || self.by_time.len() > MOST)
        {
            self.by_time.pop_first();
            let forgotten = self.rows.remove(&(patient, t)).filter(|_| t >= from);
            self.whole = self.whole.max(forgotten.map(|row| row.t + row.w));
        }
    }
}

/// The numbers that begin with `begins` when they are written down: stretches by their first and last, ascending.
fn beginning(begins: &str) -> Vec<(i64, i64)> {
    let (is_negative, digits) = match begins.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, begins),
    };
    let number = digits.parse::<u64>().ok().filter(|number| number.to_string() == digits);
    match (begins, number) {
        ("", _) => vec![(i64::MIN, i64::MAX)],
        ("-", _) => vec![(i64::MIN, -1)],
        ("0", _) => vec![(0, 0)],
        (_, Some(number)) if number > 0 => continued(number, is_negative),
        _ => Vec::new(),
    }
}

/// Those that go on behind the digits of `number` with none, with one more, and so on.
fn continued(number: u64, is_negative: bool) -> Vec<(i64, i64)> {
    let (mut least, mut greatest) = (i128::from(number), i128::from(number));
    let mut found = Vec::new();
    while least <= -i128::from(i64::MIN) {
        let (first, last) = if is_negative { (-greatest, -least) } else { (least, greatest) };
        let first = i64::try_from(first.max(i64::MIN.into())).ok();
        let last = i64::try_from(last.min(i64::MAX.into())).ok();
        found.extend(first.zip(last));
        (least, greatest) = (least * 10, greatest * 10 + 9);
    }
    if is_negative {
        found.reverse();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(t: i64) -> Row {
        Row { t, w: 60_000, k: None, n: 1, p: 1, vitals: None, live: false }
    }

    fn listed(held: &Held, begins: &str) -> Vec<i64> {
        held.list(begins).iter().map(|listed| listed.id.0).collect()
    }

    #[test]
    fn patients_are_found_by_the_digits_of_their_number_and_listed_in_its_order() {
        let ids = [i64::MIN, -120, -12, -1, 0, 1, 7, 10, 12, 19, 100, 129, 1_000, 12_345, i64::MAX];
        let mut held = Held { until: i64::MAX, ..Held::default() };
        for t in [120_000, 0, 60_000] {
            for id in ids {
                held.put(id, row(t));
            }
        }
        // The first of them is nothing at all.
        let typed = " - -1 -12 -9 -0 0 00 01 1 12 123 2 9 +1 --1 1x x 92233720368547758070 1e3";
        for begins in typed.split(' ') {
            let begin = ids.into_iter().filter(|id| id.to_string().starts_with(begins));
            assert_eq!(listed(&held, begins), begin.collect::<Vec<_>>(), "{begins}");
        }
        assert!(held.list("").iter().all(|listed| listed.newest.t == 120_000));
        let course: Vec<i64> = held.of(12).map(|row| row.t).collect();
        assert_eq!(course, [0, 60_000, 120_000]);
        assert_eq!(held.of(13).count(), 0);
    }

    #[test]
    fn what_is_older_than_the_newest_hour_or_too_much_goes_with_its_patient() {
        let mut held = Held { until: i64::MAX, ..Held::default() };
        held.put(1, row(0));
        held.put(2, row(0));
        held.put(2, row(millis(SPAN) + 1));
        held.trim();
        assert_eq!(listed(&held, ""), [2]);
        assert_eq!((held.rows.len(), held.by_time.len()), (1, 1));
        assert_eq!(held.reach().from, None, "all of the hour is held");
        for id in 0..MOST as i64 {
            held.put(id + 10, row(millis(SPAN) + 2));
        }
        held.trim();
        assert_eq!(held.reach().from, Some(millis(SPAN) + 60_001));
        assert_eq!((held.rows.len(), held.by_time.len()), (MOST, MOST));
        assert!(listed(&held, "2").iter().all(|id| *id != 2), "the oldest window");
        held.put(2, row(2 * millis(SPAN) + 60_001));
        held.trim();
        assert_eq!(held.reach().from, None, "what was forgotten is older than the hour");
    }

    #[test]
    fn a_window_behind_what_has_arrived_is_of_a_clock_that_is_ahead() {
        let mut held = Held { until: 60_000, ..Held::default() };
        for t in [0, 60_000, 18_000_000] {
            held.put(1, row(t));
        }
        held.trim();
        assert_eq!(held.newest, 60_000);
        assert_eq!(held.of(1).map(|row| row.t).collect::<Vec<_>>(), [0, 60_000]);
    }

    #[test]
    fn a_keystroke_costs_what_it_lists_and_not_what_is_held() {
        let mut held = Held { until: i64::MAX, ..Held::default() };
        let begun = Instant::now();
        for id in 0..MOST as i64 {
            held.put(id, row(0));
        }
        let filled = begun.elapsed();
        // The quickest of many: this thread may be stopped during any of them.
        let asks = (0..100).map(|_| {
            let begun = Instant::now();
            assert_eq!(listed(&held, "123456"), [123_456]);
            begun.elapsed()
        });
        let asked = asks.min().unwrap();
        assert!(asked * 100 < filled, "{asked:?} for one, {filled:?} for filling it once");
    }
}
