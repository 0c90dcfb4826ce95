//! Person names: the first letter of every word, then three stars.
//!
//! Why no word lists: titles, suffixes and particles (`Dr.`, `Jr.`, `van`) differ by locale, and a
//! list that misses one shows more than it should. Every word is masked alike instead, and always
//! with three stars, so that the length of a name is hidden too.
//!
//! * Words are split on any Unicode white space; `Jean-Luc` is one word, because a second initial
//!   would disclose more.
//! * Leading punctuation and symbols are skipped; a word of nothing else vanishes.
//! * A word that starts with a letter shows its first extended grapheme cluster (an `É` typed as
//!   two code points is still one letter to a reader); any other word becomes `***`.
//! * A text without a single letter (an id typed in the wrong field), or with more than
//!   [`MAX_WORDS`] words (a sentence, not a name), is unparsable: `***`.
//!
//! In scripts where one character is a syllable or a word (Hangul, Han), the shown cluster may be
//! a whole family name. That is the rule of the display policy; use a stricter one if it matters.

use unicode_segmentation::UnicodeSegmentation;

use super::{Parsed, mask_with};

const STARS: &str = "***";

/// More words than any name has; the initials of a longer text would begin to spell it out.
const MAX_WORDS: usize = 32;

/// A cluster may carry any number of accents; past this many bytes it is noise, and not shown.
const MAX_CLUSTER: usize = 32;

/// Masks a person's name word by word.
///
/// ```
/// use thalweg_operators::mask::text::{Parsed, mask_name};
///
/// let mut out = String::new();
/// assert_eq!(mask_name("Jean-Luc Picard", &mut out), Parsed::Yes);
/// assert_eq!(out, "J*** P***");
/// ```
pub fn mask_name(input: &str, out: &mut String) -> Parsed {
    mask_with(input, STARS, out, |text, out| {
        if text.is_ascii() {
            mask_words(text.split(|c| matches!(c, ' ' | '\t'..='\r')), ascii, out)
        } else {
            mask_words(text.split_whitespace(), unicode, out)
        }
    })
}

/// What a word shows of itself.
enum Shown<'a> {
    /// Its first letter.
    Initial(&'a str),
    /// Nothing, because it starts with a digit.
    Hidden,
    /// Nothing, because a mask has already been here.
    Masked,
    /// Not even stars: it is empty, or only punctuation.
    Nothing,
}

fn mask_words<'a>(
    words: impl Iterator<Item = &'a str>,
    show: fn(&'a str) -> Shown<'a>,
    out: &mut String,
) -> Option<()> {
    let (mut count, mut named, mut hidden) = (0, false, false);
    for word in words {
        let initial = match show(word) {
            Shown::Nothing => continue,
            Shown::Initial(initial) => {
                named = true;
                initial
            }
            Shown::Hidden => {
                hidden = true;
                ""
            }
            Shown::Masked => "",
        };
        if count == MAX_WORDS {
            return None;
        }
        if count > 0 {
            out.push(' ');
        }
        out.push_str(initial);
        out.push_str(STARS);
        count += 1;
    }
    (named || (count > 0 && !hidden)).then_some(())
}

fn ascii(word: &str) -> Shown<'_> {
    match word.bytes().position(|b| b.is_ascii_alphanumeric()) {
        None => bare(word),
        Some(at) => match word.get(at..=at) {
            Some(initial) if !initial.as_bytes().iter().all(u8::is_ascii_digit) => {
                Shown::Initial(initial)
            }
            _ => Shown::Hidden,
        },
    }
}

fn unicode(word: &str) -> Shown<'_> {
    let Some(at) = word.find(char::is_alphanumeric) else { return bare(word) };
    let rest = word.get(at..).unwrap_or_default();
    if !rest.starts_with(char::is_alphabetic) {
        return Shown::Hidden;
    }
    // A few letters (class Prepend) join with whatever follows, so with our own stars on a second
    // pass: those are not part of the initial.
    match rest.graphemes(true).next().map(|cluster| cluster.trim_end_matches('*')) {
        Some(initial) if initial.len() <= MAX_CLUSTER => Shown::Initial(initial),
        _ => Shown::Hidden,
    }
}

/// A word without letters and digits.
fn bare(word: &str) -> Shown<'_> {
    if !word.is_empty() && word.bytes().all(|b| b == b'*') { Shown::Masked } else { Shown::Nothing }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn each_word_keeps_only_its_first_letter() {
        check(
            mask_name,
            Parsed::Yes,
            &[
                ("John Doe", "J*** D***"),
                ("Jean-Luc Picard", "J*** P***"),
                ("Dr. John Doe Jr.", "D*** J*** D*** J***"),
                ("John\tDoe\n", "J*** D***"),
                ("John\u{B}Doe\u{3000}Roe", "J*** D*** R***"),
                ("John\u{B}Doe", "J*** D***"),
                ("J. R. R. Tolkien", "J*** R*** R*** T***"),
                ("E\u{301}lodie", "É***"),
                ("محمد علي", "م*** ع***"),
                ("John Doe 3rd", "J*** D*** ***"),
                ("\u{200b}John", "J***"),
                ("J*** D***", "J*** D***"),
                ("***", "***"),
                ("  o'Neil,  (Bob) ", "o*** B***"),
                ("DOE^JOHN^A", "D***"),
                ("\"John\" - Doe", "J*** D***"),
                ("김민수", "김***"),
                ("ﬁona", "f***"),
                ("e\u{200d}\u{301}lodie", "é***"),
                ("🙂 Jane", "J***"),
                ("\u{d4e}*x", "\u{d4e}***"),
            ],
        );
    }

    #[test]
    fn text_without_a_letter_is_fully_masked() {
        check(
            mask_name,
            Parsed::No,
            &[("12345", "***"), ("12 345", "***"), ("--", "***"), ("🙂", "***"), ("٣٤", "***")],
        );
    }

    #[test]
    fn blank_stays_blank() {
        check(
            mask_name,
            Parsed::Yes,
            &[("", ""), (" \t\n", ""), ("\u{a0}\u{3000}", ""), ("\u{200b}\u{feff}", "")],
        );
    }

    #[test]
    fn a_sentence_or_a_tower_of_accents_shows_nothing() {
        let sentence = "word ".repeat(MAX_WORDS + 1);
        let tower = format!("x{} Doe", "\u{301}".repeat(100));
        let endless = "y".repeat(5000);
        check(mask_name, Parsed::No, &[(&sentence, "***"), (&endless, "***")]);
        check(mask_name, Parsed::Yes, &[(&tower, "*** D***")]);
    }
}
