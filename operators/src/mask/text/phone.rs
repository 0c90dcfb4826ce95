//! Telephone numbers: the area or country code, and the last four digits.
//!
//! | Input | Output |
//! |-|-|
//! | 10 digits, or 11 that start with 1, or `+1` (North American plan) | `(AAA) ***-LLLL` |
//! | 7 digits | `***-LLLL` |
//! | `+CC...` or `00CC...` | `+CC ***-LLLL` |
//! | anything else: letters, too few digits, several numbers | `***` |
//!
//! * An extension is dropped, since it narrows the number to a person.
//! * Separators are spaces, dots, hyphens and brackets. Where the number is read as North American
//!   they may stand only between its parts: `06 12 34 56 78` has ten digits too, and calling its
//!   first three an area code would show a part of the subscriber's number.
//! * Abroad the area code is masked as well, because its length differs by country; the national
//!   number needs seven digits at least, so that three are hidden always.

use super::{Parsed, mask_with, push_digits, strip_suffix_ignore_case, take_digits};

const FULL: &str = "***";

/// Two-digit country calling codes (ITU-T E.164); 1 and 7 are the only codes of one digit.
const TWO_DIGITS: [&[u8; 2]; 44] = [
    b"20", b"27", b"30", b"31", b"32", b"33", b"34", b"36", b"39", b"40", b"41", b"43", b"44",
    b"45", b"46", b"47", b"48", b"49", b"51", b"52", b"53", b"54", b"55", b"56", b"57", b"58",
    b"60", b"61", b"62", b"63", b"64", b"65", b"66", b"81", b"82", b"84", b"86", b"90", b"91",
    b"92", b"93", b"94", b"95", b"98",
];

/// Three-digit country calling codes: the first two digits, and every third digit in use.
const THREE_DIGITS: [(&[u8; 2], &[u8]); 23] = [
    (b"21", b"12368"),
    (b"22", b"0123456789"),
    (b"23", b"0123456789"),
    (b"24", b"0123456789"),
    (b"25", b"012345678"),
    (b"26", b"0123456789"),
    (b"29", b"01789"),
    (b"35", b"0123456789"),
    (b"37", b"0123456789"),
    (b"38", b"01235679"),
    (b"42", b"013"),
    (b"50", b"0123456789"),
    (b"59", b"0123456789"),
    (b"67", b"023456789"),
    (b"68", b"012356789"),
    (b"69", b"012"),
    (b"80", b"08"),
    (b"85", b"02356"),
    (b"87", b"08"),
    (b"88", b"01236"),
    (b"96", b"012345678"),
    (b"97", b"012345679"),
    (b"99", b"234568"),
];

/// Masks a telephone number.
///
/// ```
/// use thalweg_operators::mask::text::{Parsed, mask_phone};
///
/// let mut out = String::new();
/// assert_eq!(mask_phone("555-123-7890 ext. 45", &mut out), Parsed::Yes);
/// assert_eq!(out, "(555) ***-7890");
/// ```
pub fn mask_phone(input: &str, out: &mut String) -> Parsed {
    mask_with(input, FULL, out, |text, out| {
        if is_masked(text) {
            out.push_str(text);
            return Some(());
        }
        let text = strip_extension(text);
        let (international, rest) = match text.strip_prefix('(').unwrap_or(text).strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let number = Number::scan(rest.as_bytes())?;
        let digits = number.digits.get(..number.len)?;
        if international {
            abroad(digits, number.breaks, out)
        } else if let Some(digits) = digits.strip_prefix(b"00") {
            abroad(digits, number.breaks >> 2, out)
        } else {
            at_home(digits, number.breaks, out)
        }
    })
}

/// The digits of a number, and the places where separators stood.
struct Number {
    /// E.164 allows fifteen digits; two more for the `00` prefix.
    digits: [u8; 17],
    len: usize,
    /// Bit `i` is set when a separator stood before digit `i`.
    breaks: u32,
}

impl Number {
    fn scan(bytes: &[u8]) -> Option<Self> {
        let mut number = Self { digits: [0; 17], len: 0, breaks: 0 };
        for &byte in bytes {
            match byte {
                b'0'..=b'9' => {
                    *number.digits.get_mut(number.len)? = byte;
                    number.len += 1;
                }
                b' ' | b'-' | b'.' | b'(' | b')' => number.breaks |= 1 << number.len,
                _ => return None,
            }
        }
        Some(number)
    }
}

/// A number without a country prefix.
fn at_home(digits: &[u8], breaks: u32, out: &mut String) -> Option<()> {
    match digits {
        [b'1', national @ ..] if national.len() == 10 => north_american(national, breaks >> 1, out),
        [_, _, _, last_four @ ..] if last_four.len() == 4 => {
            only_at(breaks, &[0, 3, 7])?;
            show_last_four(last_four, out)
        }
        _ => north_american(digits, breaks, out),
    }
}

/// A number with a country prefix.
fn abroad(digits: &[u8], breaks: u32, out: &mut String) -> Option<()> {
    let (code, national) = split_country_code(digits)?;
    if code == b"1" {
        return north_american(national, breaks >> 1, out);
    }
    if national.len() < 7 || digits.len() > 15 {
        return None;
    }
    out.push('+');
    push_digits(out, code);
    out.push(' ');
    show_last_four(national, out)
}

fn north_american(national: &[u8], breaks: u32, out: &mut String) -> Option<()> {
    let (area, _) = take_digits(national, 3).filter(|_| national.len() == 10)?;
    only_at(breaks, &[0, 3, 6, 10])?;
    out.push('(');
    push_digits(out, area);
    out.push_str(") ");
    show_last_four(national, out)
}

fn only_at(breaks: u32, allowed: &[u32]) -> Option<()> {
    let odd = allowed.iter().fold(breaks, |left, at| left & !(1 << at));
    (odd == 0).then_some(())
}

fn show_last_four(digits: &[u8], out: &mut String) -> Option<()> {
    out.push_str("***-");
    push_digits(out, digits.last_chunk::<4>()?);
    Some(())
}

/// Calling codes are prefix-free, so the first match is the only one.
fn split_country_code(digits: &[u8]) -> Option<(&[u8], &[u8])> {
    if matches!(digits.first()?, b'1' | b'7') {
        return digits.split_at_checked(1);
    }
    let (first_two, rest) = digits.split_first_chunk::<2>()?;
    if TWO_DIGITS.contains(&first_two) {
        return digits.split_at_checked(2);
    }
    let (_, thirds) = THREE_DIGITS.iter().find(|(prefix, _)| *prefix == first_two)?;
    if thirds.contains(rest.first()?) { digits.split_at_checked(3) } else { None }
}

/// Cuts `x123`, `ext. 45`, `#7`, `;ext=8`. Seven digits or more are another number, not one.
fn strip_extension(text: &str) -> &str {
    let head = text.trim_end_matches(|c: char| c.is_ascii_digit());
    if !(1..7).contains(&(text.len() - head.len())) {
        return text;
    }
    let head = head.trim_end_matches([' ', '.', ':', '=']);
    ["extension", "extn", "ext", "x", "#"]
        .iter()
        .find_map(|word| strip_suffix_ignore_case(head, word))
        .map_or(text, |number| number.trim_end_matches([' ', ',', ';']))
}

/// Recognises exactly what this mask writes.
fn is_masked(text: &str) -> bool {
    if text == FULL {
        return true;
    }
    let Some((head, tail)) = text.split_once("***-") else { return false };
    if tail.len() != 4 || !tail.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    match head.as_bytes() {
        [] => true,
        [b'(', area @ .., b')', b' '] => area.len() == 3 && area.iter().all(u8::is_ascii_digit),
        [b'+', code @ .., b' '] => {
            code != b"1" && split_country_code(code).is_some_and(|(_, rest)| rest.is_empty())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
