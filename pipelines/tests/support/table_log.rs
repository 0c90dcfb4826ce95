//! A table's log without delta-rs: which files it names, and a careless other writer, who puts entries into it by hand.

use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

/// Paths of a table's live data files, read from the log's JSON entries, and from a log checkpoint where the first of them
/// were cleaned up.
pub(crate) fn data_files(table: &Path) -> Vec<PathBuf> {
    data_files_at(table, i64::MAX)
}

/// Those that were live at a version.
pub(crate) fn data_files_at(table: &Path, version: i64) -> Vec<PathBuf> {
    let number = |entry: &Path| entry.file_stem()?.to_str()?.parse::<i64>().ok();
    let mut entries: Vec<PathBuf> = match fs::read_dir(table.join("_delta_log")) {
        Ok(entries) => entries.map(|e| e.unwrap().path()).collect(),
        Err(_) => return Vec::new(),
    };
    entries.retain(|p| p.extension().is_some_and(|e| e == "json"));
    entries.retain(|p| number(p).is_some_and(|n| n <= version));
    entries.sort();
    let mut live = Vec::new();
    if entries.first().and_then(|first| number(first)).is_some_and(|first| first > 0) {
        let (standing, checkpoint) = newest_checkpoint(table, version).unwrap();
        live.extend(files_in(&checkpoint).into_iter().map(|path| table.join(path)));
        entries.retain(|p| number(p).is_some_and(|n| n > standing));
    }
    for entry in entries {
        for line in fs::read_to_string(&entry).unwrap().lines() {
            let action: Value = serde_json::from_str(line).unwrap();
            if let Some(path) = action["add"]["path"].as_str() {
                live.push(table.join(path));
            }
            if let Some(path) = action["remove"]["path"].as_str() {
                let gone = table.join(path);
                live.retain(|p| *p != gone);
            }
        }
    }
    live
}

/// The newest log checkpoint up to `version`, and its version.
fn newest_checkpoint(table: &Path, version: i64) -> Option<(i64, PathBuf)> {
    let log = fs::read_dir(table.join("_delta_log")).unwrap().map(|e| e.unwrap().path());
    let numbered = log.filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        let number = name.strip_suffix(".checkpoint.parquet")?.parse::<i64>().ok()?;
        Some((number, path))
    });
    numbered.filter(|(number, _)| *number <= version).max()
}

/// Names of the live data files that a log checkpoint knows.
fn files_in(checkpoint: &Path) -> Vec<String> {
    let file = fs::File::open(checkpoint).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut names = Vec::new();
    for batch in batches {
        let batch = batch.unwrap();
        let adds = batch.column_by_name("add").unwrap().as_struct();
        let paths = adds.column_by_name("path").unwrap().as_string::<i32>();
        let rows = (0..batch.num_rows()).filter(|row| adds.is_valid(*row));
        names.extend(rows.map(|row| paths.value(row).to_owned()));
    }
    names
}

fn entries(table: &Path) -> Vec<PathBuf> {
    let log = fs::read_dir(table.join("_delta_log")).unwrap().map(|e| e.unwrap().path());
    let mut entries: Vec<PathBuf> =
        log.filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    entries.sort();
    entries
}

/// Adds an entry of these actions.
fn append(table: &Path, actions: &[Value]) {
    let newest = entries(table).pop().unwrap();
    let version: u64 = newest.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let text: Vec<String> = actions.iter().map(Value::to_string).collect();
    let next = newest.with_file_name(format!("{:020}.json", version + 1));
    fs::write(next, text.join("\n")).unwrap();
}

/// The actions of all entries.
fn actions(table: &Path) -> Vec<Value> {
    let texts = entries(table).into_iter().map(|entry| fs::read_to_string(entry).unwrap());
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.map(|line| serde_json::from_str(&line).unwrap()).collect()
}

/// Takes a file, and so its rows, out of a table.
pub(crate) fn lose_a_file(table: &Path) {
    let file = data_files(table).pop().unwrap();
    let name = file.strip_prefix(table).unwrap().to_str().unwrap();
    append(
        table,
        &[json!({ "remove": { "path": name, "dataChange": true, "deletionTimestamp": 1 } })],
    );
}

/// What `checkpoints rewind` says: the tables to restore, by statements that name their places, each to which version.
pub(crate) fn told_to_restore(told: &str) -> Vec<(&str, i64)> {
    fn of(line: &str) -> Option<(&str, i64)> {
        let (table, statement) = line.split_once("  RESTORE TABLE delta.`")?;
        let (place, version) = statement.split_once("` TO VERSION AS OF ").unwrap();
        let table = table.trim();
        assert!(place.starts_with('/') || place.contains("://"), "{line}");
        assert!(place.ends_with(&format!("/{table}")), "{line}");
        Some((table, version.parse().unwrap()))
    }
    told.lines().filter_map(of).collect()
}

/// Takes out of a table what came behind `version`, as `RESTORE TABLE` does where files were only added.
pub(crate) fn restore(table: &Path, version: i64) {
    let kept = data_files_at(table, version);
    let files = data_files(table);
    assert!(kept.iter().all(|file| files.contains(file)), "a file was removed meanwhile");
    let gone = files.iter().filter(|file| !kept.contains(file)).map(|file| {
        let name = file.strip_prefix(table).unwrap().to_str().unwrap();
        json!({ "remove": { "path": name, "dataChange": true, "deletionTimestamp": 1 } })
    });
    let removes: Vec<Value> = gone.collect();
    if !removes.is_empty() {
        append(table, &removes);
    }
}

/// Puts the rows of a file into a table once more.
pub(crate) fn double_a_file(table: &Path) {
    let file = data_files(table).pop().unwrap();
    let name = file.strip_prefix(table).unwrap().to_str().unwrap();
    let copy =
        file.with_file_name(format!("again-{}", file.file_name().unwrap().to_str().unwrap()));
    fs::copy(&file, &copy).unwrap();
    let adds = actions(table).into_iter().filter_map(|a| a.get("add").cloned());
    let mut add = adds.into_iter().find(|add| add["path"] == name).unwrap();
    add["path"] = json!(copy.strip_prefix(table).unwrap().to_str().unwrap());
    append(table, &[json!({ "add": add })]);
}

/// Names another file of as many rows in place of one.
pub(crate) fn replace_a_file(table: &Path, old: &Path, new: &Path) {
    let name = |file: &Path| file.strip_prefix(table).unwrap().to_str().unwrap().to_owned();
    let (old, size) = (name(old), fs::metadata(new).unwrap().len());
    let mut adds = actions(table).into_iter().filter_map(|a| a.get("add").cloned());
    let mut add = adds.find(|add| add["path"] == old.as_str()).unwrap();
    add["path"] = json!(name(new));
    add["size"] = json!(size);
    let remove = json!({ "path": old, "dataChange": true, "deletionTimestamp": 1 });
    append(table, &[json!({ "remove": remove }), json!({ "add": add })]);
}

/// Takes a column out of a table's schema.
pub(crate) fn drop_a_column(table: &Path, column: &str) {
    change_columns(table, |fields| {
        let before = fields.len();
        fields.retain(|field| field["name"] != column);
        assert_eq!(fields.len() + 1, before, "there is no such column");
    });
}

/// How often a table's columns or settings were written down, and the names of the columns in the end.
pub(crate) fn columns(table: &Path) -> (usize, Vec<String>) {
    let all: Vec<Value> =
        actions(table).into_iter().filter_map(|a| a.get("metaData").cloned()).collect();
    let text = all.last().unwrap()["schemaString"].as_str().unwrap();
    let schema: Value = serde_json::from_str(text).unwrap();
    let fields = schema["fields"].as_array().unwrap().iter();
    (all.len(), fields.map(|field| field["name"].as_str().unwrap().to_owned()).collect())
}

/// Changes the fields of a table's schema, as the log has them.
pub(crate) fn change_columns(table: &Path, change: impl FnOnce(&mut Vec<Value>)) {
    let mut newest_first = actions(table).into_iter().rev();
    let mut metadata = newest_first.find_map(|a| a.get("metaData").cloned()).unwrap();
    let mut schema: Value =
        serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    change(schema["fields"].as_array_mut().unwrap());
    metadata["schemaString"] = json!(schema.to_string());
    append(table, &[json!({ "metaData": metadata })]);
}
