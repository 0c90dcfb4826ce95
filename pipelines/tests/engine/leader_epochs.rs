//! What a Kafka source stores with its positions comes into checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thalweg_connectors::kafka::{DemoBroker, KafkaConfig, KafkaSource, TopicWriter};
use thalweg_core::checkpoint::Manifest;
use thalweg_core::prelude::*;
use thalweg_core::testing::NoColumns;
use thalweg_operators::prelude::*;

use crate::bench::{Bench, brisk, wait_for};
use crate::hanging_broker::Message;

const TOPIC: &str = "messages";

fn graph(servers: &str, bench: &Bench) -> JobGraph {
    let env = StreamEnvironment::new("epochs");
    let source = KafkaSource::new(KafkaConfig::new(servers, TOPIC), Arc::new(NoColumns));
    env.source::<Message>("messages", source)
        .apply("columns", Project::columns(["partition", "offset"]))
        .sink("table", bench.store.sink("messages"));
    env.build().unwrap()
}

/// Properties of all splits in the newest checkpoint.
fn stored(bench: &Bench) -> Vec<BTreeMap<String, String>> {
    let names = bench.storage.list("").unwrap();
    let newest = names.iter().filter_map(|name| Manifest::number_of(name)).max().unwrap();
    let bytes = bench.storage.read(&Manifest::name(newest)).unwrap().unwrap();
    let sources = Manifest::decode(&bytes).unwrap().sources;
    let splits = sources.into_iter().flat_map(|source| source.splits);
    splits.map(|state| state.split.properties).collect()
}

#[test]
fn a_checkpoint_knows_by_which_leaders_the_last_messages_were_written() {
    let broker = DemoBroker::start(TOPIC, 2).unwrap();
    let bench = Bench::new();
    let writer = TopicWriter::new(broker.bootstrap_servers(), TOPIC, &BTreeMap::new()).unwrap();
    for run in 1..=2 {
        for partition in 0..2 {
            for n in 0..500 {
                writer.send_to(partition, Some(n.to_string().as_bytes()), None).unwrap();
            }
        }
        writer.flush(Duration::from_mins(1)).unwrap();
        let graph = graph(broker.bootstrap_servers(), &bench);
        let job = bench.job(graph, brisk(1)).start().unwrap();
        wait_for("the rows", || job.is_finished() || bench.store.rows("messages") == run * 1_000);
        job.stopper().stop();
        assert_eq!(job.join().unwrap().read["messages"], run * 1_000);
        let stored = stored(&bench);
        assert_eq!(stored.len(), 2, "{stored:?}");
        let known = |split: &BTreeMap<String, String>| split.contains_key("leader_epoch");
        assert!(stored.iter().all(known), "{stored:?}");
    }
}
