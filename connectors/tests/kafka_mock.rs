//! The Kafka source against librdkafka's in-process broker.
#![cfg(feature = "kafka")]

#[cfg(test)]
mod kafka_support;

#[cfg(test)]
mod kafka {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use thalweg_connectors::kafka::{
        DemoBroker, KafkaConfig, OnDataLoss, Start, TopicWriter, count_partitions, ensure_topic,
    };
    use thalweg_core::ErrorKind;
    use thalweg_core::connector::source::{Polled, Source, Split};

    use super::kafka_support::{Seen, WAIT, at, failure, numbers, produce, reader, source, writer};

    const TOPIC: &str = "events";

    fn cluster(
        brokers: i32,
        partitions: i32,
    ) -> (MockCluster<'static, DefaultProducerContext>, String) {
        let cluster = MockCluster::new(brokers).unwrap();
        cluster.create_topic(TOPIC, partitions, brokers).unwrap();
        let servers = cluster.bootstrap_servers();
        (cluster, servers)
    }

    #[test]
    fn everything_is_read_from_explicit_offsets_over_several_partitions() {
        let broker = DemoBroker::start(TOPIC, 3).unwrap();
        let servers = broker.bootstrap_servers();
        produce(servers, TOPIC, 3, 0..9_000);
        let source = source(KafkaConfig::new(servers, TOPIC));
        let mut splits = source.start_splits().unwrap();
        assert_eq!(splits.iter().map(|s| s.position).collect::<Vec<_>>(), [0, 0, 0]);
        assert_eq!(source.lag(&splits), Some(9_000));
        splits[1].position = 1_000;
        let mut seen = Seen::default();
        seen.read(reader(&source, splits.clone()).as_mut(), |seen| seen.count() == 8_000);
        assert_eq!(seen.rows["partition-00000"][0].payload.as_deref(), Some("0"));
        assert_eq!(seen.rows["partition-00001"][0].payload.as_deref(), Some("3001"));
        assert_eq!(source.lag(&at(&splits, &seen.positions)), Some(0));
        source.verify(&source.identity().unwrap(), &at(&splits, &seen.positions)).unwrap();
    }

    #[test]
    fn every_compression_that_kafka_knows_is_read() {
        for codec in ["gzip", "snappy", "lz4", "zstd"] {
            let broker = DemoBroker::start(TOPIC, 1).unwrap();
            let servers = broker.bootstrap_servers();
            let properties = BTreeMap::from([("compression.type".to_owned(), codec.to_owned())]);
            let writer = TopicWriter::new(servers, TOPIC, &properties).unwrap();
            for number in 0..1_000 {
                writer.send_to(0, Some(number.to_string().as_bytes()), None).unwrap();
            }
            writer.flush(Duration::from_mins(2)).unwrap();
            let source = source(KafkaConfig::new(servers, TOPIC));
            let splits = source.start_splits().unwrap();
            let mut seen = Seen::default();
            seen.read(reader(&source, splits).as_mut(), |seen| seen.count() == 1_000);
            assert_eq!(seen.payloads(), numbers(0..1_000), "{codec}");
        }
    }

    #[test]
    fn a_restart_from_stored_positions_neither_loses_nor_repeats() {
        let broker = DemoBroker::start(TOPIC, 2).unwrap();
        let servers = broker.bootstrap_servers();
        produce(servers, TOPIC, 2, 0..10_000);
        let source = source(KafkaConfig::new(servers, TOPIC));
        let splits = source.start_splits().unwrap();
        let mut seen = Seen::default();
        for stop in [1, 2_000, 6_000, 10_000] {
            let resumed = seen.stored(&source, &splits);
            seen.read(reader(&source, resumed).as_mut(), |seen| seen.count() >= stop);
        }
        assert_eq!(seen.payloads(), numbers(0..10_000));
    }

    #[test]
    fn the_latest_start_is_a_number_so_that_nothing_between_genesis_and_reading_is_lost() {
        let broker = DemoBroker::start(TOPIC, 2).unwrap();
        let servers = broker.bootstrap_servers();
        produce(servers, TOPIC, 2, 0..100);
        let mut config = KafkaConfig::new(servers, TOPIC);
        config.start = Start::Latest;
        let source = source(config);
        let splits = source.start_splits().unwrap();
        produce(servers, TOPIC, 2, 100..150);
        let mut seen = Seen::default();
        seen.read(reader(&source, splits).as_mut(), |seen| seen.count() == 50);
        assert_eq!(seen.payloads(), numbers(100..150));
    }

    #[test]
    fn a_position_behind_the_end_is_data_loss() {
        let broker = DemoBroker::start(TOPIC, 1).unwrap();
        let servers = broker.bootstrap_servers();
        produce(servers, TOPIC, 1, 0..10);
        let source = source(KafkaConfig::new(servers, TOPIC));
        let mut splits = source.start_splits().unwrap();
        splits[0].position = 50;
        let error = source.verify(&source.identity().unwrap(), &splits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.to_string().contains("ends at offset 10, before position 50"), "{error}");
        let error = failure(reader(&source, splits).as_mut(), &mut Seen::default());
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.to_string().contains("--fresh"), "{error}");
    }

    /// The in-process broker keeps 5 MiB and then forgets the oldest.
    fn overflow(servers: &str) {
        let properties = BTreeMap::from([("compression.type".to_owned(), "none".to_owned())]);
        let writer = TopicWriter::new(servers, TOPIC, &properties).unwrap();
        for _ in 0..9_000 {
            writer.send_to(0, Some(&[b'x'; 1_000]), None).unwrap();
        }
        writer.flush(Duration::from_mins(2)).unwrap();
    }

    #[test]
    fn a_position_that_was_deleted_is_data_loss() {
        let broker = DemoBroker::start(TOPIC, 1).unwrap();
        let servers = broker.bootstrap_servers();
        let source = source(KafkaConfig::new(servers, TOPIC));
        let splits = source.start_splits().unwrap();
        overflow(servers);
        let error = source.verify(&source.identity().unwrap(), &splits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        let error = failure(reader(&source, splits).as_mut(), &mut Seen::default());
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.to_string().contains("deleted before they were read"), "{error}");
        assert_eq!(source.losses(), 0);
    }

    #[test]
    fn a_position_that_was_deleted_goes_on_at_the_beginning_when_the_policy_says_so() {
        let broker = DemoBroker::start(TOPIC, 2).unwrap();
        let servers = broker.bootstrap_servers();
        let mut config = KafkaConfig::new(servers, TOPIC);
        config.on_data_loss = OnDataLoss::Reset;
        let source = source(config);
        let splits = source.start_splits().unwrap();
        overflow(servers);
        writer(servers, TOPIC).send_to(1, Some(b"other"), None).unwrap();
        source.verify(&source.identity().unwrap(), &splits).unwrap();
        let mut seen = Seen::default();
        let mut reader = reader(&source, splits);
        seen.read(reader.as_mut(), |seen| seen.positions.get("partition-00000") == Some(&9_000));
        let rows = &seen.rows["partition-00000"];
        assert!(rows[0].offset > 0 && rows.len() as i64 == 9_000 - rows[0].offset);
        assert_eq!(source.losses(), 1);
    }

    #[test]
    fn a_position_behind_the_end_starts_over_when_the_policy_says_so() {
        let broker = DemoBroker::start(TOPIC, 1).unwrap();
        let servers = broker.bootstrap_servers();
        produce(servers, TOPIC, 1, 0..10);
        let mut config = KafkaConfig::new(servers, TOPIC);
        config.on_data_loss = OnDataLoss::Reset;
        let source = source(config);
        let mut splits = source.start_splits().unwrap();
        splits[0].position = 50;
        let mut seen = Seen::default();
        seen.read(reader(&source, splits).as_mut(), |seen| seen.count() == 10);
        assert_eq!((seen.payloads(), source.losses()), (numbers(0..10), 1));
    }

    #[test]
    fn a_partition_without_leader_stops_a_start_but_no_discovery() {
        let (cluster, servers) = cluster(1, 2);
        cluster.partition_leader(TOPIC, 1, None).unwrap();
        let source = source(KafkaConfig::new(&servers, TOPIC));
        let known: Vec<_> = ["partition-00000", "partition-00001"]
            .map(|id| Split { id: id.into(), position: 0, end: None, properties: BTreeMap::new() })
            .into();
        assert_eq!(source.discover(&known).unwrap(), []);
        let error = source.start_splits().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().contains("partitions without leader"), "{error}");
        cluster.partition_leader(TOPIC, 1, Some(1)).unwrap();
        assert_eq!(source.start_splits().unwrap().len(), 2);
    }

    #[test]
    fn an_unfounded_refusal_of_an_offset_is_no_loss() {
        let (cluster, servers) = cluster(1, 2);
        produce(&servers, TOPIC, 2, 0..1_000);
        let source = source(KafkaConfig::new(&servers, TOPIC));
        let mut reader = reader(&source, source.start_splits().unwrap());
        let mut seen = Seen::default();
        seen.read(reader.as_mut(), |seen| seen.count() == 1_000);
        cluster.request_errors(
            RDKafkaApiKey::Fetch,
            &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE; 2],
        );
        produce(&servers, TOPIC, 2, 1_000..2_000);
        seen.read(reader.as_mut(), |seen| seen.count() == 2_000);
        assert_eq!(seen.payloads(), numbers(0..2_000));
    }

    #[test]
    fn a_broker_that_goes_and_comes_back_loses_nothing() {
        let (cluster, servers) = cluster(1, 2);
        produce(&servers, TOPIC, 2, 0..1_000);
        let source = source(KafkaConfig::new(&servers, TOPIC));
        let mut reader = reader(&source, source.start_splits().unwrap());
        let mut seen = Seen::default();
        seen.read(reader.as_mut(), |seen| seen.count() == 1_000);
        cluster.broker_down(-1).unwrap();
        for _ in 0..20 {
            seen.take(reader.poll(WAIT).unwrap());
        }
        cluster.broker_up(-1).unwrap();
        produce(&servers, TOPIC, 2, 1_000..2_000);
        seen.read(reader.as_mut(), |seen| seen.count() == 2_000);
        assert_eq!(seen.payloads(), numbers(0..2_000));
    }

    #[test]
    fn a_change_of_leader_keeps_the_order() {
        let (cluster, servers) = cluster(3, 1);
        cluster.partition_leader(TOPIC, 0, Some(1)).unwrap();
        let source = source(KafkaConfig::new(&servers, TOPIC));
        let mut reader = reader(&source, source.start_splits().unwrap());
        let mut seen = Seen::default();
        for (round, leader) in [2, 3, 1].into_iter().enumerate() {
            produce(&servers, TOPIC, 1, round * 500..(round + 1) * 500);
            cluster.partition_leader(TOPIC, 0, Some(leader)).unwrap();
            cluster.broker_down(if leader == 1 { 3 } else { leader - 1 }).unwrap();
            seen.read(reader.as_mut(), |seen| seen.count() == (round + 1) * 500);
            cluster.broker_up(-1).unwrap();
        }
        let order: Vec<_> =
            seen.rows["partition-00000"].iter().filter_map(|r| r.payload.clone()).collect();
        assert_eq!(order, numbers(0..1_500));
    }

    #[test]
    fn a_start_compares_the_epoch_of_the_last_message_with_where_its_leader_ended() {
        let (cluster, servers) = cluster(1, 1);
        produce(&servers, TOPIC, 1, 0..10);
        let source = source(KafkaConfig::new(&servers, TOPIC));
        let (identity, splits) = (source.identity().unwrap(), source.start_splits().unwrap());
        let mut seen = Seen::default();
        seen.read(reader(&source, splits.clone()).as_mut(), |seen| seen.count() == 10);
        let stored = seen.stored(&source, &splits);
        let properties: Vec<_> = stored[0].properties.keys().collect();
        assert_eq!(properties, ["leader_epoch", "leader_epoch_position"]);
        cluster.partition_leader(TOPIC, 0, Some(1)).unwrap();
        produce(&servers, TOPIC, 1, 10..20);
        // A change of leaders that cut nothing.
        seen.read(reader(&source, stored.clone()).as_mut(), |seen| seen.count() == 20);
        assert_eq!(seen.payloads(), numbers(0..20));
        let later = seen.stored(&source, &splits);
        assert_ne!(later[0].properties, stored[0].properties);

        // As if more had been read of the first leader.
        let mut cut = stored;
        cut[0].position = 15;
        // A version that knows no epochs moves positions on in this way.
        let mut older = cut.clone();
        source.seal_position(&mut cut[0]).unwrap();
        source.verify(&identity, &cut).unwrap();
        // As if markers had stood where messages are; and an epoch that there never was.
        let mut markers = cut.clone();
        markers[0].properties.insert("leader_epoch_end".to_owned(), "10".to_owned());
        let mut never = cut.clone();
        never[0].properties.insert("leader_epoch".to_owned(), "1000".to_owned());
        for splits in [&cut, &markers, &never] {
            let mut seen = Seen::default();
            let error = failure(reader(&source, splits.clone()).as_mut(), &mut seen);
            assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
            assert!(error.to_string().contains("was cut short"), "{error}");
            assert_eq!(seen.count(), 0);
        }

        // The policy lets it pass, once: behind it the epoch is that of what was read.
        let config = KafkaConfig::new(&servers, TOPIC);
        let lenient = self::source(KafkaConfig { on_data_loss: OnDataLoss::Reset, ..config });
        for (passed, splits) in [&cut, &markers, &never].into_iter().enumerate() {
            let mut seen = Seen::default();
            seen.read(reader(&lenient, splits.clone()).as_mut(), |seen| seen.count() == 5);
            assert_eq!(seen.payloads(), numbers(15..20));
            assert_eq!(lenient.losses(), passed as u64 + 1);
            assert_eq!(seen.stored(&lenient, splits), later);
        }
        // A log that is shorter than a position: that alone tells, once.
        let mut beyond = later.clone();
        beyond[0].position = 30;
        lenient.seal_position(&mut beyond[0]).unwrap();
        let mut seen = Seen::default();
        seen.read(reader(&lenient, beyond).as_mut(), |seen| seen.count() == 20);
        assert_eq!((seen.payloads(), lenient.losses()), (numbers(0..20), 4));

        // What older versions stored is gone on from.
        for known in [true, false] {
            if !known {
                older[0].properties.clear();
            }
            let mut seen = Seen::default();
            seen.read(reader(&source, older.clone()).as_mut(), |seen| seen.count() == 5);
            assert_eq!(seen.payloads(), numbers(15..20));
        }
    }

    #[test]
    fn tombstones_and_empty_payloads_and_missing_keys_are_rows_like_others() {
        let broker = DemoBroker::start(TOPIC, 1).unwrap();
        let servers = broker.bootstrap_servers();
        let writer = writer(servers, TOPIC);
        writer.send(Some(b"key"), None, Some(1_000)).unwrap();
        writer.send(None, Some(b""), Some(2_000)).unwrap();
        writer.send(Some(b""), Some(b"body"), Some(3_000)).unwrap();
        writer.send(None, None, Some(4_000)).unwrap();
        writer.flush(Duration::from_mins(2)).unwrap();
        assert_eq!(writer.delivered(), 4);
        let source = source(KafkaConfig::new(servers, TOPIC));
        let mut seen = Seen::default();
        seen.read(reader(&source, source.start_splits().unwrap()).as_mut(), |seen| {
            seen.count() == 4
        });
        let rows = &seen.rows["partition-00000"];
        let payloads: Vec<_> = rows.iter().map(|row| row.payload.as_deref()).collect();
        assert_eq!(payloads, [None, Some(""), Some("body"), None]);
        let times: Vec<_> = rows.iter().filter_map(|row| row.timestamp).collect();
        assert_eq!(times, [1_000_000, 2_000_000, 3_000_000, 4_000_000]);
    }

    #[test]
    fn a_split_added_while_reading_is_read_too() {
        let broker = DemoBroker::start(TOPIC, 2).unwrap();
        let servers = broker.bootstrap_servers();
        produce(servers, TOPIC, 2, 0..1_000);
        let source = source(KafkaConfig::new(servers, TOPIC));
        let splits = source.start_splits().unwrap();
        let found = source.discover(&splits[..1]).unwrap();
        assert_eq!(found, splits[1..]);
        assert_eq!(source.discover(&splits).unwrap(), []);
        let mut reader = reader(&source, splits[..1].to_vec());
        let mut seen = Seen::default();
        seen.read(reader.as_mut(), |seen| seen.count() == 500);
        assert!(matches!(reader.poll(WAIT).unwrap(), Polled::Nothing));
        reader.assign(found).unwrap();
        produce(servers, TOPIC, 2, 1_000..1_100);
        seen.read(reader.as_mut(), |seen| seen.count() == 1_100);
        assert_eq!(seen.payloads(), numbers(0..1_100));
    }

    #[test]
    fn a_bounded_source_ends_where_the_topic_ended_at_genesis() {
        let broker = DemoBroker::start(TOPIC, 3).unwrap();
        let servers = broker.bootstrap_servers();
        produce(servers, TOPIC, 2, 0..1_000);
        let source = source(KafkaConfig::new(servers, TOPIC)).bounded();
        assert!(source.is_bounded() && source.discovery_interval().is_none());
        let splits = source.start_splits().unwrap();
        assert_eq!(
            splits.iter().map(|s| s.end).collect::<Vec<_>>(),
            [Some(500), Some(500), Some(0)]
        );
        produce(servers, TOPIC, 2, 1_000..2_000);
        let mut reader = reader(&source, splits.clone());
        let mut seen = Seen::default();
        seen.read(reader.as_mut(), |seen| seen.exhausted);
        assert!(matches!(reader.poll(WAIT).unwrap(), Polled::Exhausted));
        assert_eq!(seen.payloads(), numbers(0..1_000));
        assert!(at(&splits, &seen.positions).iter().all(Split::is_finished));
    }

    #[test]
    fn a_reader_without_splits_waits_unless_the_source_is_bounded() {
        let broker = DemoBroker::start(TOPIC, 1).unwrap();
        let config = KafkaConfig::new(broker.bootstrap_servers(), TOPIC);
        let mut idle = source(config.clone()).reader().unwrap();
        assert!(matches!(idle.poll(WAIT).unwrap(), Polled::Nothing));
        let mut done = source(config).bounded().reader().unwrap();
        assert!(matches!(done.poll(WAIT).unwrap(), Polled::Exhausted));
    }

    #[test]
    fn an_unreachable_broker_is_one_clear_line() {
        let source = source(KafkaConfig::new("127.0.0.1:1", TOPIC));
        let error = source.start_splits().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert_eq!(
            error.to_string(),
            "cannot reach kafka at 127.0.0.1:1 within 10 s: is it running?"
        );
    }

    #[test]
    fn a_missing_topic_is_one_clear_line() {
        let broker = DemoBroker::start(TOPIC, 1).unwrap();
        let servers = broker.bootstrap_servers();
        let absent = source(KafkaConfig::new(servers, "absent"));
        let error = absent.start_splits().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert_eq!(
            error.to_string(),
            format!("topic `absent` does not exist at {servers}: create it or pass --topic")
        );
        let present = source(KafkaConfig::new(servers, TOPIC));
        let error = absent.verify(&BTreeMap::new(), &present.start_splits().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
    }

    #[test]
    fn another_cluster_or_topic_is_incompatible_with_the_checkpoint() {
        let (one, two) =
            (DemoBroker::start(TOPIC, 1).unwrap(), DemoBroker::start(TOPIC, 1).unwrap());
        let first = source(KafkaConfig::new(one.bootstrap_servers(), TOPIC));
        let second = source(KafkaConfig::new(two.bootstrap_servers(), TOPIC));
        let mut identity = first.identity().unwrap();
        let splits = first.start_splits().unwrap();
        assert!(identity.contains_key("cluster"), "{identity:?}");
        assert_eq!(identity["topic_id"].len(), 32, "{identity:?}");
        assert_ne!(identity["topic_id"], second.identity().unwrap()["topic_id"]);
        first.verify(&identity, &splits).unwrap();
        let error = second.verify(&identity, &splits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IncompatibleState);
        identity.insert("topic".into(), "other".into());
        let error = first.verify(&identity, &splits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IncompatibleState);
    }

    #[test]
    fn settings_that_exactness_depends_on_are_refused() {
        for key in ["auto.offset.reset", "enable.auto.commit", "isolation.level", "no.such.setting"]
        {
            let mut config = KafkaConfig::new("127.0.0.1:1", TOPIC);
            config.properties.insert(key.into(), "latest".into());
            let error = source(config).start_splits().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn an_existing_topic_is_left_as_it_is() {
        let broker = DemoBroker::start(TOPIC, 4).unwrap();
        let partitions =
            ensure_topic(broker.bootstrap_servers(), TOPIC, 7, &BTreeMap::new()).unwrap();
        assert_eq!(partitions, 4);
    }

    #[test]
    fn a_topic_of_a_demo_broker_is_known_by_the_identity_that_a_checkpoint_keeps() {
        let broker = DemoBroker::start(TOPIC, 1).unwrap();
        let mut identity =
            source(KafkaConfig::new(broker.bootstrap_servers(), TOPIC)).identity().unwrap();
        assert!(DemoBroker::has_served(&identity), "{identity:?}");
        identity.insert("cluster".into(), "4L6g3nShT-eMCtK--X86sw".into());
        assert!(!DemoBroker::has_served(&identity));
        assert!(!DemoBroker::has_served(&BTreeMap::new()));
    }

    #[test]
    fn counting_partitions_creates_no_topic() {
        let broker = DemoBroker::start(TOPIC, 4).unwrap();
        let count =
            |topic| count_partitions(broker.bootstrap_servers(), topic, &BTreeMap::new()).unwrap();
        assert_eq!((count("absent"), count(TOPIC)), (None, Some(4)));
        assert_eq!(count("absent"), None);
    }

    #[test]
    fn a_failed_delivery_is_an_error_of_the_writer() {
        let properties = BTreeMap::from([("message.timeout.ms".to_owned(), "1000".to_owned())]);
        let writer = TopicWriter::new("127.0.0.1:1", TOPIC, &properties).unwrap();
        writer.send(None, Some(b"lost"), None).unwrap();
        let error = writer.flush(Duration::from_mins(2)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().contains("1 messages could not be delivered"), "{error}");
        assert!(writer.send(None, Some(b"more"), None).is_err());
    }
}
