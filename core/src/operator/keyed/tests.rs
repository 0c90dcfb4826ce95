use std::collections::BTreeSet;

use arrow_array::Int64Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::{Field, Schema};

use super::*;
use crate::ErrorKind;
use crate::sensitivity::{Sensitivity, mark, sensitivities};
use crate::testing::OperatorHarness;

#[derive(Debug, Clone)]
struct Pass;

struct Row;

impl Record for Row {
    fn schema() -> SchemaRef {
        let column = |name| Field::new(name, DataType::Int64, true);
        Arc::new(Schema::new(vec![column("id"), column("rows")]))
    }

    const COLUMNS: &'static [&'static str] = &["id", "rows"];
}

impl KeyedOperator for Pass {
    type In = Row;
    type Out = Row;

    fn process(
        &mut self,
        batch: Batch<Row>,
        _context: &KeyedContext,
        out: &mut Collector,
    ) -> Result<()> {
        out.emit(batch.into_record_batch());
        Ok(())
    }

    fn declassified(&self) -> Vec<(&'static str, &'static str)> {
        vec![("rows", "a number of rows is nobody's")]
    }
}

#[derive(Debug, Clone)]
struct Heartbeat;

impl KeyedOperator for Heartbeat {
    type In = Row;
    type Out = Row;

    fn process(&mut self, _: Batch<Row>, context: &KeyedContext, _: &mut Collector) -> Result<()> {
        context.keys().iter().for_each(|key| context.set_timer(key, 10));
        Ok(())
    }

    fn on_timer(
        &mut self,
        key: &Key,
        time: EventTime,
        context: &KeyedContext,
        out: &mut Collector,
    ) -> Result<()> {
        assert!(context.keys().is_empty(), "there is no batch");
        context.set_timer(key, time + 10);
        let mut columns = context.key_columns(&[key])?;
        columns.push(Arc::new(Int64Array::from(vec![time])));
        out.emit(RecordBatch::try_new(Row::schema(), columns).unwrap());
        Ok(())
    }

    fn needs_event_time(&self) -> bool {
        true
    }
}

/// An operator by the first column, alone.
fn alone<O: KeyedOperator>(operator: O) -> (Keyed<O>, OpenContext) {
    let keyed = Keyed {
        operator,
        promised: Promised::new([(None, Row::schema())]),
        max_parallelism: 1,
        columns: vec![0],
        key_types: [DataType::Int64].into(),
        store: KeyedStore::default(),
    };
    let open = OpenContext {
        uid: crate::OperatorUid::new("alone").unwrap(),
        subtask: crate::SubtaskIndex(0),
        parallelism: 1,
        max_parallelism: 1,
        key_groups: crate::key::KeyGroupRange::of_subtask(0, 1, 1),
        input_schema: Row::schema(),
    };
    (keyed, open)
}

#[test]
fn null_is_a_key_like_any_other() {
    let (keyed, open) = alone(Pass);
    let ids = Arc::new(Int64Array::from(vec![None, Some(0), None])) as ArrayRef;
    let batch = RecordBatch::try_new(Row::schema(), vec![Arc::clone(&ids), ids]).unwrap();
    let keys = keyed.keys(&batch, &open).unwrap();
    assert_eq!(keys.len(), 3);
    assert!(keys[0] == keys[2] && keys[0] != keys[1]);
}

#[test]
fn a_timer_that_sets_itself_again_ends_with_time() {
    let (mut keyed, open) = alone(Heartbeat);
    let column = || Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef;
    let batch = RecordBatch::try_new(Row::schema(), vec![column(), column()]).unwrap();
    let mut ids = BTreeSet::new();
    let mut beats = |watermark, with: Option<RecordBatch>| {
        let context = Context { open: &open, watermark };
        let mut out = Collector::default();
        match with {
            Some(batch) => keyed.process(batch, &context, &mut out).unwrap(),
            None => keyed.on_watermark(watermark, &context, &mut out).unwrap(),
        }
        let emitted = out.take();
        let id = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().value(0);
        ids.extend(emitted.iter().map(|(_, batch)| id(batch)));
        emitted.len()
    };
    assert_eq!(beats(Watermark::MIN, Some(batch.clone())), 0);
    assert_eq!(beats(Watermark(35), None), 6);
    // What is set for a time that has been reached is called with the next watermark, and in it until there is none.
    assert_eq!(beats(Watermark(35), Some(batch)), 0);
    assert_eq!(beats(Watermark(36), None), 6);
    assert_eq!(beats(Watermark::MAX, None), 2);
    assert_eq!(beats(Watermark::MAX, None), 0);
    assert_eq!(ids, [7, 8].into(), "the keys whose timers they were");
}

#[test]
fn an_operator_with_timers_can_say_that_it_waits_for_event_time() {
    assert!(KeyedFactory::new(Heartbeat, ["id"]).needs_event_time());
    assert!(!KeyedFactory::new(Pass, ["id"]).needs_event_time());
}

#[test]
fn a_stream_grouped_by_other_columns_is_refused_where_several_instances_share_its_keys() {
    let rows = |ids: std::ops::Range<i64>| {
        let column =
            |add: i64| Arc::new(ids.clone().map(|id| Some(id + add)).collect::<Int64Array>());
        RecordBatch::try_new(Row::schema(), vec![column(0) as ArrayRef, column(1000)]).unwrap()
    };
    let harness = |grouped_by, parallelism| {
        let factory = Arc::new(KeyedFactory::new(Pass, ["id"]));
        OperatorHarness::new(factory, Row::schema(), [grouped_by], parallelism).unwrap()
    };
    let error = harness("rows", 2).push(&rows(0..64)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGraph);
    assert!(error.to_string().contains("key_by"), "{error}");
    harness("id", 2).push(&rows(0..64)).unwrap();
    harness("rows", 1).push(&rows(0..64)).unwrap();
}

#[test]
fn marks_of_the_input_stay_and_only_promised_columns_leave() {
    let id = mark(Field::new("id", DataType::Int64, true), [Sensitivity::PhiId]);
    let plain = |name| Field::new(name, DataType::Int64, true);
    let input = Arc::new(Schema::new(vec![id, plain("rows"), plain("more")]));
    let factory = KeyedFactory::new(Pass, ["id"]);
    let output = factory.output_schema(&input).unwrap();
    let marks = |name| sensitivities(output.field_with_name(name).unwrap());
    assert_eq!(marks("id"), [Sensitivity::PhiId].into());
    assert!(marks("rows").is_empty());

    let keyed = Keyed {
        operator: Pass,
        promised: Promised::new([(None, Arc::clone(&output))]),
        max_parallelism: 1,
        columns: vec![0],
        key_types: [DataType::Int64].into(),
        store: KeyedStore::default(),
    };
    let column = || Arc::new(Int64Array::from(vec![7])) as ArrayRef;
    let batch = RecordBatch::try_new(input, vec![column(), column(), column()]).unwrap();
    assert_eq!(keyed.conform(None, &batch).unwrap().schema(), output);
    for (tag, batch, says) in
        [(Some("unknown"), &batch, "`unknown`"), (None, &batch.project(&[0]).unwrap(), "`rows`")]
    {
        let error = keyed.conform(tag, batch).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGraph);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn debug_texts_tell_the_group_of_a_key_and_not_its_bytes() {
    let key = Key::new(&[201, 202, 203, 204], 1);
    assert_eq!(format!("{key:?}"), "Key(KeyGroup(0), ..)");
    let mut store = KeyedStore::default();
    store.put("seen", &key, Some(vec![201, 202, 203, 204]));
    store.set_timer(&key, 7);
    let context = KeyedContext {
        store: Rc::new(RefCell::new(store)),
        keys: vec![key],
        key_types: [DataType::Int64].into(),
        watermark: Watermark::MIN,
    };
    let text = format!("{context:?}");
    assert!(text.contains("Key(KeyGroup(0), ..)"), "{text}");
    assert!(text.contains("1 timers") && !text.contains("201, 202"), "{text}");
}
