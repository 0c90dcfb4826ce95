//! The published cuts as the board follows them: the newest few at first, then those behind what is known.

use thalweg_connectors::delta::{COMMITTED_AT, CUTS, DeltaFollower, TableFile, TableVersion};
use thalweg_core::Result;
use thalweg_core::connector::sink::Cut;

/// Checkpoints read at once.
pub(super) const CHECKPOINTS: usize = 30;

/// Cuts, and the version of their table that they reach to.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) version: TableVersion,
    /// Oldest first.
    pub(super) cuts: Vec<Cut>,
}

/// The newest few; `None` when nothing was ever published.
pub(super) async fn newest(follower: &DeltaFollower) -> Result<Option<Found>> {
    let Some(version) = follower.newest(CUTS).await? else { return Ok(None) };
    let mut files = follower.files(CUTS, version.number()).await?;
    let at =
        |file: &TableFile| file.greatest_second(COMMITTED_AT.name()).unwrap_or("9999").to_owned();
    files.sort_by_cached_key(at);
    let old = files.len().saturating_sub(CHECKPOINTS);
    let cuts = read(follower, &files.split_off(old)).await?;
    Ok(Some(Found { version, cuts }))
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
    cuts.sort_by_key(order);
    Ok(cuts)
}

/// In which order cuts were published.
pub(super) fn order(cut: &Cut) -> (i64, u64) {
    (cut.created_at, cut.checkpoint.0)
}
