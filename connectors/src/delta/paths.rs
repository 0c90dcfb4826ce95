//! Which files an entry of ours can take out of a table.
//!
//! Readers match a `remove` to its `add` by the text of the path in the log. delta-rs decodes that text when it reads, and
//! encodes it anew when it writes: where another writer encodes otherwise (Spark leaves `ü` as it is), the `remove` would
//! match nothing, and the rows of the file would be there twice. Of an odd name nobody can tell how it stands in the log.

/// Characters that delta-rs encodes, or that others may.
const ENCODED: &[u8] = b"\\{}^%`[]\"<>#|*?";

/// Whether the file of this decoded path surely has the same text in the log as what delta-rs encodes the path to: each
/// character stands for itself, or belongs to the encoding of a partition's value in the name of its folder. Such a `%XX`
/// is still there after the decoding, so the log has `%25XX`, whoever wrote it.
pub(super) fn can_be_removed(path: &str) -> bool {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !ENCODED.contains(&b));
    let mut parts = path.split('%');
    let first = parts.next().is_none_or(plain);
    first
        && parts.all(|part| {
            part.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2 && plain(part)
        })
}

#[cfg(test)]
mod tests {
    use deltalake::kernel::Add;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_can_be_removed_whose_path_is_written_as_it_was_read() {
        let names = [
            ("part-0.snappy.parquet", true),
            ("day=2026-01-02/part-0.parquet", true),
            ("day=__HIVE_DEFAULT_PARTITION__/part-0.parquet", true),
            // Our own folder of `2026-01-02 ü/%?`.
            ("day=2026-01-02%2520%25C3%25BC%252F%2525%253F/part-0.parquet", true),
            // As Spark writes them, and others may.
            ("city=Zürich/part-0.parquet", false),
            ("city=St%20Gallen/part-0.parquet", false),
            ("city=a*b/part-0.parquet", false),
            ("city=100%/part-0.parquet", false),
        ];
        for (raw, expected) in names {
            let add = json!({
                "path": raw, "partitionValues": {}, "size": 1, "modificationTime": 1, "dataChange": true,
            });
            let add: Add = serde_json::from_value(add).unwrap();
            assert_eq!(can_be_removed(&add.path), expected, "{raw}");
            let written = serde_json::to_value(&add).unwrap();
            assert!(!expected || written["path"] == raw, "{written}");
        }
    }
}
