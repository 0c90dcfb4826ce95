//! Merging the small files of one table.

use std::collections::{BTreeMap, HashSet};

use thalweg_core::Result;

use super::compatibility::{CHECKPOINT_PROTECTION, TableFacts};
use super::entry::Replacement;
use super::maintain::{Compacted, Compaction};
use super::plan::{self, DataFile};
use super::replace::{Replaced, Replacer};
use super::rewrite::{Group, Rewriter};
use super::storage::Storage;
use super::{active, paths, withheld};

/// What files grow to when the table does not say.
const TARGET_BYTES: u64 = 128 << 20;

/// Writer features under which a file may be replaced by one with the same rows.
const UNDERSTOOD_FEATURES: [&str; 6] = [
    "appendOnly",
    "invariants",
    "checkConstraints",
    "changeDataFeed",
    "generatedColumns",
    CHECKPOINT_PROTECTION,
];
/// The last protocol without column mapping.
const UNDERSTOOD_WRITER: i32 = 4;

/// Merges what there is to merge in `table`; an absent table has nothing.
pub(super) async fn compact(
    storage: &Storage,
    name: &str,
    options: &Compaction,
) -> Result<Compacted> {
    let Some((table, files)) = active::newest(storage, name).await? else {
        return Ok(Compacted::default());
    };
    let mut report = Compacted::of(&files);
    if let Some(why) = not_understood(&table.facts) {
        report.skipped = Some(format!("table `{name}` is left as it is: {why}"));
        return Ok(report);
    }
    let target = options
        .target_bytes
        .or_else(|| table.properties().target_file_size.map(std::num::NonZero::get))
        .unwrap_or(TARGET_BYTES);
    let small = files.into_iter().filter(|file| file.size < target);
    let (files, left): (Vec<_>, Vec<_>) = small.partition(|f| paths::can_be_removed(&f.path));
    if !left.is_empty() {
        report.skipped = Some(format!(
            "{} files of table `{name}` are left as they are: by their names nobody can tell how the log names them",
            left.len()
        ));
    }
    let bins = plan::bins(files, target, options.min_files);
    if options.dry_run {
        report.plan(&bins);
        return Ok(report);
    }
    let configuration = table.facts.configuration.clone();
    let watched = bins.iter().flatten().map(|f| f.path.clone()).collect::<HashSet<_>>();
    let rewriter = Rewriter::new(storage, name)?;
    let mut replacer = Replacer::new(storage, table, watched);
    for bin in bins {
        for group in rewriter.groups(bin).await? {
            merge(&rewriter, &mut replacer, group, &configuration, target, &mut report).await?;
        }
    }
    Ok(report)
}

async fn merge(
    rewriter: &Rewriter,
    replacer: &mut Replacer<'_>,
    group: Group,
    configuration: &BTreeMap<String, String>,
    target: u64,
    report: &mut Compacted,
) -> Result<()> {
    let mut told = plan::told(&group.files);
    told.retain(|column| withheld::tells(configuration, column));
    let adds = rewriter.write(&group, &told).await?;
    let removes = group.files.iter().map(|f| f.remove.clone()).collect();
    match replacer.replace(removes, &adds, &Replacement::Layout { target }).await? {
        Replaced::Done => {
            let bytes = adds.iter().map(|a| u64::try_from(a.size).unwrap_or(0)).sum();
            report.merged(&group.files, adds.len() as u64, bytes);
        }
        Replaced::Refused(why) => {
            rewriter.discard(&adds).await;
            report.abandoned(why);
        }
        // Some entry may name the new files: they stay for the vacuum.
        Replaced::Lost(why) => report.abandoned(why),
    }
    Ok(())
}

/// Why files of such a table are better left alone, if there is a reason.
pub(super) fn not_understood(table: &TableFacts) -> Option<String> {
    let features = &table.writer_features;
    if let Some(feature) = features.iter().find(|f| !UNDERSTOOD_FEATURES.contains(&f.as_str())) {
        return Some(format!("it uses the feature `{feature}`"));
    }
    let by_features = table.writer_version == 7 && !features.is_empty();
    let understood = table.writer_version <= UNDERSTOOD_WRITER || by_features;
    (!understood).then(|| format!("it needs writer version {}", table.writer_version))
}

impl Compacted {
    fn of(files: &[DataFile]) -> Self {
        let bytes = files.iter().map(|f| f.size).sum();
        let count = files.len() as u64;
        Self {
            files_before: count,
            files_after: count,
            bytes_before: bytes,
            bytes_after: bytes,
            ..Self::default()
        }
    }

    fn plan(&mut self, bins: &[Vec<DataFile>]) {
        for bin in bins {
            self.files_after -= bin.len() as u64 - 1;
            self.merges += 1;
        }
    }

    fn merged(&mut self, files: &[DataFile], count: u64, bytes: u64) {
        let before: u64 = files.iter().map(|f| f.size).sum();
        self.files_after = self.files_after.saturating_sub(files.len() as u64) + count;
        self.bytes_after = self.bytes_after.saturating_sub(before) + bytes;
        self.merges += 1;
    }

    fn abandoned(&mut self, why: &'static str) {
        tracing::debug!(why, "a merge was given up; the next run tries again");
        self.abandoned += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltalake::kernel::StructType;

    fn facts(version: i32, features: &[&str]) -> TableFacts {
        TableFacts {
            id: "id".to_owned(),
            schema: StructType::try_new([]).unwrap(),
            partition_columns: Vec::new(),
            configuration: BTreeMap::new(),
            writer_version: version,
            writer_features: features.iter().map(|f| (*f).to_owned()).collect(),
        }
    }

    #[test]
    fn tables_with_what_is_not_understood_are_left_alone() {
        for (version, features) in
            [(1, &[][..]), (2, &[]), (4, &[]), (7, &["appendOnly"]), (7, &[CHECKPOINT_PROTECTION])]
        {
            assert_eq!(not_understood(&facts(version, features)), None, "{version}");
        }
        for (version, features) in
            [(5, &[][..]), (6, &[]), (7, &[]), (8, &["appendOnly"]), (7, &["deletionVectors"])]
        {
            assert!(not_understood(&facts(version, features)).is_some(), "{version} {features:?}");
        }
    }
}
