//! Whether as much has happened as usual: over all, and of each kind, for one feed may die while others go on.

use thalweg_core::time::{EventTime, micros};

use super::{Check, Status, at_least, rounded, share};
use crate::healthcare::daily::Day;
use crate::healthcare::daily::limits::QualitySection;
use crate::healthcare::daily::summary::DaySummary;

/// How many days before a day was the same day of the week.
const WEEK: usize = 7;

/// How far a day has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// For no longer than `fresh_fail`, for which no event need come: too few of them may be chance, or on their way, and
    /// that all are silent is for freshness to say, which knows of the day before.
    Begun,
    /// For longer.
    GoesOn,
    /// To its end.
    Over,
}

impl Progress {
    pub(super) fn of(day: Day, now: EventTime, limits: &QualitySection) -> Self {
        if now >= day.end() {
            Self::Over
        } else if now.saturating_sub(day.start()) <= micros(limits.fresh_fail) {
            Self::Begun
        } else {
            Self::GoesOn
        }
    }

    /// How bad it is at most that there is too little.
    fn too_little(self) -> Status {
        if self == Self::Begun { Status::Warn } else { Status::Fail }
    }
}

pub(super) fn volume(day: &DaySummary, progress: Progress, limits: &QualitySection) -> Check {
    let mut earlier: Vec<u64> = day.earlier.iter().copied().filter(|events| *events > 0).collect();
    earlier.sort_unstable();
    let check = |observed, expected, status| Check {
        name: "volume.events".to_owned(),
        dimension: "volume",
        observed,
        expected,
        status,
    };
    let observed = format!("{} events", day.events);
    if day.events == 0 {
        return check(observed, "at least one".to_owned(), progress.too_little());
    }
    let Some(median) = median(&earlier) else {
        let expected =
            format!("no day of the {} before has events to compare with", limits.volume_days);
        return check(observed, expected, Status::Pass);
    };
    let expected = format!(
        "about {median}, the median of {} of the {} days before{}, within a factor of {}; each kind about its own",
        earlier.len(),
        limits.volume_days,
        if progress == Progress::Over { "" } else { " up to this time of day" },
        rounded(1.0 / limits.volume_warn)
    );
    let mut status = compared(day.events, median, progress, limits);
    let mut told = vec![observed];
    for (kind, earlier) in &day.earlier_kinds {
        if let Some((usual, unusual)) = of_kind(day, kind, earlier, progress, limits) {
            let found = day.kinds.get(kind).copied().unwrap_or_default();
            told.push(format!("{found} of kind {kind} where about {usual} are usual"));
            status = status.max(unusual);
        }
    }
    check(told.join("; "), expected, status)
}

/// What is usual of a kind and how bad it is that the day has other than that; `None` when nothing is wrong.
fn of_kind(
    day: &DaySummary,
    kind: &str,
    earlier: &[u64],
    progress: Progress,
    limits: &QualitySection,
) -> Option<(u64, Status)> {
    // A day without any event tells nothing; one without this kind does.
    let days = day.earlier.iter().zip(earlier).filter(|(all, _)| **all > 0);
    let mut counts: Vec<u64> = days.map(|(_, of_kind)| *of_kind).collect();
    counts.sort_unstable();
    let usual = median(&counts).filter(|usual| *usual > 0)?;
    let found = day.kinds.get(kind).copied().unwrap_or_default();
    let status = if usual as f64 * limits.volume_fail < 1.0 {
        // So few come and go by chance.
        if found == 0 { Status::Warn } else { Status::Pass }
    } else {
        compared(found, usual, progress, limits)
    };
    // What rests on this day of the week closes no gate each week.
    let a_week_before = day.earlier.get(WEEK - 1).filter(|all| **all > 0);
    let a_week_before = a_week_before.and_then(|_| earlier.get(WEEK - 1));
    let rests = a_week_before.is_some_and(|then| alike(found, *then, limits) == Status::Pass);
    let status = if rests { status.min(Status::Warn) } else { status };
    (status > Status::Pass).then_some((usual, status))
}

fn compared(found: u64, usual: u64, progress: Progress, limits: &QualitySection) -> Status {
    let status = alike(found, usual, limits);
    if found < usual { status.min(progress.too_little()) } else { status }
}

fn alike(found: u64, usual: u64, limits: &QualitySection) -> Status {
    let alike = share(found.min(usual), found.max(usual)).unwrap_or(1.0);
    at_least(alike, limits.volume_warn, limits.volume_fail)
}

/// The one in the middle, or what lies between the two there.
fn median(sorted: &[u64]) -> Option<u64> {
    let lower = sorted.get(sorted.len().checked_sub(1)? / 2)?;
    let upper = sorted.get(sorted.len() / 2)?;
    Some(lower.midpoint(*upper))
}
