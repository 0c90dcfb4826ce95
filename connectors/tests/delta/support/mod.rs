//! A lake in a temporary folder, rows for it, and what a stranger would see or do there.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "helpers of tests, of which each file uses a part"
)]

pub mod faults;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use deltalake::DeltaTable;
use deltalake::kernel::Add;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_core::connector::sink::{
    Committed, Committer, IoHandle, PendingCommit, Sink, SinkWriter, Staged, TargetExpectation,
    TargetStatus, WriterContext,
};
use thalweg_core::connector::staging::DecidedCheckpoint;
use thalweg_core::sensitivity::{Sensitivity, mark};
use thalweg_core::testing::MemoryStaging;
use thalweg_core::{Attempt, CheckpointId, Result, SubtaskIndex};

pub const TABLE: &str = "silver/events";
pub const APP: &str = "job/chain/0/silver";

pub struct Lake {
    pub folder: Arc<tempfile::TempDir>,
    pub committer: Arc<DeltaCommitter>,
    pub id: String,
}

impl Lake {
    /// A lake with one table, made as a job would make it.
    pub async fn new() -> Self {
        Self::with(|committer| committer, |sink| sink).await
    }

    pub async fn with(
        committer: impl FnOnce(DeltaCommitter) -> DeltaCommitter,
        sink: impl FnOnce(DeltaSink) -> DeltaSink,
    ) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let committer = Arc::new(committer(DeltaCommitter::new(folder.path()).unwrap()));
        let mut lake = Self { folder, committer, id: String::new() };
        let sink = sink(lake.sink());
        lake.id = lake.open(&sink, &TargetExpectation::default(), false).await.unwrap().id;
        lake
    }

    /// The same folder as another process sees it.
    pub fn restarted(&self) -> Self {
        self.restarted_with(|committer| committer)
    }

    pub fn restarted_with(&self, committer: impl FnOnce(DeltaCommitter) -> DeltaCommitter) -> Self {
        let fresh = DeltaCommitter::new(self.folder.path()).unwrap();
        Self {
            folder: Arc::clone(&self.folder),
            committer: Arc::new(committer(fresh)),
            id: self.id.clone(),
        }
    }

    pub fn sink(&self) -> DeltaSink {
        DeltaSink::append(&self.committer, TABLE)
    }

    pub async fn open(
        &self,
        sink: &DeltaSink,
        expected: &TargetExpectation,
        adopt: bool,
    ) -> Result<TargetStatus> {
        let target = sink.target(&schema()).unwrap();
        self.committer.open(&target, APP, expected, adopt).await
    }

    pub async fn commit(&self, n: u64, staged: Staged) -> Result<Committed> {
        self.committer.commit(&self.pending(n, staged), &decided()).await
    }

    pub fn pending(&self, n: u64, staged: Staged) -> PendingCommit {
        pending(&self.id, n, staged)
    }

    /// Stages rows with these ids by a writer of its own.
    pub async fn stage(&self, ids: std::ops::Range<i64>) -> Staged {
        stage(&self.sink(), ids).await
    }

    pub async fn append(&self, n: u64, ids: std::ops::Range<i64>) -> Result<Committed> {
        let staged = self.stage(ids).await;
        self.commit(n, staged).await
    }

    pub fn table_folder(&self) -> PathBuf {
        self.folder.path().join(TABLE)
    }

    pub fn entry(&self, v: u64) -> PathBuf {
        self.table_folder().join(format!("_delta_log/{v:020}.json"))
    }

    /// The table as a stranger reads it.
    pub async fn table(&self) -> DeltaTable {
        open_table(&self.table_folder()).await
    }

    pub async fn version(&self) -> u64 {
        self.table().await.version().unwrap()
    }

    /// Every id in the table, ascending.
    pub async fn ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self
            .read()
            .await
            .iter()
            .flat_map(|b| {
                let column = b.column_by_name("id").unwrap();
                column.as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
            })
            .collect();
        ids.sort_unstable();
        ids
    }

    pub async fn read(&self) -> Vec<RecordBatch> {
        read_files(&self.table().await)
    }

    /// Another's commits that add nothing, straight into the log.
    pub fn foreign_entries(&self, versions: impl IntoIterator<Item = u64>) {
        for v in versions {
            let info = json!({ "commitInfo": { "operation": "SOMETHING", "timestamp": 1 } });
            self.foreign_entry(v, &[info]);
        }
    }

    pub fn foreign_entry(&self, v: u64, actions: &[Value]) {
        let lines: Vec<String> = actions.iter().map(ToString::to_string).collect();
        assert!(!self.entry(v).exists());
        std::fs::write(self.entry(v), lines.join("\n")).unwrap();
    }

    /// A file as another writes it, and the action that takes it in, as one that changes no data.
    pub fn foreign_file(&self, name: &str, rows: &RecordBatch) -> Value {
        let path = self.table_folder().join(name);
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
        writer.write(rows).unwrap();
        writer.close().unwrap();
        self.foreign_add(name, rows.num_rows())
    }

    /// The action that takes in a file of another, as one that changes no data.
    pub fn foreign_add(&self, name: &str, rows: usize) -> Value {
        let path = self.table_folder().join(name);
        json!({ "add": {
            "path": name,
            "partitionValues": {},
            "size": std::fs::metadata(path).unwrap().len(),
            "modificationTime": 1,
            "dataChange": false,
            "stats": json!({ "numRecords": rows }).to_string(),
        }})
    }

    /// Another's leave to use deletion vectors.
    pub fn foreign_vectors(&self, v: u64) {
        let vectors = ["deletionVectors"];
        let protocol = json!({ "protocol": {
            "minReaderVersion": 3, "minWriterVersion": 7,
            "readerFeatures": vectors, "writerFeatures": vectors,
        }});
        self.foreign_entry(v, &[protocol]);
    }

    /// Another's deletion of six rows of the file that entry 1 has added, by a vector.
    pub fn foreign_deletion(&self, v: u64) {
        let text = std::fs::read_to_string(self.entry(1)).unwrap();
        let mut actions = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut add = actions.find(|action| action.get("add").is_some()).unwrap();
        let path = add["add"]["path"].clone();
        add["add"]["deletionVector"] = json!({
            "storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^",
            "offset": 4, "sizeInBytes": 40, "cardinality": 6,
        });
        let remove =
            json!({ "remove": { "path": path, "dataChange": true, "deletionTimestamp": 1 } });
        self.foreign_entry(v, &[remove, add]);
    }

    /// Another's change of the table's columns or settings.
    pub fn foreign_change(&self, v: u64, change: impl FnOnce(&mut Value, &mut Value)) {
        let first = std::fs::read_to_string(self.entry(0)).unwrap();
        let mut action = first
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|action| action.get("metaData").is_some())
            .unwrap();
        let metadata = &mut action["metaData"];
        let mut schema: Value =
            serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
        change(metadata, &mut schema);
        metadata["schemaString"] = Value::String(schema.to_string());
        self.foreign_entry(v, &[action]);
    }

    /// Another's log checkpoint and removal of every entry below it.
    pub async fn foreign_cleanup(&self) {
        foreign_cleanup(&self.table_folder()).await;
    }
}

pub async fn foreign_cleanup(folder: &std::path::Path) {
    let table = open_table(folder).await;
    deltalake::checkpoints::create_checkpoint(&table, None).await.unwrap();
    for v in 0..table.version().unwrap() {
        drop(std::fs::remove_file(folder.join(format!("_delta_log/{v:020}.json"))));
    }
}

pub async fn wait_until(limit: Duration, done: impl Fn() -> bool) {
    let waits = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(limit, waits).await;
    assert!(waited.is_ok(), "what is waited for has not come within {limit:?}");
}

pub async fn open_table(folder: &std::path::Path) -> DeltaTable {
    let url = url::Url::from_directory_path(folder).unwrap();
    deltalake::open_table(url).await.unwrap()
}

pub fn read_files(table: &DeltaTable) -> Vec<RecordBatch> {
    table
        .get_file_uris()
        .unwrap()
        .flat_map(|path| {
            let file = std::fs::File::open(path).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            reader.map(|batch| batch.unwrap())
        })
        .collect()
}

/// What the manifest of checkpoint `n` decides for the table that has this id.
pub fn pending(id: &str, n: u64, staged: Staged) -> PendingCommit {
    PendingCommit {
        sink: "silver".to_owned(),
        kind: "delta".to_owned(),
        path: TABLE.to_owned(),
        target_id: id.to_owned(),
        app_id: APP.to_owned(),
        checkpoint: CheckpointId(n),
        rank: 0,
        rows: staged.rows,
        staged: staged.items,
        void: false,
    }
}

pub async fn stage(sink: &DeltaSink, ids: std::ops::Range<i64>) -> Staged {
    let mut writer = writer(sink, schema());
    writer.write(batch(ids)).await.unwrap();
    writer.close_epoch(CheckpointId(1)).await.unwrap()
}

pub fn writer(sink: &DeltaSink, schema: SchemaRef) -> Box<dyn SinkWriter> {
    let staging = Arc::new(MemoryStaging::default());
    let (subtask, attempt, io) = (SubtaskIndex(0), Attempt(1), io());
    let context = WriterContext { subtask, attempt, schema, io, staging };
    sink.writer(context).unwrap()
}

/// Delta sinks stage nothing in the checkpoint itself.
pub fn decided() -> Arc<dyn DecidedCheckpoint> {
    Arc::new(MemoryStaging::default())
}

pub fn io() -> IoHandle {
    let runtime = tokio::runtime::Handle::current();
    IoHandle::new(move |future| drop(runtime.spawn(future)))
}

pub fn schema() -> SchemaRef {
    let text = Arc::new(Field::new("item", DataType::Utf8, true));
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", instant, false),
        Field::new("tags", DataType::List(text), true),
        Field::new("payload", DataType::Binary, true),
        Field::new("day", DataType::Utf8, true),
    ]))
}

/// The same columns, of which the name is marked.
pub fn marked_schema() -> SchemaRef {
    let field = |field: &Arc<Field>| match field.name().as_str() {
        "name" => Arc::new(mark(field.as_ref().clone(), [Sensitivity::PhiName])),
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new(schema().fields().iter().map(field).collect::<Fields>()))
}

/// Rows whose every third name and every second day is null.
pub fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
    let names = ids.clone().map(|i| (i % 3 != 0).then(|| format!("name {i}")));
    let days = ids.clone().map(|i| (i % 2 != 0).then_some("2026-01-02 ü/%?"));
    let mut tags = ListBuilder::new(StringBuilder::new());
    for i in ids.clone() {
        if i % 4 == 0 {
            tags.append(false);
        } else {
            tags.append_value([Some("a"), None]);
        }
    }
    let payloads: Vec<Vec<u8>> = ids.clone().map(|i| i.to_be_bytes().to_vec()).collect();
    let instants = TimestampMicrosecondArray::from_iter_values(ids.clone().map(|i| i * 1_000_000));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids)),
        Arc::new(names.collect::<StringArray>()),
        Arc::new(instants.with_timezone("UTC")),
        Arc::new(tags.finish()),
        Arc::new(BinaryArray::from_iter_values(payloads)),
        Arc::new(days.collect::<StringArray>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

pub fn add(item: &Value) -> Add {
    serde_json::from_value(item.clone()).unwrap()
}
