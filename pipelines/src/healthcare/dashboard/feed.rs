//! Keeps the board up to date while somebody looks at it: committed rows from the tables, beside what is live.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use thalweg_connectors::delta::{DeltaFollower, TableFile, TableVersion, newest_cuts};
use thalweg_core::connector::sink::Cut;
use thalweg_core::record::Record;
use thalweg_core::{Error, Result, error};
use thalweg_serving::http::{Board, Edit};
use tokio::sync::watch;

use super::alerts;
use super::arrivals::{Arrivals, may_hold, newest_window, warn_hidden};
use super::counts::lock;
use super::cuts::{self, CHECKPOINTS, Found};
use super::live::{self, Committed};
use super::pipeline::{self, Observed};
use super::row::{self, Row, time_key};
use crate::healthcare::gold::{Kpis, Medications, VitalsByBpCategory, VitalsByMinute};

/// How much event time is shown.
pub(super) const SPAN: Duration = Duration::from_hours(1);
/// How often to look for a checkpoint on an object store, where each look is two requests.
const EVERY_REMOTE: Duration = Duration::from_secs(1);
/// How long to wait, at most, after the tables could not be read.
const SLOWEST: Duration = Duration::from_secs(10);
/// Versions of the alerts' table that are looked through, one by one, to find out what an earlier chain has written.
const REACH: u64 = 200;
/// Checkpoints that remain shown; clients keep as many.
const KEPT: usize = 100;

/// A gold table and the section that shows it.
struct Shown {
    table: &'static str,
    section: &'static str,
    key: Option<&'static str>,
    columns: &'static [&'static str],
    vitals: bool,
}

/// The first one says which minutes are committed.
const GOLD: [Shown; 4] = [
    Shown { table: "gold/kpis", section: "kpis", key: None, columns: Kpis::COLUMNS, vitals: true },
    Shown {
        table: "gold/vitals_by_minute",
        section: "types",
        key: Some(VitalsByMinute::EVENT_TYPE.name()),
        columns: VitalsByMinute::COLUMNS,
        vitals: true,
    },
    Shown {
        table: "gold/vitals_by_bp_category",
        section: "categories",
        key: Some(VitalsByBpCategory::BP_CATEGORY.name()),
        columns: VitalsByBpCategory::COLUMNS,
        vitals: true,
    },
    Shown {
        table: "gold/medications",
        section: "medications",
        key: Some(Medications::MEDICATION.name()),
        columns: Medications::COLUMNS,
        vitals: false,
    },
];

/// Feeds `board` for ever. With a job to observe it shows what the job is doing, too.
pub async fn feed(board: Arc<Board>, follower: DeltaFollower, job: Observed, remote: bool) {
    board.update(|edit| pipeline::put_graph(edit, &job));
    let every = if remote { EVERY_REMOTE } else { live::EVERY };
    let committed = Committed::default();
    tokio::join!(
        live::keep(&board, &job, &committed),
        keep(&board, Tables::new(follower, &job), &job, &committed, every),
    );
}

/// Keeps what is committed on the board: looks for it `every` so often, more seldom while it cannot be read, which it says.
async fn keep(
    board: &Board,
    mut tables: Tables,
    job: &Observed,
    committed: &Committed,
    every: Duration,
) {
    let mut readers = board.readers();
    let mut told = String::new();
    let mut retry = every;
    while readers.wait_for(|readers| *readers > 0).await.is_ok() {
        while *readers.borrow_and_update() > 0 {
            let wait = match tables.follow(board, job, committed).await {
                Ok(is_read) => {
                    told.clear();
                    retry = every;
                    if is_read {
                        board.update(|edit| edit.set_stale(false));
                        board.set_ready(true);
                    }
                    every
                }
                Err(problem) => {
                    // Once, not each time; from the beginning the next time.
                    let problem = error::chain(&problem);
                    if problem != told {
                        tracing::warn!(error = problem, "the dashboard cannot read the tables");
                        told = problem;
                    }
                    tables.forget(job);
                    board.update(|edit| edit.set_stale(true));
                    board.set_ready(true);
                    let wait = retry;
                    retry = (retry * 2).min(SLOWEST);
                    wait
                }
            };
            pause(&mut readers, wait).await;
        }
        board.set_ready(false);
    }
}

/// Waits, but not for nobody.
pub(super) async fn pause(readers: &mut watch::Receiver<usize>, every: Duration) {
    let gone = readers.wait_for(|readers| *readers == 0);
    // Either way the caller looks how many there are.
    drop(tokio::time::timeout(every, gone).await);
}

fn put(edit: &mut Edit<'_>, section: &'static str, rows: &[Row]) {
    for row in rows {
        edit.put(section, row.key(), row);
    }
}

/// Which versions of the tables are on the board.
#[derive(Debug)]
struct Tables {
    follower: DeltaFollower,
    /// Whether there is anything of them, whatever was forgotten since.
    filled: bool,
    /// Version of the table of cuts.
    cuts: Option<TableVersion>,
    newest: Option<Cut>,
    /// How many cuts were put on the board: it lists them in the order in which they came.
    listed: u64,
    /// Versions by table.
    shown: BTreeMap<&'static str, u64>,
    /// Start of the newest minute that is committed, ms.
    committed: Option<i64>,
    /// How far messages had arrived, ms, while all minutes are of clocks that are ahead, and none is shown.
    hidden: Option<i64>,
    arrivals: Arrivals,
    alerts: alerts::Alerts,
}

/// What a table gained.
struct Gained {
    rows: Vec<Row>,
    section: &'static str,
}

/// What became of alerts since the last look.
struct AlertEvents {
    /// By the chain before, if that has ended meanwhile: what is open then ends with it.
    before: Option<alerts::Newest>,
    now: alerts::Newest,
}

impl Tables {
    fn new(follower: DeltaFollower, job: &Observed) -> Self {
        Self {
            arrivals: job.arrivals(follower.clone()),
            follower,
            filled: false,
            cuts: None,
            newest: None,
            listed: 0,
            shown: BTreeMap::new(),
            committed: None,
            hidden: None,
            alerts: alerts::Alerts::default(),
        }
    }

    fn forget(&mut self, job: &Observed) {
        *self = Self { filled: self.filled, ..Self::new(self.follower.clone(), job) };
    }

    /// Puts what was committed since the last call on the board, all of a checkpoint at once, and says so in `committed`.
    /// Whether the board shows what there is; when it does not, the next call begins anew.
    async fn follow(
        &mut self,
        board: &Board,
        job: &Observed,
        committed: &Committed,
    ) -> Result<bool> {
        let found = match &self.cuts {
            Some(known) => cuts::since(&self.follower, known).await?,
            None => cuts::newest(&self.follower).await?,
        };
        let Some(Found { version, cuts }) = found else {
            // Nothing was ever published, or there is no way on from what is known.
            let is_read = self.cuts.is_none();
            if is_read {
                self.empty(board, job, committed);
            } else {
                self.forget(job);
            }
            return Ok(is_read);
        };
        if self.cuts.as_ref() == Some(&version) {
            return Ok(true);
        }
        let fresh = self.newest.is_none();
        let mut chains: Vec<Cut> =
            newest_cuts(cuts.iter().chain(&self.newest)).into_iter().cloned().collect();
        let Some(newest) = chains.pop() else {
            self.empty(board, job, committed);
            self.cuts = Some(version);
            return Ok(true);
        };
        let Some(gained) = self.gained(&newest).await? else {
            self.forget(job);
            return Ok(false);
        };
        let before = self.ended(&chains, &newest);
        let Some(events) = self.alert_events(before, &newest).await? else {
            self.forget(job);
            return Ok(false);
        };
        let from = self.from() / 1_000;
        board.update(|edit| {
            if fresh {
                edit.clear();
                pipeline::put_graph(edit, job);
            }
            for gained in &gained {
                put(edit, gained.section, &gained.rows);
            }
            *lock(committed) = self.committed;
            if let Some(from) = self.committed.map(|newest| newest - millis(SPAN)) {
                for shown in &GOLD {
                    edit.forget_before(shown.section, &time_key(from));
                }
            }
            for cut in cuts.iter().skip(cuts.len().saturating_sub(CHECKPOINTS)) {
                self.listed += 1;
                let key = format!("{:020}", self.listed);
                edit.put("checkpoints", key, &pipeline::checkpoint(cut));
            }
            edit.keep_last("checkpoints", KEPT);
            self.alerts.forget(edit, from);
            if let Some(before) = events.before {
                self.alerts.put(edit, before, from);
                self.alerts.end(edit, from);
            }
            self.alerts.put(edit, events.now, from);
        });
        self.filled = true;
        self.shown = newest.versions.iter().filter_map(known).collect();
        self.cuts = Some(version);
        self.newest = Some(newest);
        Ok(true)
    }

    /// Takes what is of no table any more off the board.
    fn empty(&mut self, board: &Board, job: &Observed, committed: &Committed) {
        if std::mem::take(&mut self.filled) {
            board.update(|edit| {
                edit.clear();
                pipeline::put_graph(edit, job);
                *lock(committed) = None;
            });
        }
    }

    /// Rows that `cut` has and the board has not; `None` when that cannot be followed.
    async fn gained(&mut self, cut: &Cut) -> Result<Option<Vec<Gained>>> {
        let mut gained = Vec::new();
        let until = self.arrivals.until().await?;
        for shown in &GOLD {
            let Some(&version) = cut.versions.get(shown.table) else { continue };
            let Some(files) = self.files(shown.table, version).await? else { return Ok(None) };
            if shown.key.is_none() && self.committed.is_none() {
                let newest = newest_window(&files, until);
                self.committed = newest.map(|micros| micros / 1_000);
                if !files.is_empty() && !files.iter().any(|file| may_hold(file, i64::MIN, until)) {
                    self.hidden = Some(until / 1_000);
                    warn_hidden();
                }
            }
            let from = self.from();
            let mut rows = Vec::new();
            for file in files.iter().filter(|file| may_hold(file, from, until)) {
                for batch in self.follower.rows(shown.table, file, shown.columns).await? {
                    rows.extend(row::rows(&batch, shown.key, shown.vitals, &(from..=until)));
                }
            }
            if shown.key.is_none() {
                self.committed = rows.iter().map(|row| row.t).max().max(self.committed);
            }
            gained.push(Gained { rows, section: shown.section });
        }
        Ok(Some(gained))
    }

    /// Files with rows that are not shown yet.
    async fn files(&self, table: &'static str, version: u64) -> Result<Option<Vec<TableFile>>> {
        match self.shown.get(table) {
            None => self.follower.files(table, version).await.map(Some),
            Some(shown) if *shown > version => Ok(None),
            Some(shown) => self.follower.added(table, *shown, version).await,
        }
    }

    /// The last cut of the chain that ended since the last look, if one did. To who looks first it is the one before the
    /// newest.
    fn ended<'a>(&self, chains: &'a [Cut], newest: &Cut) -> Option<&'a Cut> {
        match &self.newest {
            None => chains.last(),
            Some(known) if known.chain == newest.chain => None,
            Some(known) => chains.iter().find(|cut| cut.chain == known.chain),
        }
    }

    /// What became of alerts since; `None` when that cannot be followed. At first all files are read: an alert may be
    /// open for long.
    async fn alert_events(&self, before: Option<&Cut>, cut: &Cut) -> Result<Option<AlertEvents>> {
        let version = |cut: &Cut| cut.versions.get(alerts::TABLE).copied();
        let (shown, to) = (self.shown.get(alerts::TABLE).copied(), version(cut));
        let is_near = |end: Option<u64>| {
            shown.is_some() || to.zip(end).is_none_or(|(to, end)| to.saturating_sub(end) <= REACH)
        };
        if let Some(end) = before.map(version).filter(|end| is_near(*end)) {
            match self.in_turn(shown, end, to).await {
                // The log reaches back a day or so: behind that nothing tells whose rows are whose.
                Ok(None) if shown.is_none() => {}
                Err(error) if shown.is_none() && is_gone(&error) => {}
                told => return told,
            }
        }
        let now = self.events(shown, to).await?;
        Ok(now.map(|now| AlertEvents { before: None, now }))
    }

    /// What the chain that ended at `end` says, and what was said behind it.
    async fn in_turn(
        &self,
        shown: Option<u64>,
        end: Option<u64>,
        to: Option<u64>,
    ) -> Result<Option<AlertEvents>> {
        let Some(before) = self.events(shown, end).await? else { return Ok(None) };
        let Some(now) = self.events(end.or(shown), to).await? else { return Ok(None) };
        Ok(Some(AlertEvents { before: Some(before), now }))
    }

    /// Of the rows that came behind version `after` of the table, or of all, up to version `to`, if there is one.
    async fn events(&self, after: Option<u64>, to: Option<u64>) -> Result<Option<alerts::Newest>> {
        let mut found = alerts::Newest::since(self.from() / 1_000);
        let Some(to) = to else { return Ok(Some(found)) };
        let files = match after {
            None => Some(self.follower.files(alerts::TABLE, to).await?),
            Some(after) => self.follower.added(alerts::TABLE, after, to).await?,
        };
        let Some(files) = files else { return Ok(None) };
        for file in &files {
            let (table, columns) = (alerts::TABLE, alerts::COLUMNS);
            let take =
                |found: &mut alerts::Newest, batch: RecordBatch| found.add(alerts::read(&batch));
            found = self.follower.fold(table, file, columns, found, take).await?;
        }
        Ok(Some(found))
    }

    /// From when on rows are shown, µs.
    fn from(&self) -> i64 {
        let newest = self.committed.or(self.hidden);
        newest.map_or(i64::MIN, |newest| (newest - millis(SPAN)) * 1_000)
    }
}

/// Whether a version cannot be read any more, its log entry or a file of it being gone, and not just now.
fn is_gone(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let is_missing = cause.is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound);
    is_missing || !error.kind().is_retryable()
}

/// By which rows of gold are found in time.
pub(super) const WINDOW: &str = "window_start";

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn known((table, version): (&String, &u64)) -> Option<(&'static str, u64)> {
    let mut tables = GOLD.iter().map(|shown| shown.table).chain([alerts::TABLE]);
    tables.find(|known| known == table).map(|known| (known, *version))
}

#[cfg(test)]
mod tests;
