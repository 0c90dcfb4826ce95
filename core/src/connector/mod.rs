//! The contracts between the runtime and the outside world.

pub mod decode;
pub mod sink;
pub mod source;
pub mod staging;
pub mod standing;
