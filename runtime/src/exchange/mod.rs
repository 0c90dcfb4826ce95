//! The data plane: bounded channels between subtasks, and who gets which row. Barriers travel in the same queue as
//! rows; actix mailboxes carry no data.

mod channel;
mod gate;
mod partitioner;

pub(crate) use channel::{Receiver, Sender, channel};
pub(crate) use gate::{Input, InputGate};
pub(crate) use partitioner::Partitioner;
