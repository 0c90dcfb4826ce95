//! Cuts one byte range of a file into lines. Pure over anything that reads and seeks.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};

use super::content::BYTE_ORDER_MARK;

/// Bytes read from the file at once.
const CHUNK: usize = 256 << 10;

/// Where a line is; its payload is in [`LineCutter::payload`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// Byte at which it starts.
    pub(super) offset: u64,
    /// Where reading goes on behind it.
    pub(super) next: u64,
}

/// Reads the lines that start in a byte range.
#[derive(Debug)]
pub(super) struct LineCutter<R> {
    input: BufReader<R>,
    max_line: usize,
    /// The next byte to read.
    at: u64,
    /// Lines that start here or later are another split's.
    end: u64,
    /// Where the input ends, whatever has been appended since.
    length: u64,
    payload: Vec<u8>,
}

impl<R: Read + Seek> LineCutter<R> {
    /// Over `input`; of lines longer than `max_line` bytes only the first `max_line` + 1 are kept.
    pub(super) fn new(input: R, max_line: usize) -> Self {
        let input = BufReader::with_capacity(CHUNK, input);
        Self { input, max_line, at: 0, end: 0, length: 0, payload: Vec::new() }
    }

    /// Goes to the first line that starts at or after `position`, not looking further than `end`.
    pub(super) fn begin(&mut self, position: u64, end: u64, length: u64) -> io::Result<()> {
        self.end = end.min(length);
        self.length = length;
        self.at = position;
        if position == 0 || position >= self.end {
            self.input.seek(SeekFrom::Start(position))?;
            return Ok(());
        }
        // A line starts behind a line feed, so the byte before the position tells whether one starts here.
        self.input.seek(SeekFrom::Start(position - 1))?;
        let skipped = self.skip_line(self.end - position + 1)?;
        self.at = position - 1 + skipped;
        Ok(())
    }

    /// The next line that is not blank, `None` behind the last that starts in the range.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] when the input has become shorter than it was.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line>> {
        while self.at < self.end {
            let offset = self.at;
            let complete = self.read_line()?;
            if complete && self.payload.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return Ok(Some(Line { offset, next: self.at }));
        }
        Ok(None)
    }

    /// The bytes of the last line, without its line end.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The next byte to read.
    pub(super) fn position(&self) -> u64 {
        self.at
    }

    /// Reads the line at the position; whether it is all there, not cut off for being too long.
    fn read_line(&mut self) -> io::Result<bool> {
        let longest = self.max_line as u64;
        // A mark before the first line is none of it, and yet a part of what is read.
        let mark = if self.at == 0 { BYTE_ORDER_MARK } else { &[] };
        // One byte more tells that it is too long, two more are its line end.
        let room = (longest + 3 + mark.len() as u64).min(self.length - self.at);
        self.payload.clear();
        let read = (&mut self.input).take(room).read_until(b'\n', &mut self.payload)? as u64;
        self.at += read;
        let complete = if self.payload.last() == Some(&b'\n') {
            self.payload.pop();
            if self.payload.last() == Some(&b'\r') {
                self.payload.pop();
            }
            true
        } else if read < room {
            return Err(ErrorKind::UnexpectedEof.into());
        } else if self.at < self.length {
            // Nobody needs to know where it ends when that is behind the range: the next split finds out itself.
            self.at += self.skip_line(self.end.saturating_sub(self.at))?;
            false
        } else {
            true
        };
        if !mark.is_empty() && self.payload.starts_with(mark) {
            self.payload.drain(..mark.len());
        }
        let fits = self.payload.len() <= self.max_line;
        self.payload.truncate(self.max_line + 1);
        Ok(complete && fits)
    }

    /// Skips to behind the next line feed, at most `most` bytes; how many it were.
    fn skip_line(&mut self, most: u64) -> io::Result<u64> {
        Ok((&mut self.input).take(most).skip_until(b'\n')? as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn cut(text: &[u8], max_line: usize, position: u64, end: u64) -> Vec<(u64, u64, Vec<u8>)> {
        let mut lines = LineCutter::new(Cursor::new(text), max_line);
        lines.begin(position, end, text.len() as u64).unwrap();
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            found.push((line.offset, line.next, lines.payload().to_vec()));
        }
        assert!(lines.position() >= end.min(text.len() as u64));
        found
    }

    #[test]
    fn line_ends_blank_lines_and_a_missing_last_line_end_are_understood() {
        let found = cut(b"a\r\n\n \t\r\nb\rc\nd\r", 9, 0, 99);
        let want = [(0, 3, b"a".to_vec()), (8, 12, b"b\rc".to_vec()), (12, 14, b"d\r".to_vec())];
        assert_eq!(found, want);
    }

    #[test]
    fn a_line_belongs_to_the_range_in_which_it_starts() {
        let text = b"ab\ncd\n";
        for (from, end, want) in [(0, 1, vec![0]), (1, 3, vec![]), (3, 4, vec![3]), (2, 4, vec![3])]
        {
            let offsets: Vec<u64> = cut(text, 9, from, end).into_iter().map(|l| l.0).collect();
            assert_eq!(offsets, want, "{from}..{end}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_keeps_one_byte_more_than_allowed() {
        for end in ["\n", "\r\n", ""] {
            for length in 1..12_usize {
                let text = format!("{}{end}", "x".repeat(length));
                let found = cut(text.as_bytes(), 4, 0, 99);
                assert_eq!(found.len(), 1);
                assert_eq!(found[0].2.len(), length.min(5), "{length} {end:?}");
                assert_eq!(found[0].1, text.len() as u64);
            }
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_not_read_beyond_the_range() {
        let text = [b"x".repeat(100), b"\ny\n".to_vec()].concat();
        assert_eq!(cut(&text, 4, 0, 50), [(0, 50, b"xxxxx".to_vec())]);
        assert_eq!(cut(&text, 4, 50, 103), [(101, 103, b"y".to_vec())]);
    }

    #[test]
    fn bytes_behind_the_remembered_length_are_not_read() {
        let mut lines = LineCutter::new(Cursor::new(b"one\ntwothree\nfour\n"), 99);
        lines.begin(0, 7, 7).unwrap();
        assert_eq!(lines.next_line().unwrap(), Some(Line { offset: 0, next: 4 }));
        assert_eq!(lines.next_line().unwrap(), Some(Line { offset: 4, next: 7 }));
        assert_eq!(lines.payload(), b"two");
        assert_eq!(lines.next_line().unwrap(), None);
    }

    #[test]
    fn an_input_that_became_shorter_is_an_error() {
        let mut lines = LineCutter::new(Cursor::new(b"one\ntw"), 99);
        lines.begin(0, 9, 9).unwrap();
        assert!(lines.next_line().unwrap().is_some());
        assert_eq!(lines.next_line().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
