//! Tables with rows: what a small run over a file leaves.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use thalweg_connectors::delta::DeltaCommitter;
use thalweg_connectors::file::JsonLinesSource;
use thalweg_core::connector::source::Source;
use thalweg_core::crypto::MasterKey;
use thalweg_pipelines::healthcare::hospital::{Hospital, HospitalSettings};
use thalweg_pipelines::healthcare::{HealthcareConfig, HealthcareFormat, healthcare_graph};
use thalweg_runtime::{JobBuilder, MemoryStorage, Settings};

/// Five minutes of a hospital, a tenth of a second from one event to the next.
const EVENTS: usize = 3_000;

/// Fills the tables below `data` with the events of a few patients, from number 1,000, and with a few messages that are
/// none.
pub(crate) fn fill(data: &Path) {
    std::fs::create_dir(data).unwrap();
    let input = data.with_extension("jsonl");
    let settings = HospitalSettings {
        patients: 20,
        step_micros: 100_000.0,
        bad: 0.02,
        ..HospitalSettings::default()
    };
    let mut file = BufWriter::new(File::create(&input).unwrap());
    for event in Hospital::new(settings).take(EVENTS) {
        file.write_all(&event.payload).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.flush().unwrap();
    let source: Arc<dyn Source> =
        Arc::new(JsonLinesSource::new(&input, Arc::new(HealthcareFormat::default())));
    let tables = Arc::new(DeltaCommitter::new(data).unwrap());
    let key = Arc::new(MasterKey::generate().unwrap());
    let graph =
        healthcare_graph(&HealthcareConfig::default(), source, &tables, None, &key).unwrap();
    let summary = JobBuilder::new(graph, Arc::new(MemoryStorage::default()), key)
        .settings(Settings { parallelism: 1, ..Settings::default() })
        .start()
        .unwrap()
        .join()
        .unwrap();
    assert!(summary.finished && summary.written["gold-patient-vitals"] > 0, "no rows to ask for");
}
