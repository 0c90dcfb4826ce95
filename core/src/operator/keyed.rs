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
mod tests;
