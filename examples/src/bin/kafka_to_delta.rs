//! A Kafka topic into a Delta table, exactly once: `kafka_to_delta FOLDER [BROKERS TOPIC]`. Reads what the topic has
//! now and ends; run it again and it says so and writes nothing. Without brokers it fills one inside of the process.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::ArrayRef;
use arrow_schema::Fields;
use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_connectors::kafka::{DemoBroker, KafkaConfig, KafkaSource, TopicWriter};
use thalweg_core::connector::decode::{Decoder, Format, Messages};
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
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

fn filled_broker(topic: &str) -> Result<DemoBroker> {
    let broker = DemoBroker::start(topic, 4)?;
    let writer = TopicWriter::new(broker.bootstrap_servers(), topic, &BTreeMap::new())?;
    for n in 0..1_000 {
        let text = n.to_string();
        writer.send(Some(text.as_bytes()), Some(text.as_bytes()), None)?;
    }
    writer.flush(Duration::from_secs(10))?;
    Ok(broker)
}

#[expect(clippy::print_stdout, reason = "the result of the example")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().ok_or("usage: kafka_to_delta FOLDER [BROKERS TOPIC]")?);
    let (_broker, servers, topic) = match (args.next(), args.next()) {
        (Some(servers), Some(topic)) => (None, servers, topic),
        _ => {
            let broker = filled_broker("numbers")?;
            let servers = broker.bootstrap_servers().to_owned();
            (Some(broker), servers, "numbers".to_owned())
        }
    };
    let source = KafkaSource::new(KafkaConfig::new(servers, topic), Arc::new(Bytes)).bounded();
    let tables = Arc::new(DeltaCommitter::new(&folder)?);
    // A payload may hold anything, so it is marked, and a sink takes it only when it is cleared for it.
    let raw = DeltaSink::append(&tables, "raw").clearance(Clearance::of([Sensitivity::PhiRaw]));

    let env = StreamEnvironment::new("kafka-to-delta");
    env.source::<Untyped>("messages", source)
        .transform::<Untyped>("columns", Project::columns(["partition", "offset", "payload"]))
        .sink("raw", raw);

    let (key, _) = MasterKey::load_or_create(None, &folder.with_extension("key"))?;
    let storage = Arc::new(LocalStorage::open(folder.join("checkpoints"))?);
    let summary = JobBuilder::new(env.build()?, storage, Arc::new(key)).start()?.join()?;
    println!("{} rows in table raw", summary.written.values().sum::<u64>());
    Ok(())
}
