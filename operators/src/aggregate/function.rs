//! The functions an aggregate is made of: what each takes, keeps, and gives.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_schema::{DataType, Field};
use thalweg_core::{Error, Result};

use super::accumulate::{
    Accumulator, Count, Deviation, Distinct, Extreme, Greatest, Least, Mean, Percentile, Sum,
    Values, distinct_item, is_numeric,
};
use super::rows::Layout;

/// One aggregate function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Function {
    Count,
    CountValues,
    CountDistinct,
    Sum,
    Mean,
    Min,
    Max,
    StdDev,
    Percentile(f64),
}

impl Function {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::CountValues => "count values",
            Self::CountDistinct => "count distinct",
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::StdDev => "stddev",
            Self::Percentile(_) => "percentile",
        }
    }

    /// Whether it can be computed over `input`.
    pub(super) fn check(self, input: &Field) -> Result<()> {
        let fits = match self {
            Self::Count | Self::CountValues => true,
            Self::CountDistinct => matches!(input.data_type(), DataType::Int64 | DataType::Utf8),
            Self::Percentile(q) if !(0.0..=1.0).contains(&q) => {
                return Err(Error::graph(format!(
                    "the percentile of `{}` must be given as a number from 0 to 1",
                    input.name()
                )));
            }
            _ => is_numeric(input.data_type()),
        };
        if fits {
            return Ok(());
        }
        Err(Error::graph(format!(
            "{} cannot be computed over column `{}` of type {}",
            self.name(),
            input.name(),
            input.data_type()
        )))
    }

    /// The state columns: what travels between the phases and is stored. They carry the input's marks, because a sum
    /// over one row or a set of values discloses as much as the column itself.
    pub(super) fn state_fields(self, output: &str, input: Option<&Field>) -> Vec<Field> {
        let marks = input.map(|f| f.metadata().clone()).unwrap_or_default();
        let data_type = input.map_or(DataType::Null, |f| f.data_type().clone());
        let part = |name: &str, data_type: DataType| {
            Field::new(format!("{output}.{name}"), data_type, false).with_metadata(marks.clone())
        };
        let whole = |data_type: DataType, nullable: bool| {
            vec![Field::new(output, data_type, nullable).with_metadata(marks.clone())]
        };
        match self {
            Self::Count | Self::CountValues => vec![Field::new(output, DataType::Int64, false)],
            Self::CountDistinct => whole(DataType::List(Arc::new(distinct_item(data_type))), false),
            Self::Sum => whole(DataType::Float64, true),
            Self::Mean => vec![part("count", DataType::Int64), part("sum", DataType::Float64)],
            Self::Min | Self::Max => whole(data_type, true),
            Self::StdDev => vec![
                part("count", DataType::Int64),
                part("mean", DataType::Float64),
                part("m2", DataType::Float64),
            ],
            Self::Percentile(_) => whole(DataType::Binary, true),
        }
    }

    /// How many state columns there are.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Mean => 2,
            Self::StdDev => 3,
            _ => 1,
        }
    }

    /// The result's column, given those of the state. A number of values discloses none of them.
    pub(super) fn result_field(self, output: &str, state: &[Field]) -> Field {
        let first = state.first();
        let marks = first.map(|f| f.metadata().clone()).unwrap_or_default();
        match self {
            Self::Count | Self::CountValues | Self::CountDistinct => {
                Field::new(output, DataType::Int64, false)
            }
            Self::Min | Self::Max => {
                let data_type = first.map_or(DataType::Null, |f| f.data_type().clone());
                Field::new(output, data_type, true).with_metadata(marks)
            }
            _ => Field::new(output, DataType::Float64, true).with_metadata(marks),
        }
    }

    /// The input's type, told from the state alone: what the phase behind the exchange knows.
    fn input_type(state: &[Field]) -> DataType {
        match state.first().map(Field::data_type) {
            Some(DataType::List(item)) => item.data_type().clone(),
            Some(other) => other.clone(),
            None => DataType::Null,
        }
    }

    /// Whether `state` are the columns that [`Self::state_fields`] gives, whatever their marks.
    pub(super) fn owns(self, output: &str, state: &[Field]) -> bool {
        let input = Field::new("", Self::input_type(state), true);
        let plain = |f: &Field| (f.name().clone(), f.data_type().clone());
        let expected = self.state_fields(output, Some(&input));
        expected.iter().map(plain).eq(state.iter().map(plain))
    }

    /// An empty accumulator for these state columns, with the next part of a row.
    pub(super) fn accumulator(
        self,
        state: &[Field],
        layout: &mut Layout,
    ) -> Result<Box<dyn Accumulator>> {
        Ok(match (self, Self::input_type(state)) {
            (Self::Count, _) => Box::new(Count::new(layout)),
            (Self::CountValues, _) => Box::new(Values::new(layout)),
            (Self::CountDistinct, DataType::Int64) => Box::new(Distinct::integers()),
            (Self::CountDistinct, DataType::Utf8) => Box::new(Distinct::texts()),
            (Self::Sum, _) => Box::new(Sum::new(layout)),
            (Self::Mean, _) => Box::new(Mean::new(layout)),
            (Self::Min, DataType::Float64) => Box::new(Extreme::<Float64Type, Least>::new(layout)),
            (Self::Min, DataType::Int64) => Box::new(Extreme::<Int64Type, Least>::new(layout)),
            (Self::Min, DataType::Int32) => Box::new(Extreme::<Int32Type, Least>::new(layout)),
            (Self::Max, DataType::Float64) => {
                Box::new(Extreme::<Float64Type, Greatest>::new(layout))
            }
            (Self::Max, DataType::Int64) => Box::new(Extreme::<Int64Type, Greatest>::new(layout)),
            (Self::Max, DataType::Int32) => Box::new(Extreme::<Int32Type, Greatest>::new(layout)),
            (Self::StdDev, _) => Box::new(Deviation::new(layout)),
            (Self::Percentile(q), _) => Box::new(Percentile::new(q)),
            (Self::CountDistinct | Self::Min | Self::Max, _) => {
                return Err(Error::graph(format!("{} over a column of unknown type", self.name())));
            }
        })
    }
}
