use std::collections::{BTreeMap, BTreeSet};

use arrow_schema::{DataType, SchemaRef};
use thalweg_connectors::provenance::source_schema;
use thalweg_core::connector::source::{SourceReader, Split};
use thalweg_core::graph::NodeKind;

use super::*;
use crate::healthcare::HealthcareFormat;

/// A source that is only looked at.
#[derive(Debug)]
struct Silent;

impl Source for Silent {
    fn describe(&self) -> String {
        "silence".to_owned()
    }

    fn schema(&self) -> SchemaRef {
        source_schema(&HealthcareFormat::default())
    }

    fn is_bounded(&self) -> bool {
        true
    }

    fn identity(&self) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }

    fn start_splits(&self) -> Result<Vec<Split>> {
        Ok(Vec::new())
    }

    fn verify(&self, _: &BTreeMap<String, String>, _: &[Split]) -> Result<()> {
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Err(Error::internal("silence is not read"))
    }
}

fn parts() -> (Arc<dyn Source>, Arc<DeltaCommitter>, Arc<MasterKey>) {
    let tables = DeltaCommitter::new("tables").unwrap();
    (Arc::new(Silent), Arc::new(tables), Arc::new(MasterKey::generate().unwrap()))
}

fn graph() -> JobGraph {
    let (source, tables, key) = parts();
    healthcare_graph(&HealthcareConfig::default(), source, &tables, None, &key).unwrap()
}

fn input_of(graph: &JobGraph, sink: &str) -> SchemaRef {
    let node = graph.nodes().iter().find(|n| n.uid.as_str() == sink).unwrap();
    Arc::clone(&node.input_schema)
}

#[test]
fn the_graph_is_the_one_that_was_drawn() {
    let graph = graph();
    for (name, drawn, now) in [
        ("graph.txt", include_str!("graph.txt"), graph.to_text()),
        ("graph.mmd", include_str!("graph.mmd"), graph.to_mermaid()),
    ] {
        assert_eq!(now, drawn, "if this is meant, replace {name} by:\n{now}");
    }
}

#[test]
fn every_table_has_the_columns_of_its_record() {
    let graph = graph();
    for (sink, schema) in [
        ("bronze", Bronze::schema()),
        ("silver", Silver::schema()),
        ("late", Silver::schema()),
        ("quarantine", Quarantine::schema()),
        ("alerts", AlertEvent::schema()),
        ("gold-vitals-by-minute", VitalsByMinute::schema()),
        ("gold-vitals-by-bp-category", VitalsByBpCategory::schema()),
        ("gold-patient-vitals", PatientVitals::schema()),
        ("gold-medications", Medications::schema()),
        ("gold-kpis", Kpis::schema()),
    ] {
        assert_eq!(input_of(&graph, sink), schema, "{sink}");
    }
}

/// The rows of tables about columns that the guide has under a heading, in cells.
fn documented(heading: &str) -> Vec<Vec<&'static str>> {
    let page = include_str!("../../../../docs/guide/data.md");
    let title = format!("\n### {heading}\n");
    let section = page.split(title.as_str()).nth(1).unwrap();
    let section = section.split("\n### ").next().unwrap();
    let columns = section.split("\n| Column |").nth(1).unwrap();
    let rows = columns.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.split('|').map(str::trim).collect()).collect()
}

/// A type in Delta's words.
fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Utf8 => "string",
        DataType::Int32 => "integer",
        DataType::Int64 => "long",
        DataType::Float64 => "double",
        DataType::Boolean => "boolean",
        DataType::Binary => "binary",
        DataType::Timestamp(..) => "timestamp",
        DataType::List(_) => "array of string",
        _ => "a type that no record has",
    }
}

#[test]
fn the_guide_lists_the_columns_of_every_table() {
    let gold = [
        VitalsByMinute::schema(),
        VitalsByBpCategory::schema(),
        PatientVitals::schema(),
        Medications::schema(),
        Kpis::schema(),
    ];
    for (heading, schemas) in [
        ("`bronze/events`", vec![Bronze::schema()]),
        ("`silver/events`, `late/events`", vec![Silver::schema()]),
        ("`quarantine/events`", vec![Quarantine::schema()]),
        ("Dead letters", vec![DeadLetter::schema()]),
        ("`alerts/events`", vec![AlertEvent::schema()]),
        ("Gold", gold.to_vec()),
    ] {
        let rows = documented(heading);
        let mut listed = BTreeSet::new();
        for row in &rows {
            listed.extend(row[1].split(", "));
        }
        let mut columns = BTreeSet::new();
        for schema in &schemas {
            for field in schema.fields() {
                let name = format!("`{}`", field.name());
                let row = rows.iter().find(|row| row[1].split(", ").any(|listed| listed == name));
                let row = row.unwrap_or_else(|| panic!("{heading} does not list {name}"));
                let null = if field.is_nullable() { "yes" } else { "no" };
                let expected = (type_name(field.data_type()), null);
                assert_eq!((row[2], row[3]), expected, "{heading}: {name}");
                columns.insert(name);
            }
        }
        let columns: BTreeSet<&str> = columns.iter().map(String::as_str).collect();
        assert_eq!(listed, columns, "{heading}");
    }
}

#[test]
fn gold_is_committed_after_everything_else() {
    for node in graph().nodes() {
        if let NodeKind::Sink(sink) = &node.kind {
            let gold = node.uid.as_str().starts_with("gold-");
            assert_eq!(sink.rank() > 0, gold, "{}", node.uid);
        }
    }
}

#[test]
fn without_the_mask_the_graph_does_not_build_and_names_the_way() {
    let (source, tables, _) = parts();
    let config = HealthcareConfig::default();
    let env = StreamEnvironment::new(JOB);
    let valid =
        events(&env, source, &config.time).transform("validate", validation(&config.ranges));
    silver(valid, &tables, None);
    let errors = env.build().unwrap_err();
    let texts: Vec<String> = errors.problems().iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 5, "{texts:#?}");
    assert_eq!(
        texts[1],
        "node `silver`: column `ssn` (phi.ssn) reaches this sink unmasked by events -> validate -> \
         silver-columns -> silver; mask or drop it, or clear the sink"
    );
}

#[test]
fn without_the_seal_neither_bronze_nor_quarantine_builds() {
    let (source, tables, _) = parts();
    let config = HealthcareConfig::default();
    let env = StreamEnvironment::new(JOB);
    let events = events(&env, source, &config.time);
    let raw = Project::columns([Event::OFFSET.name(), Event::PAYLOAD.name()]);
    events.transform::<Bronze>("columns", raw).sink("bronze", DeltaSink::append(&tables, BRONZE));
    let errors = env.build().unwrap_err().to_string();
    assert!(errors.contains("column `payload` (phi.raw)"), "{errors}");
    assert!(errors.contains("events -> columns -> bronze"), "{errors}");
}

#[test]
fn what_is_tuned_is_no_part_of_what_a_checkpoint_must_fit() {
    let (source, tables, key) = parts();
    let mut config = HealthcareConfig::default();
    config.ranges.heart_rate.max = 400.0;
    config.runtime.parallelism += 1;
    config.alerts.limits.clear();
    let tuned = healthcare_graph(&config, source, &tables, None, &key).unwrap();
    assert_eq!(tuned.fingerprint(), graph().fingerprint());
}
