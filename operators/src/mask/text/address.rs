//! US postal addresses: `City, ST`.
//!
//! An address is read from its end, where the grammar is firm: country, ZIP, state, city. Whatever
//! stands before the city is dropped unread, since streets have no grammar worth trusting.
//!
//! * Parts are separated by commas and line breaks; a trailing `USA` and a ZIP (also in a part of
//!   its own) are dropped.
//! * The last part must end with a state, as a code or a full name. The city is what stands before
//!   it there, or else the part before.
//! * A city that cannot be one leaves the state alone: digits, anything but letters and `.-'`, a
//!   unit (`Apt B`, `PO Box`) or a street (`Main Street`, whose town is missing).
//! * No state, no output: `***`. Two-letter countries that look like a state (`Berlin, DE`) cannot
//!   be told apart and are shown as one.

use super::us_states::split_trailing_state;
use super::{Parsed, mask_with, split_last_word, strip_last_words, take_digits};

const FULL: &str = "***";

/// Longer than any place name; this also bounds the output.
const MAX_CITY: usize = 64;

const COUNTRIES: [&str; 6] =
    ["usa", "us", "u.s.a.", "u.s.", "united states", "united states of america"];

/// Words of units and streets that no city has, wherever they stand.
const NEVER_IN_CITY: [&str; 18] = [
    "apt",
    "apartment",
    "suite",
    "unit",
    "fl",
    "floor",
    "bldg",
    "building",
    "rm",
    "room",
    "po",
    "pmb",
    "street",
    "road",
    "rd",
    "blvd",
    "boulevard",
    "highway",
];

/// Words no city ends with, though some begin with them (`St. Louis`, `Ave Maria`, `Ste. Marie`).
const NEVER_LAST_IN_CITY: [&str; 13] = [
    "st", "ste", "ave", "avenue", "dr", "drive", "ln", "lane", "ct", "hwy", "pkwy", "parkway",
    "box",
];

/// Masks a postal address down to city and state.
///
/// ```
/// use thalweg_operators::mask::text::{Parsed, mask_address};
///
/// let mut out = String::new();
/// assert_eq!(mask_address("123 Main St, Boston, MA 02115", &mut out), Parsed::Yes);
/// assert_eq!(out, "Boston, MA");
/// ```
pub fn mask_address(input: &str, out: &mut String) -> Parsed {
    mask_with(input, FULL, out, |text, out| {
        if text == FULL {
            out.push_str(FULL);
            return Some(());
        }
        let mut parts = text.rsplit(is_break).map(str::trim).filter(|part| !part.is_empty());
        let mut last = strip_country(parts.next()?);
        if last.is_empty() {
            last = parts.next()?;
        }
        let (mut before_zip, has_zip) = strip_zip(last);
        if before_zip.is_empty() {
            before_zip = parts.next()?;
        }
        let (before_state, state) = split_trailing_state(before_zip, has_zip)?;
        let city = if before_state.is_empty() { parts.next() } else { Some(before_state) };
        if let Some(city) = city.and_then(usable_city) {
            out.push_str(city);
            out.push_str(", ");
        }
        out.push_str(state);
        Some(())
    })
}

fn is_break(c: char) -> bool {
    matches!(c, ',' | '\n'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn strip_country(part: &str) -> &str {
    COUNTRIES.iter().find_map(|name| strip_last_words(part, name)).unwrap_or(part)
}

fn strip_zip(part: &str) -> (&str, bool) {
    let (before, word) = split_last_word(part);
    let is_zip = take_digits(word.as_bytes(), 5).is_some_and(|(_, rest)| {
        let plus_four = rest.strip_prefix(b"-").unwrap_or(rest);
        rest.is_empty() || take_digits(plus_four, 4).is_some_and(|(_, rest)| rest.is_empty())
    });
    if is_zip { (before, true) } else { (part, false) }
}

fn usable_city(text: &str) -> Option<&str> {
    let city = text.trim_matches([' ', '.', '-', '\'']);
    let allowed = |c: char| c.is_alphabetic() || matches!(c, ' ' | '.' | '-' | '\'' | '\u{2019}');
    if city.is_empty() || city.len() > MAX_CITY || !city.chars().all(allowed) {
        return None;
    }
    let mut last = "";
    for word in city.split([' ', '.', '-']).filter(|word| !word.is_empty()) {
        // `P.O. Box`, but Box Elder is a town.
        if is_one_of(word, &NEVER_IN_CITY) || (!last.is_empty() && is_one_of(word, &["box"])) {
            return None;
        }
        last = word;
    }
    // `Ste B`, or what is left of a unit.
    let is_letter = last.chars().nth(1).is_none();
    (!is_letter && !is_one_of(last, &NEVER_LAST_IN_CITY)).then_some(city)
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| word.eq_ignore_ascii_case(entry))
}

#[cfg(test)]
mod tests;
