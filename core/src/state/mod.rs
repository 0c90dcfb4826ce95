//! Keyed state: what a [`crate::operator::KeyedOperator`] remembers per key.

pub mod codec;
mod descriptor;
mod store;

pub(crate) use descriptor::Handle;
pub use descriptor::{
    ListState, ListStateDescriptor, MapState, MapStateDescriptor, ValueState, ValueStateDescriptor,
};
pub use store::{Key, KeyedStore};
