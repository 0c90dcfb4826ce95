//! What the author of a pipeline or an operator imports.

pub use crate::graph::{
    DataStream, GraphErrors, JobGraph, KeyedStream, StreamEnvironment, WindowedStream,
};
pub use crate::operator::{Collector, Context, KeyedContext, KeyedOperator, Operator, OutputTag};
pub use crate::record::{Batch, Column, Micros, Record, Untyped};
pub use crate::state::{
    Key, ListState, ListStateDescriptor, MapState, MapStateDescriptor, ValueState,
    ValueStateDescriptor,
};
pub use crate::watermark::WatermarkStrategy;
pub use crate::window::{SlidingEventTimeWindows, TumblingEventTimeWindows};
pub use crate::{Clearance, Error, ErrorKind, Result, Sensitivity, Watermark};
