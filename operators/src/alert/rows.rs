//! The columns that come in, and the rows that go out.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use thalweg_core::key::{for_each_key, hash_key, key_columns};
use thalweg_core::operator::Collector;
use thalweg_core::record::{ColumnName, column_of};
use thalweg_core::sensitivity::inherit;
use thalweg_core::time::EventTime;
use thalweg_core::watermark::ROW_WATERMARK;
use thalweg_core::{Error, Record, Result, Watermark};

use super::State;
use super::record::{AlertChange, AlertCommand};
use super::rule::AlertRule;
use super::watched::{Command, Told};
use crate::batch;
use crate::detect::ahead::{Ahead, ArrivalColumn, Arrivals};
use crate::detect::input::{number_of, numbers, time_of};

/// Where the columns are.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    keys: Vec<usize>,
    key_types: Vec<DataType>,
    time: usize,
    /// What each rule watches.
    values: Vec<usize>,
    watermark: Option<usize>,
    arrival: Option<ArrivalColumn>,
    has_commands: bool,
}

impl Columns {
    pub(super) fn find(
        input: &Schema,
        keys: &[&str],
        event_time: ColumnName,
        rules: &[AlertRule],
        ahead: Option<Ahead>,
    ) -> Result<Self> {
        let mut key_types = Vec::new();
        for key in keys {
            key_types.push(batch::field_of(input, key)?.data_type().clone());
        }
        // Refuses what cannot be a key.
        key_columns(&[], &key_types)?;
        let keys = keys.iter().map(|key| batch::index_of(input, key)).collect::<Result<_>>()?;
        let values = rules.iter().map(|rule| number_of(input, rule.column().0));
        let has_commands = input.column_with_name(AlertCommand::ALERT_ACTION.name()).is_some();
        if has_commands {
            for wanted in AlertCommand::schema().fields() {
                if batch::field_of(input, wanted.name())?.data_type() != wanted.data_type() {
                    return Err(Error::graph(format!(
                        "column `{}` of commands must be of type {}",
                        wanted.name(),
                        wanted.data_type()
                    )));
                }
            }
        }
        let is_watermark = |found: &(usize, &Field)| *found.1.data_type() == DataType::Int64;
        Ok(Self {
            keys,
            key_types,
            time: time_of(input, event_time.0)?,
            values: values.collect::<Result<_>>()?,
            watermark: input.column_with_name(ROW_WATERMARK).filter(is_watermark).map(|(at, _)| at),
            arrival: ahead.map(|ahead| ahead.find(input)).transpose()?,
            has_commands,
        })
    }

    /// The key's columns as they are, and those of a change, which may tell of all that is looked at.
    pub(super) fn output(&self, input: &Schema) -> Result<SchemaRef> {
        let of = |indices: &[usize]| -> Vec<FieldRef> {
            indices.iter().filter_map(|index| input.fields().get(*index).cloned()).collect()
        };
        let keys = of(&self.keys);
        let mut read = keys.clone();
        read.extend(of(&[self.time]));
        read.extend(of(&self.values));
        read.extend(of(self.watermark.as_slice()));
        read.extend(of(self.arrival.map(|arrival| arrival.index).as_slice()));
        if self.has_commands {
            for column in AlertCommand::COLUMNS {
                read.push(Arc::clone(batch::field_of(input, column)?));
            }
        }
        let changes = inherit(&AlertChange::schema(), &Schema::new(read), &[])?;
        if let Some(key) =
            keys.iter().find(|key| AlertChange::COLUMNS.contains(&key.name().as_str()))
        {
            return Err(Error::graph(format!(
                "alerts have a column `{}` of their own: give that of the key another name",
                key.name()
            )));
        }
        let fields: Vec<_> = keys.into_iter().chain(changes.fields().iter().cloned()).collect();
        Ok(Arc::new(Schema::new(fields)))
    }

    pub(super) fn read<'a>(&self, batch: &'a RecordBatch) -> Result<Rows<'a>> {
        let changed = || Error::internal("alerts were given other columns than planned");
        let rows = batch.num_rows();
        let mut keys = Vec::with_capacity(rows);
        for_each_key(&batch::columns(batch, &self.keys)?, rows, |_, bytes| {
            keys.push((hash_key(bytes), bytes.into()));
        })?;
        let times = batch::column(batch, self.time)?
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(changed)?;
        let mut values = Vec::with_capacity(self.values.len());
        for index in &self.values {
            values.push(numbers(batch::column(batch, *index)?).ok_or_else(changed)?);
        }
        let watermarks = match self.watermark {
            None => None,
            Some(index) => {
                let column = batch::column(batch, index)?;
                Some(column.as_primitive_opt::<Int64Type>().ok_or_else(changed)?)
            }
        };
        let commands = if self.has_commands { Some(Commands::find(batch)?) } else { None };
        let arrivals = self.arrival.map(|arrival| arrival.read(batch)).transpose()?;
        Ok(Rows { keys, times, values, watermarks, arrivals, commands })
    }

    /// Emits a row for each change, if there are any.
    pub(super) fn emit(
        &self,
        schema: &SchemaRef,
        changes: &[(Arc<[u8]>, Told)],
        out: &mut Collector,
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let keys: Vec<&[u8]> = changes.iter().map(|(key, _)| &**key).collect();
        let mut columns = key_columns(&keys, &self.key_types)?;
        let told = || changes.iter().map(|(_, told)| told);
        let text = |of: fn(&Told) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(told().map(of)))
        };
        let times = |of: fn(&Told) -> Option<EventTime>| -> ArrayRef {
            let times: TimestampMicrosecondArray = told().map(of).collect();
            Arc::new(times.with_timezone("UTC"))
        };
        let sequences = told().map(|told| told.change.sequence);
        let rest: Vec<ArrayRef> = vec![
            text(|told| &told.rule),
            times(|told| Some(told.change.opened_at)),
            Arc::new(Int32Array::from_iter_values(sequences)),
            text(|told| told.change.from.map_or(AlertChange::NORMAL, State::as_str)),
            text(|told| told.change.state.as_str()),
            text(|told| told.change.severity.as_str()),
            Arc::new(told().map(|told| told.value).collect::<Float64Array>()),
            times(|told| Some(told.change.at)),
            times(|told| told.change.fired_at),
            Arc::new(told().map(|told| told.by.as_deref()).collect::<StringArray>()),
        ];
        columns.extend(rest);
        out.emit(batch::assemble(schema, columns, changes.len())?);
        Ok(())
    }
}

/// A batch's rows.
pub(super) struct Rows<'a> {
    /// Hash and canonical bytes of each row's key: made once, whoever keeps them.
    pub(super) keys: Vec<(u64, Arc<[u8]>)>,
    times: &'a TimestampMicrosecondArray,
    values: Vec<Float64Array>,
    watermarks: Option<&'a Int64Array>,
    arrivals: Option<Arrivals<'a>>,
    commands: Option<Commands<'a>>,
}

/// What a row is.
pub(super) enum Row<'a> {
    /// Readings of a time.
    Readings(EventTime),
    Command(Command<'a>),
    /// Neither: it has no time, or one that is too far ahead, or cannot be understood.
    Nothing,
}

impl<'a> Rows<'a> {
    pub(super) fn row(&self, row: usize) -> Row<'a> {
        if let Some(commands) = &self.commands
            && commands.actions.is_valid(row)
        {
            return commands.get(row).map_or(Row::Nothing, Row::Command);
        }
        let time = self.times.is_valid(row).then(|| self.times.value(row));
        let is_ahead = |at| self.arrivals.as_ref().is_some_and(|known| known.is_ahead(row, at));
        time.filter(|at| !is_ahead(*at)).map_or(Row::Nothing, Row::Readings)
    }

    /// What the rule at `rule` reads. NaN is no reading, as null is none.
    pub(super) fn value(&self, row: usize, rule: usize) -> Option<f64> {
        let values = self.values.get(rule)?;
        values.is_valid(row).then(|| values.value(row)).filter(|value| !value.is_nan())
    }

    /// How far event time is at the row: by its own split, where rows tell, or by the stream.
    pub(super) fn watermark(&self, row: usize, stream: Watermark) -> Option<EventTime> {
        match self.watermarks {
            Some(own) => own.is_valid(row).then(|| own.value(row)),
            None => (stream < Watermark::MAX).then_some(stream.0),
        }
    }
}

/// The columns of commands.
struct Commands<'a> {
    actions: &'a StringArray,
    rules: &'a StringArray,
    opened: &'a TimestampMicrosecondArray,
    until: &'a TimestampMicrosecondArray,
    by: &'a StringArray,
}

impl<'a> Commands<'a> {
    fn find(batch: &'a RecordBatch) -> Result<Self> {
        Ok(Self {
            actions: column_of(batch, AlertCommand::ALERT_ACTION)?,
            rules: column_of(batch, AlertCommand::ALERT_RULE)?,
            opened: column_of(batch, AlertCommand::ALERT_OPENED_AT)?,
            until: column_of(batch, AlertCommand::ALERT_SNOOZE_UNTIL)?,
            by: column_of(batch, AlertCommand::ALERT_BY)?,
        })
    }

    fn get(&self, row: usize) -> Option<Command<'a>> {
        let text = |column: &'a StringArray| column.is_valid(row).then(|| column.value(row));
        let time =
            |column: &TimestampMicrosecondArray| column.is_valid(row).then(|| column.value(row));
        let snooze_until = match text(self.actions)? {
            AlertCommand::ACKNOWLEDGE => None,
            AlertCommand::SNOOZE => Some(time(self.until)?),
            _ => return None,
        };
        let (rule, opened_at) = (text(self.rules)?, time(self.opened)?);
        Some(Command { rule, opened_at, snooze_until, by: text(self.by) })
    }
}
