//! Reads the splits of one subtask, one after another.

use std::collections::VecDeque;
use std::fs::File;
use std::time::Duration;

use arrow_schema::SchemaRef;
use thalweg_core::connector::decode::Decoder;
use thalweg_core::connector::source::{Polled, SourceReader, Split, SplitBatch};
use thalweg_core::{Error, Result};

use super::identity::{Input, LENGTH};
use super::lines::LineCutter;
use crate::clock::now_micros;
use crate::provenance::MessageBatcher;

/// The reader of [`super::JsonLinesSource`].
pub(super) struct FileReader {
    input: Input,
    max_line: usize,
    decoder: Box<dyn Decoder>,
    batcher: MessageBatcher,
    /// Opened for the first split and kept.
    lines: Option<LineCutter<File>>,
    waiting: VecDeque<Split>,
    current: Option<Current>,
}

/// The split that is being read.
struct Current {
    id: String,
    end: u64,
    length: u64,
}

impl FileReader {
    pub(super) fn new(
        input: Input,
        max_line: usize,
        schema: SchemaRef,
        decoder: Box<dyn Decoder>,
    ) -> Self {
        let batcher = MessageBatcher::new(input.name(), 0, schema);
        let waiting = VecDeque::new();
        Self { input, max_line, decoder, batcher, lines: None, waiting, current: None }
    }

    /// Goes to the next split; false when there is none.
    fn next_split(&mut self) -> Result<bool> {
        let Some(split) = self.waiting.pop_front() else { return Ok(false) };
        let (position, current) = located(&split)?;
        let broken = |e| self.input.broken(e, current.length);
        let lines = match &mut self.lines {
            Some(lines) => lines,
            none => {
                let (file, length) = self.input.open()?;
                if length < current.length {
                    return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
                }
                none.insert(LineCutter::new(file, self.max_line))
            }
        };
        lines.begin(position, current.end, current.length).map_err(broken)?;
        self.current = Some(current);
        Ok(true)
    }
}

impl SourceReader for FileReader {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        self.waiting.extend(splits.into_iter().filter(|s| !s.is_finished()));
        Ok(())
    }

    fn poll(&mut self, _max_wait: Duration) -> Result<Polled> {
        if self.current.is_none() && !self.next_split()? {
            return Ok(Polled::Exhausted);
        }
        let (Some(current), Some(lines)) = (&self.current, &mut self.lines) else {
            return Err(Error::internal("a file reader without a split"));
        };
        while !self.batcher.is_full() {
            let next = lines.next_line().map_err(|e| self.input.broken(e, current.length))?;
            let Some(line) = next else { break };
            self.batcher.push(line.offset as i64, line.next as i64, None, Some(lines.payload()));
        }
        let split = current.id.clone();
        if self.batcher.rows() > 0 {
            let (batch, next_positions) =
                self.batcher.finish(self.decoder.as_mut(), now_micros())?;
            return Ok(Polled::Rows(SplitBatch { split, batch, next_positions }));
        }
        let position = lines.position().max(current.end) as i64;
        self.current = None;
        Ok(Polled::Advanced { split, position })
    }
}

/// Where to read, out of what the manifest says.
fn located(split: &Split) -> Result<(u64, Current)> {
    let damaged = || Error::corrupt(format!("split `{}` is not a range of a file", split.id));
    let number = |n: i64| u64::try_from(n).map_err(|_| damaged());
    let position = number(split.position)?;
    let end = number(split.end.ok_or_else(damaged)?)?;
    let length: u64 =
        split.properties.get(LENGTH).and_then(|l| l.parse().ok()).ok_or_else(damaged)?;
    if end > length {
        return Err(damaged());
    }
    Ok((position, Current { id: split.id.clone(), end, length }))
}
