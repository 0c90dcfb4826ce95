//! What a file that builds a graph imports: `use thalweg_operators::prelude::*;`.

pub use crate::{ColumnRef, Filter, Map, Mask, Project, Seal, Validate};
