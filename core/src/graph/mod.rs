//! The operator graph as data: built fluently, checked all at once, printed, fingerprinted. The runtime turns it into
//! actors; nothing here runs.

mod environment;
mod job_graph;
mod render;
mod stream;
mod validate;

pub use environment::{DEFAULT_MAX_PARALLELISM, StreamEnvironment};
pub use job_graph::{
    Edge, JobGraph, Node, NodeId, NodeKind, Partitioning, SourceNode, groupings, key_types,
};
pub use stream::{DataStream, KeyedStream, WindowFunction, WindowedStream};
pub use validate::{GraphErrors, Problem};
