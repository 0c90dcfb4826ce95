//! Templates of times as `PostgreSQL` has them: `YYYY-MM-DD HH24:MI`. Letters that it would copy, or that stand for what is
//! not known here, are refused: a template with them says something else than whoever wrote it meant.

use chrono::{Datelike, NaiveDateTime, Timelike};

use super::super::failure::Told;
use super::readers::{Part, Reader};

/// What a pattern stands for.
#[derive(Debug, Clone, Copy)]
enum Means {
    /// A number, by its name for `strftime`.
    Number(&'static str),
    /// A name, by its name for `strftime`; it has so many letters at least.
    Name(&'static str, usize),
    /// A part of a second in so many digits, by its name for `strftime`.
    Fraction(&'static str, usize),
    /// So many digits of the year.
    Year(usize),
    /// So many digits of the year that the week belongs to.
    IsoYear(usize),
    /// A number that has so many digits at least.
    Computed(usize, fn(&NaiveDateTime) -> i64),
    /// The name of the zone.
    Zone,
    /// How far it is from UTC.
    Offset,
    /// Nothing that is known here. It would be read as shorter patterns.
    Nothing,
}

/// Where one begins with another one, the longer one comes first.
const PATTERNS: [(&str, Means); 40] = [
    ("Y,YYY", Means::Nothing),
    ("YYYY", Means::Year(4)),
    ("YYY", Means::Year(3)),
    ("YY", Means::Year(2)),
    ("Y", Means::Year(1)),
    ("IYYY", Means::IsoYear(4)),
    ("IYY", Means::Nothing),
    ("IY", Means::IsoYear(2)),
    ("IW", Means::Number("%V")),
    ("IDDD", Means::Nothing),
    ("ID", Means::Number("%u")),
    ("I", Means::Nothing),
    ("Q", Means::Computed(1, |time| i64::from(time.month0() / 3 + 1))),
    ("MONTH", Means::Name("%B", 9)),
    ("MON", Means::Name("%b", 3)),
    ("MM", Means::Number("%m")),
    ("MI", Means::Number("%M")),
    ("MS", Means::Fraction("%3f", 3)),
    ("WW", Means::Computed(2, |time| i64::from(time.ordinal0() / 7 + 1))),
    ("W", Means::Computed(1, |time| i64::from(time.day0() / 7 + 1))),
    ("DDD", Means::Number("%j")),
    ("DD", Means::Number("%d")),
    ("DAY", Means::Name("%A", 9)),
    ("DY", Means::Name("%a", 3)),
    ("D", Means::Computed(1, |time| i64::from(time.weekday().number_from_sunday()))),
    ("HH24", Means::Number("%H")),
    ("HH12", Means::Number("%I")),
    ("HH", Means::Number("%I")),
    ("SSSSS", Means::Computed(1, |time| i64::from(time.num_seconds_from_midnight()))),
    ("SSSS", Means::Computed(1, |time| i64::from(time.num_seconds_from_midnight()))),
    ("SS", Means::Number("%S")),
    ("US", Means::Fraction("%6f", 6)),
    ("FF3", Means::Fraction("%3f", 3)),
    ("FF6", Means::Fraction("%6f", 6)),
    ("AM", Means::Name("%p", 2)),
    ("PM", Means::Name("%p", 2)),
    ("TZH", Means::Nothing),
    ("TZM", Means::Nothing),
    ("TZ", Means::Zone),
    ("OF", Means::Offset),
];

/// Those of `strftime` that a text is read by: they tell a day and a time of day.
const READ: [&str; 10] = ["%m", "%B", "%b", "%d", "%j", "%H", "%I", "%p", "%M", "%S"];

/// Letters of a template. What is made of it can be far longer.
const LONGEST: usize = 1000;

/// A template that has been taken apart.
#[derive(Debug)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    /// What is copied.
    Text(String),
    Field(Field),
}

#[derive(Debug)]
struct Field {
    means: Means,
    /// Without zeros or spaces that only fill it up.
    short: bool,
    letters: Letters,
}

#[derive(Debug, Clone, Copy)]
enum Letters {
    Small,
    Capital,
    /// `Month`.
    Both,
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, Told> {
        if text.len() > LONGEST {
            return Err(Told::new("54000", "a template of times has no more than 1000 letters"));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            if let Some(inside) = rest.strip_prefix('"') {
                // A backslash would be left out, or let a quote be copied.
                let quoted = inside.split_once('"').filter(|(copied, _)| !copied.contains('\\'));
                let (copied, after) = quoted.ok_or_else(unknown)?;
                pieces.push(Piece::Text(copied.to_owned()));
                rest = after;
                continue;
            }
            let (short, field) = match after(rest, "FM") {
                Some((_, field)) => (true, field),
                None => (false, rest),
            };
            let found = PATTERNS.iter().find_map(|(name, means)| {
                after(field, name).map(|(written, rest)| (*means, Letters::of(written), rest))
            });
            match found {
                Some((Means::Nothing, ..)) => return Err(unknown()),
                Some((means, letters, after)) => {
                    pieces.push(Piece::Field(Field { means, short, letters }));
                    rest = after;
                }
                // What a backslash means depends on where it stands.
                None if short || letter.is_ascii_alphabetic() || letter == '\\' => {
                    return Err(unknown());
                }
                None => {
                    pieces.push(Piece::Text(letter.to_string()));
                    rest = rest.strip_prefix(letter).unwrap_or_default();
                }
            }
        }
        Ok(Self(pieces))
    }

    /// A time as the template has it. It is in UTC, if in any zone.
    pub(super) fn write(&self, time: NaiveDateTime, has_zone: bool) -> String {
        let written = self.0.iter().map(|piece| match piece {
            Piece::Text(copied) => copied.clone(),
            Piece::Field(field) => field.write(time, has_zone),
        });
        written.collect()
    }

    /// What texts are read by.
    pub(super) fn reader(&self) -> Result<Reader, Told> {
        let parts = self.0.iter().map(|piece| match piece {
            Piece::Text(copied) => Ok(Part::Text(copied.clone())),
            Piece::Field(Field { means, short, .. }) => match *means {
                Means::Year(4) => Ok(Part::Year { short: *short }),
                Means::Year(2) => Ok(Part::ShortYear { short: *short }),
                Means::Number(name) if READ.contains(&name) => {
                    Ok(Part::Number { name, short: *short })
                }
                Means::Name(name, _) if READ.contains(&name) => Ok(Part::Name(name)),
                Means::Fraction(_, digits) => Ok(Part::Fraction { digits, short: *short }),
                _ => {
                    let told = "texts are read by year, month, day, hours, minutes, seconds, MS, US \
                                and AM: the template has another pattern";
                    Err(Told::new("0A000", told))
                }
            },
        });
        Ok(Reader::new(parts.collect::<Result<_, Told>>()?))
    }
}

impl Field {
    fn write(&self, time: NaiveDateTime, has_zone: bool) -> String {
        let at_least = |width: usize| if self.short { 0 } else { width };
        match self.means {
            Means::Number(name) => {
                let digits = time.format(name).to_string();
                if self.short { without_zeros(&digits).to_owned() } else { digits }
            }
            // They are digits behind a point.
            Means::Fraction(name, _) => time.format(name).to_string(),
            Means::Year(digits) => year(time.year(), digits, at_least(digits)),
            Means::IsoYear(digits) => year(time.iso_week().year(), digits, at_least(digits)),
            Means::Name(name, width) => {
                let name = self.letters.spell(&time.format(name).to_string());
                format!("{name:width$}", width = at_least(width))
            }
            Means::Computed(width, number) => {
                format!("{:0width$}", number(&time), width = at_least(width))
            }
            Means::Zone if has_zone => self.letters.spell("UTC"),
            Means::Offset => "+00".to_owned(),
            Means::Zone | Means::Nothing => String::new(),
        }
    }
}

impl Letters {
    /// As a pattern is written, so is what it stands for.
    fn of(written: &str) -> Self {
        let has_small = written.bytes().any(|letter| letter.is_ascii_lowercase());
        let has_capital = written.bytes().any(|letter| letter.is_ascii_uppercase());
        match (has_small, has_capital) {
            (true, true) => Self::Both,
            (true, false) => Self::Small,
            (false, _) => Self::Capital,
        }
    }

    fn spell(self, name: &str) -> String {
        match self {
            Self::Small => name.to_lowercase(),
            Self::Capital => name.to_uppercase(),
            Self::Both => name.to_owned(),
        }
    }
}

/// What a text begins with, if that is `name` in any letters, and what comes behind it.
fn after<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    text.split_at_checked(name.len()).filter(|(written, _)| written.eq_ignore_ascii_case(name))
}

/// The last digits of a year, all of them of four; before the year 1 is the year 1 again, that before Christ.
fn year(year: i32, digits: usize, width: usize) -> String {
    let year = if year > 0 { i64::from(year) } else { 1 - i64::from(year) };
    let told = match digits {
        1 => year % 10,
        2 => year % 100,
        3 => year % 1000,
        _ => year,
    };
    format!("{told:0width$}")
}

fn without_zeros(digits: &str) -> &str {
    match digits.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    }
}

fn unknown() -> Told {
    let told = "a template has a pattern that is not known here: letters that stand for themselves \
                are in double quotes";
    Told::new("0A000", told)
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    fn time() -> NaiveDateTime {
        let day = NaiveDate::from_ymd_opt(2026, 3, 8).unwrap();
        day.and_hms_micro_opt(15, 4, 9, 70_042).unwrap()
    }

    #[test]
    fn times_are_written_as_postgres_writes_them() {
        for (template, expected) in [
            ("YYYY-MM-DD HH24:MI:SS", "2026-03-08 15:04:09"),
            ("yyyy-mm-dd\"T\"hh24:mi:ss.us\"Z\"", "2026-03-08T15:04:09.070042Z"),
            ("YYYYMMDD", "20260308"),
            ("HH12:MI AM, HH:MI pm, FMHH", "03:04 PM, 03:04 pm, 3"),
            ("FMDD.FMMM.YY FMMS FMUS FMFF3", "8.3.26 070 070042 070"),
            ("Month|MONTH|month|FMMonth", "March    |MARCH    |march    |March"),
            ("Day|FMDAY|Dy DY dy|Mon MON", "Sunday   |SUNDAY|Sun SUN sun|Mar MAR"),
            ("D ID DDD FMDDD", "1 7 067 67"),
            ("IYYY-\"W\"IW WW W Q", "2026-W10 10 2 1"),
            ("YYY Y MS FF3 FF6", "026 6 070 070 070042"),
            ("SSSS SSSSS", "54249 54249"),
            ("TZ tz OF", "UTC utc +00"),
            ("\"DD %\" % 年 DD", "DD % % 年 08"),
            ("999", "999"),
            ("", ""),
        ] {
            let written = Template::parse(template).unwrap().write(time(), true);
            assert_eq!(written, expected, "{template}");
        }
        assert_eq!(Template::parse("DD TZ").unwrap().write(time(), false), "08 ");
    }

    #[test]
    fn years_are_written_as_postgres_writes_them() {
        let template = Template::parse("YYYY FMYYYY YYY YY FMYY Y IYYY IY").unwrap();
        for (year, expected) in [
            (20_260, "20260 20260 260 60 60 0 20260 60"),
            (5, "0005 5 005 05 5 5 0005 05"),
            (0, "0001 1 001 01 1 1 0001 01"),
            (-43, "0044 44 044 44 44 4 0044 44"),
        ] {
            let day = NaiveDate::from_ymd_opt(year, 3, 15).unwrap();
            let written = template.write(day.and_hms_opt(0, 0, 0).unwrap(), false);
            assert_eq!(written, expected, "{year}");
        }
    }

    #[test]
    fn patterns_that_are_not_known_are_refused() {
        for template in [
            "%Y-%m-%d",
            "%H:%M",
            "YYYY-MM-DDTHH24:MI",
            "DDth",
            "Y,YYY",
            "IYY",
            "TZH:TZM",
            "RM",
            "A.D.",
            "FXDD",
            "FM-",
            "\"open",
            "DD\\",
            "DDé h",
            "\"a\\b\"",
            "\"a\\\"",
        ] {
            let refused = Template::parse(template).err().map(|told| told.code);
            assert_eq!(refused, Some("0A000"), "{template}");
        }
        let long = Template::parse(&"D".repeat(1001)).err();
        assert_eq!(long.map(|told| told.code), Some("54000"));
    }
}
