//! What the author of a pipeline or an operator imports.

pub use crate::graph::{
    DataStream, GraphErrors, JobGraph, KeyedStream, StreamEnvironment, WindowedStream,
};
pub use crate::operator::{
    Collector, Context, KeyedContext, KeyedOperator, OpenContext, Operator, OperatorFactory,
    OutputTag, SideOutput,
};
pub use crate::record::{Batch, Column, Micros, Record, Untyped};
pub use crate::state::{
    Key, ListState, ListStateDescriptor, MapState, MapStateDescriptor, ValueState,
    ValueStateDescriptor,
};
pub use crate::time::EventTime;
pub use crate::watermark::WatermarkStrategy;
pub use crate::window::{SlidingEventTimeWindows, TumblingEventTimeWindows};
pub use thalweg_derive::Record;

pub use crate::{Clearance, Error, ErrorKind, Result, Sensitivity, Watermark};
