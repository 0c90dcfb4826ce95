//! Templates of times as `PostgreSQL` has them: `YYYY-MM-DD HH24:MI`. Letters that it would copy, or that stand for what is
//! not known here, are refused: a template with them says something else than whoever wrote it meant.

use chrono::format::{Parsed, StrftimeItems, parse_and_remainder};
use chrono::{Datelike, NaiveDateTime, Timelike};

use super::super::failure::Told;

/// What a pattern stands for.
#[derive(Debug, Clone, Copy)]
enum Means {
    /// A number, by its name for `strftime`.
    Number(&'static str),
    /// A name, by its name for `strftime`; it has so many letters at least.
    Name(&'static str, usize),
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
    ("YYYY", Means::Number("%Y")),
    ("YYY", Means::Computed(3, |time| i64::from(time.year().rem_euclid(1_000)))),
    ("YY", Means::Number("%y")),
    ("Y", Means::Computed(1, |time| i64::from(time.year().rem_euclid(10)))),
    ("IYYY", Means::Number("%G")),
    ("IYY", Means::Nothing),
    ("IY", Means::Number("%g")),
    ("IW", Means::Number("%V")),
    ("IDDD", Means::Nothing),
    ("ID", Means::Number("%u")),
    ("I", Means::Nothing),
    ("Q", Means::Computed(1, |time| i64::from(time.month0() / 3 + 1))),
    ("MONTH", Means::Name("%B", 9)),
    ("MON", Means::Name("%b", 3)),
    ("MM", Means::Number("%m")),
    ("MI", Means::Number("%M")),
    ("MS", Means::Number("%3f")),
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
    ("US", Means::Number("%6f")),
    ("FF3", Means::Number("%3f")),
    ("FF6", Means::Number("%6f")),
    ("AM", Means::Name("%p", 2)),
    ("PM", Means::Name("%p", 2)),
    ("TZH", Means::Nothing),
    ("TZM", Means::Nothing),
    ("TZ", Means::Zone),
    ("OF", Means::Offset),
];

/// Those of `strftime` that a text is read by: they tell a day and a time of day.
const READ: [&str; 14] =
    ["%Y", "%y", "%m", "%B", "%b", "%d", "%j", "%H", "%I", "%p", "%M", "%S", "%3f", "%6f"];

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
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            if let Some(inside) = rest.strip_prefix('"') {
                let (copied, after) = inside.split_once('"').ok_or_else(unknown)?;
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
        let mut names = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(copied) => names.push_str(&copied.replace('%', "%%")),
                Piece::Field(Field {
                    means: Means::Number(name) | Means::Name(name, _), ..
                }) if READ.contains(name) => {
                    names.push_str(name);
                }
                Piece::Field(_) => {
                    let told = "texts are read by year, month, day, hours, minutes, seconds, MS, US \
                                and AM: the template has another pattern";
                    return Err(Told::new("0A000", told));
                }
            }
        }
        Ok(Reader(names))
    }
}

/// Reads texts that are as a template says.
#[derive(Debug)]
pub(super) struct Reader(String);

impl Reader {
    /// The time that a text tells, whatever comes behind it. What the template leaves out is the first that there is.
    pub(super) fn read(&self, text: &str) -> Option<NaiveDateTime> {
        let mut parsed = Parsed::new();
        parse_and_remainder(&mut parsed, text.trim_start(), StrftimeItems::new(&self.0)).ok()?;
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
        if parsed.second().is_none() {
            parsed.set_second(0).ok()?;
        }
        Some(parsed.to_naive_date().ok()?.and_time(parsed.to_naive_time().ok()?))
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
            ("FMDD.FMMM.YY FMMS", "8.3.26 70"),
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
        ] {
            let refused = Template::parse(template).err().map(|told| told.code);
            assert_eq!(refused, Some("0A000"), "{template}");
        }
    }

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
        ] {
            assert_eq!(read(template, text).as_deref(), Some(expected), "{template}");
        }
        for text in ["", "soon", "2026-13-01", "2026-02-30", "08.03.2026"] {
            assert_eq!(read("YYYY-MM-DD", text), None, "{text}");
        }
        for template in ["IYYY-IW", "YYYY Q", "YYYY-MM-DD TZ", "YYYY-MM-DD Day"] {
            let refused = Template::parse(template).unwrap().reader().err();
            assert_eq!(refused.map(|told| told.code), Some("0A000"), "{template}");
        }
    }
}
