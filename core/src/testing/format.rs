//! A format for tests of sources.

use arrow_array::ArrayRef;
use arrow_schema::Fields;

use crate::Result;
use crate::connector::decode::{Decoder, Format, Messages};

/// Decodes nothing: the columns that the source itself adds are enough.
#[derive(Debug, Clone, Copy)]
pub struct NoColumns;

impl Format for NoColumns {
    fn fields(&self) -> Fields {
        Fields::empty()
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(*self)
    }
}

impl Decoder for NoColumns {
    fn decode(&mut self, _: Messages<'_>) -> Result<Vec<ArrayRef>> {
        Ok(Vec::new())
    }
}
