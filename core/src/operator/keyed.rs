//! Operators with keyed state and event-time timers, written against record types.

use std::cell::RefCell;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, FieldRef, SchemaRef};

use super::promise::unlike;
use super::{
    Collector, Context, OpenContext, Operator, OperatorFactory, Promised, SideOutput, StateBlob,
    StateChunk,
};
use crate::element::Watermark;
use crate::key::{for_each_key, key_columns};
use crate::record::{Batch, Record, retyped};
use crate::sensitivity::inherit;
use crate::state::{
    Key, KeyedStore, ListState, ListStateDescriptor, MapState, MapStateDescriptor, ValueState,
    ValueStateDescriptor,
};
use crate::time::EventTime;
use crate::{Error, Result};

/// An operator that remembers things per key. `Clone` makes the copies for the subtasks.
///
/// **Keys**: null is a key like any other: all rows without a value share its state and its timers. Where they are nobody's,
/// filter them out in front. (Windowed aggregates leave rows with a null key out, and count them.)
///
/// **State**: stays until it is cleared; nothing expires by itself. For keys that come and go, set a timer and clear what
/// they leave behind in [`Self::on_timer`].
pub trait KeyedOperator: Clone + Debug + Send + Sync + 'static {
    /// Records in.
    type In: Record;
    /// Records out.
    type Out: Record;

    /// Takes rows whose keys are [`KeyedContext::keys`], a key each.
    fn process(
        &mut self,
        batch: Batch<Self::In>,
        context: &KeyedContext,
        out: &mut Collector,
    ) -> Result<()>;

    /// A timer that was set for `key` has come due: `time` is what it was set for, and [`KeyedContext::watermark`] has reached
    /// it. Timers are called by time, one after the other. There is no batch, so that [`KeyedContext::keys`] is empty;
    /// [`KeyedContext::key_columns`] has what the key is made of.
    fn on_timer(
        &mut self,
        key: &Key,
        time: EventTime,
        context: &KeyedContext,
        out: &mut Collector,
    ) -> Result<()> {
        let _ = (key, time, context, out);
        Ok(())
    }

    /// Side outputs: tag name and columns.
    fn side_outputs(&self) -> Vec<SideOutput> {
        Vec::new()
    }

    /// Whether it waits for event time, as one that sets timers does. The graph refuses it where none would ever come.
    fn needs_event_time(&self) -> bool {
        false
    }

    /// Columns, each with a reason that people can check, that disclose nothing but what their own schema marks. What
    /// an operator copies from where is unknown to the graph: every other column carries the sensitivities of all
    /// input columns.
    fn declassified(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

/// What a keyed operator may ask for.
#[derive(Debug)]
pub struct KeyedContext {
    store: Rc<RefCell<KeyedStore>>,
    keys: Vec<Key>,
    /// Of the columns that keys are made of.
    key_types: Arc<[DataType]>,
    watermark: Watermark,
}

impl KeyedContext {
    /// The key of each row of the batch, in its order. Empty in [`KeyedOperator::on_timer`], which is told its key.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The values of the key columns, in their order, for `keys`, a row each: what a row emitted by
    /// [`KeyedOperator::on_timer`] says whose it is by.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for a key that is not made of these columns.
    pub fn key_columns(&self, keys: &[&Key]) -> Result<Vec<ArrayRef>> {
        let keys: Vec<&[u8]> = keys.iter().map(|key| &*key.bytes).collect();
        key_columns(&keys, &self.key_types)
    }

    /// How far event time has advanced.
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    fn handle(&self, name: &'static str, version: u16) -> crate::state::Handle {
        crate::state::Handle { store: Rc::clone(&self.store), name, version }
    }

    /// One value per key, kept until it is cleared.
    pub fn value_state<T>(&self, descriptor: &ValueStateDescriptor<T>) -> ValueState<T> {
        ValueState { handle: self.handle(descriptor.name, descriptor.version), types: PhantomData }
    }

    /// A list per key, kept until it is cleared.
    pub fn list_state<T>(&self, descriptor: &ListStateDescriptor<T>) -> ListState<T> {
        ListState { handle: self.handle(descriptor.name, descriptor.version), types: PhantomData }
    }

    /// A map per key, kept until it is cleared.
    pub fn map_state<K, V>(&self, descriptor: &MapStateDescriptor<K, V>) -> MapState<K, V> {
        MapState { handle: self.handle(descriptor.name, descriptor.version), types: PhantomData }
    }

    /// Calls [`KeyedOperator::on_timer`] once the watermark reaches `time`; setting it twice is the same as once. A time that
    /// the watermark has reached already is called when the watermark next advances; set in [`KeyedOperator::on_timer`], still in
    /// the same advance, so that one who always sets such a time again never comes to an end.
    ///
    /// At the end of time, which is that of a bounded input, the timers that are set already are called; one that is set there
    /// is not: an operator that winds itself up again would never come to an end.
    pub fn set_timer(&self, key: &Key, time: EventTime) {
        if self.watermark < Watermark::MAX {
            self.store.borrow_mut().set_timer(key, time);
        }
    }

    /// Takes a timer back.
    pub fn clear_timer(&self, key: &Key, time: EventTime) {
        self.store.borrow_mut().clear_timer(key, time);
    }
}

/// Puts a [`KeyedOperator`] into a graph: `KeyedFactory::new(operator, ["patient_id"])`.
#[derive(Debug)]
pub struct KeyedFactory<O> {
    operator: O,
    key_columns: Vec<&'static str>,
}

impl<O: KeyedOperator> KeyedFactory<O> {
    /// `operator`, its state kept per value of `key_columns`, which must be those that the stream is grouped by
    /// ([`crate::graph::KeyedStream::process`] sees to that). By others several instances would keep state of one key:
    /// rows that belong to another instance end the job as [`crate::ErrorKind::InvalidGraph`]. A single instance has all
    /// keys, however its stream is grouped.
    pub fn new(operator: O, key_columns: impl IntoIterator<Item = &'static str>) -> Self {
        Self { operator, key_columns: key_columns.into_iter().collect() }
    }
}

impl<O: KeyedOperator> OperatorFactory for KeyedFactory<O> {
    fn describe(&self) -> String {
        let name = std::any::type_name::<O>().rsplit("::").next().unwrap_or("keyed");
        format!("{name} by {}", self.key_columns.join(", "))
    }

    fn input_record(&self) -> Option<SchemaRef> {
        Some(O::In::schema())
    }

    fn needs_event_time(&self) -> bool {
        self.operator.needs_event_time()
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(Arc::new(inherit(&O::Out::schema(), input, &self.operator.declassified())?))
    }

    fn side_outputs(&self, input: &SchemaRef) -> Result<Vec<SideOutput>> {
        let declassified = self.operator.declassified();
        let outputs = self.operator.side_outputs().into_iter().map(|output| {
            let schema = Arc::new(inherit(&output.schema, input, &declassified)?);
            Ok(SideOutput { schema, ..output })
        });
        outputs.collect()
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        let columns: Vec<usize> = self
            .key_columns
            .iter()
            .map(|c| context.input_schema.index_of(c).map_err(|_| missing_key(c)))
            .collect::<Result<_>>()?;
        let input = &context.input_schema;
        let key_types = columns.iter().map(|at| input.field(*at).data_type().clone()).collect();
        Ok(Box::new(Keyed {
            promised: Promised::of(self, input)?,
            operator: self.operator.clone(),
            max_parallelism: context.max_parallelism,
            columns,
            key_types,
            store: KeyedStore::default(),
        }))
    }
}

fn missing_key(column: &str) -> Error {
    Error::graph(format!("key column `{column}` is not in the input"))
}

struct Keyed<O> {
    operator: O,
    promised: Promised,
    max_parallelism: u16,
    columns: Vec<usize>,
    key_types: Arc<[DataType]>,
    store: KeyedStore,
}

impl<O: KeyedOperator> Keyed<O> {
    /// Lends the store to a context for the length of a call; contexts are not `Send`, operators are.
    fn with_context(
        &mut self,
        keys: Vec<Key>,
        watermark: Watermark,
        out: &mut Collector,
        call: impl FnOnce(&mut O, &KeyedContext, &mut Collector) -> Result<()>,
    ) -> Result<()> {
        let store = Rc::new(RefCell::new(std::mem::take(&mut self.store)));
        let key_types = Arc::clone(&self.key_types);
        let context = KeyedContext { store: Rc::clone(&store), keys, key_types, watermark };
        let mut emitted = Collector::default();
        let result = call(&mut self.operator, &context, &mut emitted);
        drop(context);
        self.store = Rc::try_unwrap(store)
            .map_err(|_| Error::internal("an operator kept a state handle beyond its call"))?
            .into_inner();
        result?;
        out.leave_out(emitted.take_left_out());
        for (tag, batch) in emitted.take() {
            let batch = self.conform(tag, &batch)?;
            match tag {
                None => out.emit(batch),
                Some(tag) => out.side_output(tag, batch),
            }
        }
        Ok(())
    }

    /// The promised columns, with the promised marks; others, that came with an input passed on, are left out.
    fn conform(&self, tag: Option<&'static str>, batch: &RecordBatch) -> Result<RecordBatch> {
        let schema = self.promised.columns(tag)?;
        let column = |f: &FieldRef| -> Result<ArrayRef> {
            let (name, belongs) = (f.name(), f.data_type());
            let missing = || unlike(&format!("`{name}` is missing"));
            let found = batch.column_by_name(name).ok_or_else(missing)?;
            if !f.is_nullable() && found.null_count() > 0 {
                return Err(unlike(&format!("`{name}` has nulls")));
            }
            let is = found.data_type();
            retyped(found, belongs)
                .ok_or_else(|| unlike(&format!("`{name}` of type {is} instead of {belongs}")))
        };
        let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(Arc::clone(schema), columns).map_err(|_| unlike("none at all"))
    }

    fn keys(&self, batch: &RecordBatch, open: &OpenContext) -> Result<Vec<Key>> {
        let columns: Vec<ArrayRef> =
            self.columns.iter().map(|i| Arc::clone(batch.column(*i))).collect();
        let mut keys = Vec::with_capacity(batch.num_rows());
        for_each_key(&columns, batch.num_rows(), |_, bytes| {
            keys.push(Key::new(bytes, self.max_parallelism));
        })?;
        open.check_key_groups(keys.iter().map(Key::group))?;
        Ok(keys)
    }
}

impl<O: KeyedOperator> Operator for Keyed<O> {
    fn process(
        &mut self,
        batch: RecordBatch,
        context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let keys = self.keys(&batch, context.open)?;
        self.with_context(keys, context.watermark, out, |operator, keyed, out| {
            operator.process(Batch::new(batch), keyed, out)
        })
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        while let Some((time, key)) = self.store.take_timer(watermark.0) {
            self.with_context(Vec::new(), watermark, out, |operator, keyed, out| {
                operator.on_timer(&key, time, keyed, out)
            })?;
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<StateChunk>> {
        Ok(self.store.snapshot())
    }

    fn restore(&mut self, blobs: Vec<StateBlob>) -> Result<()> {
        self.store.restore(blobs)
    }
}

#[cfg(test)]
mod tests {
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

        fn process(
            &mut self,
            _: Batch<Row>,
            context: &KeyedContext,
            _: &mut Collector,
        ) -> Result<()> {
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
        for (tag, batch, says) in [
            (Some("unknown"), &batch, "`unknown`"),
            (None, &batch.project(&[0]).unwrap(), "`rows`"),
        ] {
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
}
