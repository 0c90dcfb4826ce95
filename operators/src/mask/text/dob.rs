//! Dates of birth: the year, as `YYYY-**-**`.
//!
//! Only the year is shown, so the order of day and month need not be known; what matters is to be
//! sure which four digits are the year.
//!
//! * Recognised: ISO dates with any of `-/.`, basic ISO and HL7 timestamps, `dd/mm/yyyy` and
//!   `mm/dd/yyyy`, English month names, year and month, a year alone; a time of day is ignored.
//! * A two-digit year is refused: nobody knows its century. Six bare digits are refused likewise
//!   (`201012` is December 2010 or the 20th of October 2012), and ten are an epoch.
//! * The year must lie in 1800..=2199. This is no validity check: an SSN or a counter typed into
//!   the field could pass for a date, and the digits shown would then be no year.
//!
//! The display policy keeps years that imply an age over 89; Safe Harbor does not.

use super::{Parsed, mask_with, take_digits};

const FULL: &str = "****-**-**";
const HIDDEN: &str = "-**-**";
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Masks a date of birth down to its year.
///
/// ```
/// use thalweg_operators::mask::text::{Parsed, mask_dob};
///
/// let mut out = String::new();
/// assert_eq!(mask_dob("March 15, 1985", &mut out), Parsed::Yes);
/// assert_eq!(out, "1985-**-**");
/// ```
pub fn mask_dob(input: &str, out: &mut String) -> Parsed {
    mask_with(input, FULL, out, |text, out| {
        if text == FULL {
            out.push_str(FULL);
            return Some(());
        }
        let year = find_year(text).filter(|year| is_plausible(year))?;
        out.push_str(year);
        out.push_str(HIDDEN);
        Some(())
    })
}

fn is_plausible(year: &str) -> bool {
    let century = year.get(..2);
    is_digits(year, 4..=4) && matches!(century, Some("18" | "19" | "20" | "21"))
}

fn find_year(text: &str) -> Option<&str> {
    if let Some(year) = text.strip_suffix(HIDDEN) {
        return Some(year);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 4 { compact(text, digits) } else { separated(strip_time(text)?) }
}

/// `YYYYMMDD`, with `HHMM[SS]` behind it (HL7) or `T` and a time (basic ISO).
fn compact(text: &str, digits: usize) -> Option<&str> {
    let (date, tail) = text.split_at_checked(digits)?;
    let tail_fits = match digits {
        8 => tail.is_empty() || tail.strip_prefix(['T', 't']).is_some_and(is_clock),
        12 | 14 => is_fraction_and_zone(tail),
        _ => false,
    };
    let two_at = |at: usize| date.get(at..at + 2)?.parse::<u8>().ok();
    // Bare digits may count anything: they are a date only when month, day and time can be.
    let date_fits = (1..=12).contains(&two_at(4)?) && (1..=31).contains(&two_at(6)?);
    let time_fits = (8..digits)
        .step_by(2)
        .zip([24, 60, 60])
        .all(|(at, end)| two_at(at).is_some_and(|part| part < end));
    if tail_fits && date_fits && time_fits { date.get(..4) } else { None }
}

/// Cuts the time of day, found by its colon, or gives up when it is none.
fn strip_time(text: &str) -> Option<&str> {
    let Some((before_colon, _)) = text.split_once(':') else { return Some(text) };
    let (date, clock) = text.split_at_checked(before_colon.rfind(['T', 't', ' '])?)?;
    is_clock(clock.get(1..)?).then(|| date.trim_end_matches([' ', ',']))
}

fn is_clock(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
    (2..=8).contains(&(text.len() - rest.len())) && is_fraction_and_zone(rest)
}

fn is_fraction_and_zone(text: &str) -> bool {
    let rest = match text.strip_prefix(['.', ',']) {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => text,
    };
    let zone = rest.trim_start();
    ["", "z", "utc", "gmt", "am", "pm"].iter().any(|word| zone.eq_ignore_ascii_case(word))
        || zone.strip_prefix(['+', '-']).is_some_and(|offset| {
            offset.len() <= 5 && offset.bytes().all(|b| b.is_ascii_digit() || b == b':')
        })
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Year(&'a str),
    /// A day, or a month written as a number.
    Number,
    Month,
}

/// Parts with separators between them, in any order that leaves the year at one end.
fn separated(date: &str) -> Option<&str> {
    use Part::{Month, Number, Year};
    // A sign or a dangling separator means that this is a part of something else.
    if !date.starts_with(|c: char| c.is_ascii_alphanumeric())
        || !date.ends_with(|c: char| c.is_ascii_alphanumeric())
    {
        return None;
    }
    let mut parts = [Number; 3];
    let mut count = 0;
    for text in date.split([' ', '-', '/', '.', ',']).filter(|text| !text.is_empty()) {
        *parts.get_mut(count)? = part(text)?;
        count += 1;
    }
    match parts.get(..count)? {
        [Year(year)]
        | [Year(year), Number | Month]
        | [Number | Month, Year(year)]
        | [Year(year), Number | Month, Number]
        | [Number, Number | Month, Year(year)]
        | [Month, Number, Year(year)] => Some(year),
        _ => None,
    }
}

fn part(text: &str) -> Option<Part<'_>> {
    if is_digits(text, 4..=4) {
        return Some(Part::Year(text));
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let ordinal = text.get(digits.len()..)?;
    if is_digits(digits, 1..=2) {
        let known = ["", "st", "nd", "rd", "th"];
        return known.iter().any(|k| ordinal.eq_ignore_ascii_case(k)).then_some(Part::Number);
    }
    let is_month = |month: &&str| {
        month.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
    };
    (text.len() >= 3 && MONTHS.iter().any(is_month)).then_some(Part::Month)
}

fn is_digits(text: &str, len: std::ops::RangeInclusive<usize>) -> bool {
    len.contains(&text.len())
        && take_digits(text.as_bytes(), text.len()).is_some_and(|(_, rest)| rest.is_empty())
}

#[cfg(test)]
mod tests;
