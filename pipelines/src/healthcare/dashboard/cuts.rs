//! The published cuts of the job as the board follows them: the newest few at first, then those behind what is known.

use thalweg_connectors::delta::{
    COMMITTED_AT, CUTS, DeltaFollower, TableFile, TableVersion, newest_cuts,
};
use thalweg_core::Result;
use thalweg_core::connector::sink::Cut;

use crate::healthcare::graph::JOB;

/// Checkpoints read at once.
pub(super) const CHECKPOINTS: usize = 30;

/// Cuts, and the version of their table that they reach to.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) version: TableVersion,
    /// Chain by chain, those before first, and by number in each: a clock may have been set back.
    pub(super) cuts: Vec<Cut>,
}

/// The newest few, and the last one of each chain before; `None` when nothing was ever published.
pub(super) async fn newest(follower: &DeltaFollower) -> Result<Option<Found>> {
    let Some(version) = follower.newest(CUTS).await? else { return Ok(None) };
    let (mut new, mut old) = by_age(follower.files(CUTS, version.number()).await?);
    let mut cuts = read(follower, &new).await?;
    // Where other jobs publish, those of this one may all be older.
    while cuts.is_empty() && !old.is_empty() {
        (new, old) = by_age(old);
        cuts = read(follower, &new).await?;
    }
    let mut all = before(follower, &cuts, old).await?;
    all.append(&mut cuts);
    Ok(Some(Found { version, cuts: all }))
}

/// Of chains that are not among `cuts` the last cut of each, oldest first, as far as the newest few files that are not of
/// the newest chain alone tell.
async fn before(
    follower: &DeltaFollower,
    cuts: &[Cut],
    mut files: Vec<TableFile>,
) -> Result<Vec<Cut>> {
    let Some(newest) = cuts.last() else { return Ok(Vec::new()) };
    files.retain(|file| !file.holds_only("chain", &newest.chain));
    let mut found = read(follower, &by_age(files).0).await?;
    found.retain(|cut| cuts.iter().all(|known| known.chain != cut.chain));
    Ok(newest_cuts(&found).into_iter().cloned().collect())
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
    let ends: Vec<Cut> = newest_cuts(&cuts).into_iter().cloned().collect();
    let chain = |cut: &Cut| ends.iter().position(|end| end.chain == cut.chain);
    cuts.sort_by_key(|cut| (chain(cut), cut.checkpoint));
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
