//! Keyed state: what a [`crate::operator::KeyedOperator`] remembers per key, and tables for operators of a busier kind.

pub mod codec;
mod descriptor;
mod store;
mod table;

pub(crate) use descriptor::Handle;
pub use descriptor::{
    ListState, ListStateDescriptor, MapState, MapStateDescriptor, ValueState, ValueStateDescriptor,
};
pub use store::{Key, KeyedStore};
pub use table::{Entry, KeyTable, Stored};
