//! What a file that builds a graph imports: `use thalweg_operators::prelude::*;`.

pub use crate::{
    Aggregate, AlertRule, Alerts, ColumnRef, EwmaZScore, Filter, LATE, Lateness, Map, Mask,
    Project, REJECTED, Seal, Threshold, Validate,
};
