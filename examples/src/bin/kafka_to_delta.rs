//! A Kafka topic into a Delta table, exactly once: `kafka_to_delta FOLDER [BROKERS TOPIC]`. Reads what the topic has
//! when the job begins, and ends. Without brokers it fills one inside of the process, which forgets all at exit.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::ArrayRef;
use arrow_schema::Fields;
use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_connectors::kafka::{DemoBroker, KafkaConfig, KafkaSource, TopicWriter};
use thalweg_core::connector::decode::{Decoder, Format, Messages};
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_examples::Usage;
use thalweg_operators::prelude::*;
use thalweg_runtime::{JobBuilder, LocalStorage};

/// A format that decodes nothing: the source's own columns say it all.
#[derive(Debug)]
struct Bytes;

impl Format for Bytes {
    fn fields(&self) -> Fields {
        Fields::empty()
    }
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Self)
    }
}
impl Decoder for Bytes {
    fn decode(&mut self, _: Messages<'_>) -> Result<Vec<ArrayRef>> {
        Ok(Vec::new())
    }
}

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Message {
    partition: i32,
    offset: i64,
    #[record(sensitivity = "phi.raw")]
    payload: Option<Vec<u8>>,
}

fn filled_broker(topic: &str) -> Result<DemoBroker> {
    let broker = DemoBroker::start(topic, 4)?;
    let writer = TopicWriter::new(broker.bootstrap_servers(), topic, &BTreeMap::new())?;
    for n in 0..1_000 {
        writer.send(None, Some(n.to_string().as_bytes()), None)?;
    }
    writer.flush(Duration::from_secs(10))?;
    Ok(broker)
}

#[expect(clippy::print_stdout, reason = "the result of the example")]
fn main() -> Result<(), Box<dyn Error>> {
    let usage = Usage("usage: kafka_to_delta FOLDER [BROKERS TOPIC]");
    let args = usage.arguments();
    let demo;
    let (folder, servers, topic) = match args.as_slice() {
        [folder] => {
            demo = filled_broker("numbers")?;
            (folder, demo.bootstrap_servers(), "numbers")
        }
        [folder, servers, topic] => (folder, servers.as_str(), topic.as_str()),
        _ => usage.misuse(),
    };
    let folder = Path::new(folder);
    let source = KafkaSource::new(KafkaConfig::new(servers, topic), Arc::new(Bytes)).bounded();
    let tables = Arc::new(DeltaCommitter::new(folder)?);
    // A payload may hold anything, so it is marked, and only a sink that is cleared for it takes it.
    let raw = DeltaSink::append(&tables, "raw").clearance(Clearance::of([Sensitivity::PhiRaw]));

    let env = StreamEnvironment::new("kafka-to-delta");
    env.source::<Message>("messages", source)
        .apply("columns", Project::columns(["partition", "offset", "payload"]))
        .sink("raw", raw);

    let (key, _) = MasterKey::load_or_create(None, &folder.with_extension("key"))?;
    let storage = Arc::new(LocalStorage::open(folder.join("checkpoints"))?);
    let summary = JobBuilder::new(env.build()?, storage, Arc::new(key)).start()?.join()?;
    println!("{} rows in table raw", summary.written["raw"]);
    Ok(())
}
