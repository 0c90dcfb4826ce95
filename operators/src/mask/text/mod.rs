//! Text masks for the five direct identifiers of the seed schema.
//!
//! These are *display* masks: what a workforce dashboard may show under the "minimum necessary"
//! rule. Initials, last-four digits and a city are still PHI under HIPAA Safe Harbor
//! (45 CFR 164.514), so masked output keeps its access control, audit trail and encryption.
//!
//! Every mask keeps the same promises, so that a caller never has to ask which one it holds:
//!
//! * **total** - any Unicode in, never a panic;
//! * **idempotent** - replaying a masked table through the mask changes nothing;
//! * **fail closed** - text the grammar does not recognise becomes the full mask of its type and
//!   the call answers [`Parsed::No`]; nothing is shown because it "looked harmless";
//! * **validity is not our business** - an SSN of area 000 is masked like any other; flagging it
//!   is the validator's work;
//! * **bounded** - output stays under 4 KiB whatever the input;
//! * **appending** - the caller reuses one buffer per column; ASCII input allocates nothing.
//!
//! Non-ASCII input is NFKC-normalised first (full-width digits, decomposed accents, no-break
//! spaces), invisible characters are removed, and Unicode dashes become `-`. That path allocates;
//! it is taken by a small share of the rows.
//!
//! ```
//! use thalweg_operators::mask::text::{Parsed, mask_name, mask_ssn};
//!
//! let mut column = String::new();
//! assert_eq!(mask_name("John Doe", &mut column), Parsed::Yes);
//! column.push('|');
//! assert_eq!(mask_ssn("not a number", &mut column), Parsed::No);
//! assert_eq!(column, "J*** D***|***-**-****");
//! ```

mod address;
mod dob;
mod leak;
mod name;
mod phone;
mod ssn;
#[cfg(test)]
mod tests;
mod us_states;

use unicode_normalization::UnicodeNormalization;

pub use address::mask_address;
pub use dob::mask_dob;
pub use leak::{Leak, find_leak, find_leak_except};
pub use name::mask_name;
pub use phone::mask_phone;
pub use ssn::mask_ssn;

/// Whether a mask recognised its input.
///
/// Callers count [`Parsed::No`] per field: a rising count means that a producer changed its
/// format, and that the column silently turned into stars.
#[must_use = "an unparsed field has to be counted, or a format change goes unnoticed"]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parsed {
    /// The input was empty, already masked, or matched the grammar of its type.
    Yes,
    /// The input was not understood and is fully masked.
    No,
}

/// Longest input worth reading, in bytes. Longer text is no single name, number or address, and
/// refusing it here bounds both the work and the output of every mask.
const MAX_INPUT: usize = 4096;

/// The frame all masks share: trims, normalises, and falls back to `full` when `mask` gives up.
///
/// `mask` may have written to `out` before it gives up; that text is rolled back here, so that no
/// mask can leak a half-recognised value by returning early.
fn mask_with(
    input: &str,
    full: &str,
    out: &mut String,
    mask: impl FnOnce(&str, &mut String) -> Option<()>,
) -> Parsed {
    let start = out.len();
    let text = input.trim();
    if text.is_empty() {
        return Parsed::Yes;
    }
    let masked = if text.len() > MAX_INPUT {
        None
    } else if text.is_ascii() {
        mask(text, out)
    } else {
        let clean = normalise(text);
        let clean = clean.trim();
        // Only invisible characters: as empty as white space.
        if clean.is_empty() { Some(()) } else { mask(clean, out) }
    };
    if masked.is_some() {
        return Parsed::Yes;
    }
    out.truncate(start);
    out.push_str(full);
    Parsed::No
}

/// NFKC without invisible characters and with plain hyphens.
///
/// Invisible characters go *before* the normalisation: one between a letter and its accent blocks
/// the composition, and removing it afterwards would leave text that a second pass changes.
fn normalise(text: &str) -> String {
    text.chars().filter(|c| !is_invisible(*c)).nfkc().map(fold_dash).collect()
}

/// Folds the dashes that NFKC leaves alone; producers copy them from word processors.
fn fold_dash(c: char) -> char {
    if matches!(c, '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}') { '-' } else { c }
}

/// Characters with no glyph: format controls (Cf), variation selectors and the Hangul fillers,
/// which Unicode calls letters and which would otherwise be shown as somebody's initial.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}'
        | '\u{890}'..='\u{891}' | '\u{8E2}' | '\u{115F}'..='\u{1160}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
        | '\u{FFF9}'..='\u{FFFB}' | '\u{110BD}' | '\u{110CD}' | '\u{13430}'..='\u{1343F}'
        | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Appends ASCII bytes that the caller has already checked to be digits.
fn push_digits(out: &mut String, digits: &[u8]) {
    out.extend(digits.iter().copied().map(char::from));
}

/// Splits off the first `count` bytes when they all are ASCII digits.
fn take_digits(bytes: &[u8], count: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(count).filter(|(head, _)| head.iter().all(u8::is_ascii_digit))
}

/// Splits off an ASCII suffix in any letter case.
fn strip_suffix_ignore_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    tail.eq_ignore_ascii_case(suffix).then_some(head)
}

/// The text before the last word, and the word.
fn split_last_word(text: &str) -> (&str, &str) {
    match text.rsplit_once(char::is_whitespace) {
        Some((before, word)) => (before.trim_end(), word),
        None => ("", text),
    }
}

/// Cuts whole words off the end, in any letter case.
fn strip_last_words<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let before = strip_suffix_ignore_case(text, words)?;
    let trimmed = before.trim_end();
    (before.is_empty() || trimmed.len() < before.len()).then_some(trimmed)
}
