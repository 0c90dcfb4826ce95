//! Messages for a terminal, which must not do what somebody has written into them.

use std::io::{self, Write};

/// Writes text as it is, but for what a terminal would obey: control characters, other than line feeds and tabs, become
/// `\u{1b}`, bytes that are no UTF-8 `\x9b`.
#[derive(Debug)]
pub struct Visible<W>(pub W);

impl<W: Write> Write for Visible<W> {
    /// Takes all of it: a character that is cut in two is none.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() && !matches!(c, '\n' | '\t') {
                    text.extend(c.escape_unicode());
                } else {
                    text.push(c);
                }
            }
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        self.0.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        let cases: [(&[u8], &str); 6] = [
            (b"{\"a\": 1}\n", "{\"a\": 1}\n"),
            ("\tZo\u{eb} \\".as_bytes(), "\tZo\u{eb} \\"),
            (b"\x1b]0;x\x07\r\x7f\0", "\\u{1b}]0;x\\u{7}\\u{d}\\u{7f}\\u{0}"),
            ("\u{9b}2J".as_bytes(), "\\u{9b}2J"),
            (b"\x9b2J\xff", "\\x9b2J\\xff"),
            (b"", ""),
        ];
        for (message, shown) in cases {
            let mut out = Visible(Vec::new());
            out.write_all(message).unwrap();
            assert_eq!(String::from_utf8(out.0).unwrap(), shown);
        }
    }
}
