//! Texts that are read by a template of times. As in `PostgreSQL` a number ends where its digits do, unless another number
//! follows it at once; then it has as many as its pattern. One of more digits than it can have is refused: what were read of
//! it would be another time.

use chrono::NaiveDateTime;
use chrono::format::{Parsed, StrftimeItems, parse_and_remainder};

/// What stands in a text. What is `short` has `FM` before it, and so it ends with its digits whatever follows.
#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    /// By its name for `strftime`.
    Name(&'static str),
    /// By its name for `strftime`.
    Number {
        name: &'static str,
        short: bool,
    },
    Year {
        short: bool,
    },
    /// Of two digits, or all four of them.
    ShortYear {
        short: bool,
    },
    /// Of a second, and so many digits at most.
    Fraction {
        digits: usize,
        short: bool,
    },
}

/// Reads texts that are as a template says.
#[derive(Debug)]
pub(super) struct Reader(Vec<Part>);

impl Reader {
    pub(super) fn new(parts: Vec<Part>) -> Self {
        Self(parts)
    }

    /// The time that a text tells, whatever comes behind it. What the template leaves out is the first that there is.
    pub(super) fn read(&self, text: &str) -> Option<NaiveDateTime> {
        let mut parsed = Parsed::new();
        let mut rest = text.trim_start();
        for (at, part) in self.0.iter().enumerate() {
            let is_followed = self.0.get(at + 1).is_some_and(Part::is_number);
            rest = part.read(&mut parsed, rest, is_followed)?;
        }
        if parsed.ordinal().is_none() {
            if parsed.month().is_none() {
                parsed.set_month(1).ok()?;
            }
            if parsed.day().is_none() {
                parsed.set_day(1).ok()?;
            }
        }
        if parsed.hour_mod_12().is_none() {
            parsed.set_hour(0).ok()?;
        }
        if parsed.hour_div_12().is_none() {
            parsed.set_ampm(false).ok()?;
        }
        if parsed.minute().is_none() {
            parsed.set_minute(0).ok()?;
        }
        match parsed.second() {
            None => parsed.set_second(0).ok()?,
            // The library has leap seconds.
            Some(60) => return None,
            Some(_) => {}
        }
        Some(parsed.to_naive_date().ok()?.and_time(parsed.to_naive_time().ok()?))
    }
}

impl Part {
    fn is_number(&self) -> bool {
        match self {
            Self::Text(copied) => copied.starts_with(|letter: char| letter.is_ascii_digit()),
            Self::Name(_) => false,
            _ => true,
        }
    }

    /// What is behind it.
    fn read<'a>(&self, parsed: &mut Parsed, text: &'a str, is_followed: bool) -> Option<&'a str> {
        let ends = match self {
            Self::Number { short, .. }
            | Self::Year { short }
            | Self::ShortYear { short }
            | Self::Fraction { short, .. } => *short || !is_followed,
            Self::Text(_) | Self::Name(_) => false,
        };
        let rest = match self {
            Self::Text(copied) => copied.chars().try_fold(text, |rest, letter| {
                if letter.is_whitespace() {
                    Some(rest.trim_start())
                } else {
                    rest.strip_prefix(letter)
                }
            })?,
            Self::Name(name) => by_name(parsed, text, name)?,
            Self::Number { name, .. } => by_name(parsed, unsigned(text)?, name)?,
            Self::Year { .. } => by_name(parsed, unsigned(text)?, "%Y")?,
            Self::ShortYear { .. } => {
                let (digits, rest) = digits(text.trim_start(), if ends { 4 } else { 2 })?;
                parsed.set_year(full_year(digits)?).ok()?;
                rest
            }
            Self::Fraction { digits: most, .. } => {
                let (digits, rest) = digits(text, *most)?;
                if !ends && digits.len() < *most {
                    return None;
                }
                parsed.set_nanosecond(format!("{digits:0<9}").parse().ok()?).ok()?;
                rest
            }
        };
        let goes_on = ends && rest.starts_with(|letter: char| letter.is_ascii_digit());
        (!goes_on).then_some(rest)
    }
}

fn by_name<'a>(parsed: &mut Parsed, text: &'a str, name: &str) -> Option<&'a str> {
    parse_and_remainder(parsed, text, StrftimeItems::new(name)).ok()
}

/// A sign is none of a number: of a year it would mean another one than for `PostgreSQL`.
fn unsigned(text: &str) -> Option<&str> {
    let text = text.trim_start();
    (!text.starts_with(['+', '-'])).then_some(text)
}

/// The digits that a text begins with, if it has any, and what comes behind them.
fn digits(text: &str, most: usize) -> Option<(&str, &str)> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    text.split_at_checked(count).filter(|_| count > 0)
}

/// A year of less than four digits is the one that is nearest to 2020.
fn full_year(digits: &str) -> Option<i64> {
    let year: i64 = digits.parse().ok()?;
    Some(match (digits.len(), year) {
        (4.., _) => year,
        (_, 0..70 | 100..520) => year + 2000,
        (_, 70..100) => year + 1900,
        _ => year + 1000,
    })
}

#[cfg(test)]
mod tests {
    use super::super::templates::Template;

    #[test]
    fn times_are_read_as_postgres_reads_them() {
        let read = |template: &str, text: &str| {
            Template::parse(template).unwrap().reader().unwrap().read(text).map(|t| t.to_string())
        };
        for (template, text, expected) in [
            ("YYYY-MM-DD", "2026-03-08", "2026-03-08 00:00:00"),
            ("YYYY-MM-DD", " 2026-3-8 15:04", "2026-03-08 00:00:00"),
            ("YYYYMMDD HH24MISS", "20260308 150409", "2026-03-08 15:04:09"),
            ("DD Mon YY HH12:MI pm", "08 MAR 26 03:04 PM", "2026-03-08 15:04:00"),
            ("HH:MI DD.MM.YYYY", "03:04 08.03.2026", "2026-03-08 03:04:00"),
            ("FMMonth DD, YYYY", "March 8, 2026", "2026-03-08 00:00:00"),
            ("YYYY-MM-DD\"T\"HH24:MI:SS.MS", "2026-03-08T15:04:09.070", "2026-03-08 15:04:09.070"),
            ("YYYY-DDD HH24", "2026-067 15", "2026-03-08 15:00:00"),
            ("YYYY", "2026", "2026-01-01 00:00:00"),
            ("DD.MM.YY", "08.03.2026", "2026-03-08 00:00:00"),
            ("DD.MM.YY", "8.3.69", "2069-03-08 00:00:00"),
            ("DD.MM.YY", "8.3.70", "1970-03-08 00:00:00"),
            ("DDMMYY", "08032026", "2026-03-08 00:00:00"),
            ("YYMMDD", "260308", "2026-03-08 00:00:00"),
            ("YY-MM", "2026-3", "2026-03-01 00:00:00"),
            ("YY", "123", "2123-01-01 00:00:00"),
            ("YY", "520", "1520-01-01 00:00:00"),
            ("YYYY HH24:MI:SS.MS", "2026 12:00:00.5", "2026-01-01 12:00:00.500"),
            ("YYYY HH24:MI:SS.MS", "2026 12:00:00.05", "2026-01-01 12:00:00.050"),
            ("YYYY HH24:MI:SS.US", "2026 12:00:00.123", "2026-01-01 12:00:00.123"),
            ("YYYYHH24MISSUS", "2026120000000042", "2026-01-01 12:00:00.000042"),
            ("YYYY%MM", "2026%03", "2026-03-01 00:00:00"),
        ] {
            assert_eq!(read(template, text).as_deref(), Some(expected), "{template}");
        }
        for text in ["", "soon", "2026-13-01", "2026-02-30", "08.03.2026"] {
            assert_eq!(read("YYYY-MM-DD", text), None, "{text}");
        }
        for (template, text) in [
            ("YYMMDD", "20260308"),
            ("YYYY", "20260"),
            ("YYYY", "-44"),
            ("YYYYMMDD", "202603081"),
            ("FMDDFMMM YYYY", "0803 2026"),
            ("YYYY HH24:MI:SS", "2026 12:00:60"),
            ("YYYY HH24:MI:SS.MS", "2026 12:00:00.1234"),
            ("YYYY HH24:MI:SS.US", "2026 12:00:00.1234567"),
            ("YYYYMSUS", "20261000042"),
            ("YYYYMSMM", "2026103"),
            ("YY", "x"),
        ] {
            assert_eq!(read(template, text), None, "{template} {text}");
        }
        for template in ["IYYY-IW", "YYYY Q", "YYYY-MM-DD TZ", "YYYY-MM-DD Day"] {
            let refused = Template::parse(template).unwrap().reader().err();
            assert_eq!(refused.map(|told| told.code), Some("0A000"), "{template}");
        }
    }
}
