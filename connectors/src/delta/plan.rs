//! Which small files become one: a pure decision over what the log says of them.
//!
//! Files are merged with files of about their size. So a byte is rewritten about as often as the size of its file
//! doubles, and not each time that something small comes along.

use std::collections::{BTreeMap, BTreeSet};

use deltalake::kernel::Remove;

/// Below this, files are alike: rewriting them costs next to nothing.
const SMALL_BYTES: u64 = 1 << 20;

/// A file of a table's newest version.
#[derive(Debug, Clone, Default)]
pub(crate) struct DataFile {
    /// Its name below the table's folder, not encoded.
    pub(crate) path: String,
    pub(crate) size: u64,
    /// When it was written, ms.
    pub(crate) modified: i64,
    pub(crate) partition: BTreeMap<String, Option<String>>,
    /// Rows in it, when the log says so.
    pub(crate) rows: Option<u64>,
    /// What the log says of its values, as JSON.
    pub(crate) stats: Option<String>,
    /// Columns of which the log keeps no value back.
    pub(crate) told: BTreeSet<String>,
    /// The action that takes it out of the table.
    pub(crate) remove: Remove,
}

/// Files to be merged, each bin into one file of at most about `target` bytes, oldest first.
pub(crate) fn bins(files: Vec<DataFile>, target: u64, min_files: usize) -> Vec<Vec<DataFile>> {
    let mut partitions: BTreeMap<_, Vec<DataFile>> = BTreeMap::new();
    for file in files.into_iter().filter(|f| f.size < target) {
        partitions.entry(file.partition.clone()).or_default().push(file);
    }
    let mut bins: Vec<Vec<DataFile>> =
        partitions.into_values().flat_map(|files| pack(files, target)).collect();
    bins.retain(|bin| bin.len() >= min_files.max(2));
    for bin in &mut bins {
        bin.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    }
    bins
}

fn pack(mut files: Vec<DataFile>, target: u64) -> Vec<Vec<DataFile>> {
    files.sort_by(|a, b| (a.size, a.modified, &a.path).cmp(&(b.size, b.modified, &b.path)));
    let mut bins = Vec::new();
    let mut bin: Vec<DataFile> = Vec::new();
    // Bytes in the bin, and in all files of about this size.
    let (mut bytes, mut alike) = (0, 0);
    for file in files {
        // Twice the last is about its size still: files of one writer are never equal.
        let last = bin.last().map_or(0, |file| 2 * file.size);
        let outgrown = file.size > alike.max(last).max(SMALL_BYTES);
        if outgrown || bytes + file.size > target {
            bins.push(std::mem::take(&mut bin));
            bytes = 0;
        }
        alike = if outgrown { file.size } else { alike + file.size };
        bytes += file.size;
        bin.push(file);
    }
    bins.push(bin);
    bins
}

/// The columns whose least and greatest values may stand in the log for a file that holds the rows of `files`: what
/// the log keeps back of one of them it shall not tell now. Its column may be marked since.
pub(crate) fn told(files: &[DataFile]) -> BTreeSet<String> {
    let mut told = files.iter().map(|file| &file.told);
    let first = told.next().cloned().unwrap_or_default();
    told.fold(first, |all, told| &all & told)
}

/// What statistics in the log tell of a file's values; nothing, where they cannot be read.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Told {
    num_records: serde_json::Value,
    pub(crate) min_values: BTreeMap<String, serde_json::Value>,
    pub(crate) max_values: BTreeMap<String, serde_json::Value>,
    pub(crate) null_count: BTreeMap<String, serde_json::Value>,
}

impl Told {
    pub(crate) fn parse(stats: Option<&str>) -> Self {
        stats.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// The columns of which statistics in the log keep no value back: they tell the least or the greatest, or that there is none.
pub(crate) fn columns_told(stats: Option<&str>) -> BTreeSet<String> {
    let Told { num_records, min_values, max_values, null_count } = Told::parse(stats);
    let values = min_values.into_iter().chain(max_values);
    let values = values.filter(|(_, value)| !value.is_null());
    let all_null = null_count.into_iter().filter(|(_, n)| n.is_u64() && *n == num_records);
    values.chain(all_null).map(|(name, _)| name).collect()
}

/// The least and the greatest time in a column, µs, when statistics in the log tell both. They are written to the
/// millisecond, cut off.
pub(crate) fn times_told(stats: Option<&str>, column: &str) -> Option<(i64, i64)> {
    let Told { min_values, max_values, .. } = Told::parse(stats);
    let micros = |values: &BTreeMap<String, serde_json::Value>| {
        let time = speedate::DateTime::parse_str(values.get(column)?.as_str()?).ok()?;
        let seconds = time.timestamp_tz().checked_mul(1_000_000)?;
        seconds.checked_add(i64::from(time.time.microsecond))
    };
    Some((micros(&min_values)?, micros(&max_values)?.saturating_add(999)))
}

/// The newest time no later than `until` that files surely hold, of the least and the greatest of each. One that holds later
/// ones, too, counts by its least, and one that holds nothing else does not count.
pub fn newest_until(told: impl IntoIterator<Item = (i64, i64)>, until: i64) -> Option<i64> {
    let within = told.into_iter().filter(|(least, _)| *least <= until);
    within.map(|(least, greatest)| if greatest <= until { greatest } else { least }).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn files(sizes: &[u64]) -> Vec<DataFile> {
        let file = |(i, size): (usize, &u64)| DataFile {
            path: format!("{i:04}"),
            size: *size,
            modified: i as i64,
            ..DataFile::default()
        };
        sizes.iter().enumerate().map(file).collect()
    }

    fn sizes(bins: &[Vec<DataFile>]) -> Vec<Vec<u64>> {
        bins.iter().map(|bin| bin.iter().map(|f| f.size).collect()).collect()
    }

    #[test]
    fn small_files_fill_bins_up_to_the_target_and_too_few_are_left_alone() {
        let found = bins(files(&[MIB; 20]), 8 * MIB, 8);
        assert_eq!(sizes(&found), [vec![MIB; 8], vec![MIB; 8]]);
        assert!(bins(files(&[MIB; 7]), 8 * MIB, 8).is_empty());
        assert!(bins(files(&[8 * MIB; 20]), 8 * MIB, 2).is_empty(), "large enough already");
        assert!(bins(files(&[5]), MIB, 0).is_empty(), "one file is never a bin");
    }

    #[test]
    fn files_of_about_one_size_become_one() {
        let about: Vec<u64> = (0..8).map(|i| 3 * MIB + i * 7_001).collect();
        assert_eq!(sizes(&bins(files(&about), 128 * MIB, 8)), [about]);
    }

    #[test]
    fn a_file_is_merged_with_files_of_its_size_only() {
        let found = bins(files(&[10 * MIB, MIB, MIB, MIB, 2 * MIB]), 128 * MIB, 2);
        assert_eq!(sizes(&found), [vec![MIB, MIB, MIB, 2 * MIB]], "the one of 10 MiB stays");
        let found = bins(files(&[50 * MIB, 1, 50 * MIB, 1]), 128 * MIB, 2);
        assert_eq!(sizes(&found), [vec![1, 1], vec![50 * MIB, 50 * MIB]]);
    }

    /// Merges what is due, as the default asks for it; the bytes that were rewritten.
    fn merge(held: &mut Vec<u64>) -> u64 {
        let mut rewritten = 0;
        for bin in bins(files(held), 128 * MIB, 8) {
            let bytes: u64 = bin.iter().map(|f| f.size).sum();
            rewritten += bytes;
            for file in bin {
                let at = held.iter().position(|size| *size == file.size).unwrap();
                held.swap_remove(at);
            }
            held.push(bytes);
        }
        rewritten
    }

    #[test]
    fn a_byte_is_rewritten_as_often_as_its_file_doubles() {
        let (mut held, mut rewritten) = (Vec::new(), 0);
        for _ in 0..1_000 {
            held.extend([MIB; 8]);
            rewritten += merge(&mut held);
        }
        assert!(rewritten < 8_000 * MIB * 7, "{} times", rewritten / (8_000 * MIB));
        assert!(held.len() < 200, "{}", held.len());
    }

    #[test]
    fn an_hour_of_checkpoints_of_many_writers_stays_within_a_budget_of_files() {
        const WRITERS: usize = 8;
        // A checkpoint every ten seconds, a merge every five minutes.
        const CHECKPOINTS: usize = 360;
        const BETWEEN: usize = 30;
        for size in [20 << 10, 300 << 10, 3 * MIB] {
            let (mut held, mut most, mut rewritten) = (Vec::new(), 0, 0);
            let mut written = 0;
            for checkpoint in 1..=CHECKPOINTS {
                // No two are equal, and each is within a tenth of the others.
                let sizes = (0..WRITERS)
                    .map(|w| size + (checkpoint * 7 + w * 13) as u64 % 97 * (size / 1_000));
                let sizes: Vec<u64> = sizes.collect();
                written += sizes.iter().sum::<u64>();
                held.extend(sizes);
                most = most.max(held.len());
                if checkpoint % BETWEEN == 0 {
                    rewritten += merge(&mut held);
                }
            }
            // What came since the last merge, and files that are as large as they should be.
            assert!(most < WRITERS * BETWEEN + 80, "{most} files of {size} bytes");
            assert!(held.len() < 80, "{} of {}", held.len(), WRITERS * CHECKPOINTS);
            assert_eq!(held.iter().sum::<u64>(), written, "a byte is lost, or there twice");
            assert!(rewritten < 3 * written, "{rewritten} of {written}");
        }
    }

    #[test]
    fn partitions_are_not_mixed_and_rows_keep_the_order_in_which_they_came() {
        let mut all = files(&[5, 4, 3, 2]);
        for file in &mut all {
            let day = (file.size % 2 == 0).then(|| "a".to_owned());
            file.partition = BTreeMap::from([("day".to_owned(), day)]);
        }
        assert_eq!(sizes(&bins(all, MIB, 2)), [vec![5, 3], vec![4, 2]]);
    }

    #[test]
    fn what_the_log_keeps_back_of_one_file_it_is_not_told_now() {
        let mut all = files(&[1, 1]);
        all[0].told = columns_told(Some(
            r#"{"numRecords":2,"minValues":{"a":1,"name":"A","n":null},"maxValues":{"b":2},"nullCount":{"c":0,"d":2}}"#,
        ));
        assert_eq!(told(&all[..1]), BTreeSet::from(["a", "b", "d", "name"].map(str::to_owned)));
        // In the other one the name is marked, and of `b` there is no value that could be told.
        all[1].told = columns_told(Some(
            r#"{"numRecords":3,"minValues":{"a":1,"d":1},"maxValues":{"a":2,"d":1},"nullCount":{"a":0,"b":3,"d":2}}"#,
        ));
        assert_eq!(told(&all), BTreeSet::from(["a", "b", "d"].map(str::to_owned)));
        for nothing in [None, Some("?"), Some("{}"), Some(r#"{"nullCount":{"a":null,"b":0}}"#)] {
            assert!(columns_told(nothing).is_empty(), "{nothing:?}");
        }
        assert!(told(&[]).is_empty());
    }

    #[test]
    fn the_times_of_a_file_are_read_from_its_statistics() {
        let stats = r#"{"numRecords":2,"minValues":{"t":"1970-01-01T00:00:01.500Z","n":1},"maxValues":{"t":"1970-01-01T00:00:02+00:00","n":2}}"#;
        assert_eq!(times_told(Some(stats), "t"), Some((1_500_000, 2_000_999)));
        for column in ["n", "absent"] {
            assert_eq!(times_told(Some(stats), column), None);
        }
        assert_eq!(times_told(None, "t"), None);
        assert_eq!(times_told(Some("?"), "t"), None);
    }

    #[test]
    fn one_time_that_is_far_ahead_hides_no_age() {
        const HOUR: i64 = 3_600_000_000;
        let now = 100 * HOUR;
        let old = (now - 4 * HOUR, now - 3 * HOUR);
        let ahead = now + 20 * HOUR;
        // Alone in its file, beside what is old, and beside what is new.
        assert_eq!(newest_until([old, (ahead, ahead)], now), Some(now - 3 * HOUR));
        assert_eq!(newest_until([old, (now - 2 * HOUR, ahead)], now), Some(now - 2 * HOUR));
        assert_eq!(newest_until([old, (now - 1, ahead)], now), Some(now - 1));
        assert_eq!(newest_until([old, (now - 1, now)], now), Some(now));
        assert_eq!(newest_until([(ahead, ahead)], now), None);
        assert_eq!(newest_until([], now), None);
    }
}
