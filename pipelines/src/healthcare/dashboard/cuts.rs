//! The published cuts of the job as the board follows them: the newest few at first, then those behind what is known.

use thalweg_connectors::delta::{COMMITTED_AT, CUTS, DeltaFollower, TableFile, TableVersion};
use thalweg_core::Result;
use thalweg_core::connector::sink::Cut;

use crate::healthcare::graph::JOB;

/// Checkpoints read at once.
pub(super) const CHECKPOINTS: usize = 30;

/// Cuts, and the version of their table that they reach to.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) version: TableVersion,
    /// By the clock, oldest first.
    pub(super) cuts: Vec<Cut>,
}

/// The newest few; `None` when nothing was ever published.
pub(super) async fn newest(follower: &DeltaFollower) -> Result<Option<Found>> {
    let Some(version) = follower.newest(CUTS).await? else { return Ok(None) };
    let (mut new, mut old) = by_age(follower.files(CUTS, version.number()).await?);
    loop {
        let cuts = read(follower, &new).await?;
        // Where other jobs publish, those of this one may all be older.
        if !cuts.is_empty() || old.is_empty() {
            return Ok(Some(Found { version, cuts }));
        }
        (new, old) = by_age(old);
    }
}

/// Those behind `known`; `None` when there is no way from there: the newest are to be read again.
pub(super) async fn since(follower: &DeltaFollower, known: &TableVersion) -> Result<Option<Found>> {
    let Some((version, files)) = follower.since(CUTS, known).await? else { return Ok(None) };
    let cuts = read(follower, &files).await?;
    Ok(Some(Found { version, cuts }))
}

async fn read(follower: &DeltaFollower, files: &[TableFile]) -> Result<Vec<Cut>> {
    let mut cuts = Vec::new();
    for file in files {
        cuts.extend(follower.cuts(file).await?);
    }
    cuts.retain(|cut| cut.job == JOB);
    cuts.sort_by_key(|cut| (cut.created_at, cut.checkpoint));
    Ok(cuts)
}

/// The files with the newest cuts, by the clock and by number, and the others: the clock may have been set back, numbers
/// may begin anew.
fn by_age(files: Vec<TableFile>) -> (Vec<TableFile>, Vec<TableFile>) {
    let oldest = bound(files.iter().map(|file| second(file).to_owned()));
    let least = bound(files.iter().map(number));
    let is_new =
        |file: &TableFile| Some(second(file)) >= oldest.as_deref() || Some(number(file)) >= least;
    files.into_iter().partition(is_new)
}

fn second(file: &TableFile) -> &str {
    file.greatest_second(COMMITTED_AT.name()).unwrap_or("9999")
}

fn number(file: &TableFile) -> i64 {
    file.greatest_number("checkpoint").unwrap_or(i64::MAX)
}

/// The least of the greatest few; `None` when there are no others.
fn bound<K: Ord>(keys: impl Iterator<Item = K>) -> Option<K> {
    let mut keys: Vec<K> = keys.collect();
    keys.sort_unstable();
    let at = keys.len().checked_sub(CHECKPOINTS)?;
    keys.into_iter().nth(at)
}
