//! What a table's log tells of the values in a file, for whoever looks for some of them. What it does not tell excludes
//! nothing.

use std::ops::Range;

use super::plan::Told;

/// The least and greatest values of a file's columns.
#[derive(Debug)]
pub struct FileStatistics(Told);

impl FileStatistics {
    pub(super) fn parse(stats: Option<&str>) -> Self {
        Self(Told::parse(stats))
    }

    /// Whether whole numbers of `range` may be in `column`.
    pub fn may_hold_numbers(&self, column: &str, range: &Range<i64>) -> bool {
        let Told { min_values, max_values, .. } = &self.0;
        let least = min_values.get(column).and_then(serde_json::Value::as_i64);
        let greatest = max_values.get(column).and_then(serde_json::Value::as_i64);
        least.is_none_or(|least| least < range.end)
            && greatest.is_none_or(|greatest| greatest >= range.start)
    }

    /// Whether `text` may be in `column`. Long texts are told by their beginnings.
    pub fn may_hold_text(&self, column: &str, text: &str) -> bool {
        let Told { min_values, max_values, .. } = &self.0;
        let least = min_values.get(column).and_then(serde_json::Value::as_str);
        let greatest = max_values.get(column).and_then(serde_json::Value::as_str);
        least.is_none_or(|least| least <= text)
            && greatest.is_none_or(|greatest| text <= greatest || text.starts_with(greatest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> FileStatistics {
        let stats = serde_json::json!({
            "minValues": { "offset": 10, "topic": "events" },
            "maxValues": { "offset": 19, "topic": "events-of-a-ward" },
        });
        FileStatistics::parse(Some(&stats.to_string()))
    }

    #[test]
    fn numbers_beyond_the_least_and_the_greatest_are_not_there() {
        for (range, may) in
            [(0..10, false), (0..11, true), (12..13, true), (19..20, true), (20..30, false)]
        {
            assert_eq!(told().may_hold_numbers("offset", &range), may, "{range:?}");
        }
    }

    #[test]
    fn texts_are_compared_by_as_much_as_is_told() {
        for (text, may) in [
            ("event", false),
            ("events", true),
            ("events-of", true),
            ("events-of-a-ward-next-door", true),
            ("events-of-b", false),
        ] {
            assert_eq!(told().may_hold_text("topic", text), may, "{text}");
        }
    }

    #[test]
    fn what_is_not_told_may_be_there() {
        for told in [None, Some("{}"), Some("no JSON"), Some(r#"{"minValues":{"offset":"x"}}"#)] {
            let told = FileStatistics::parse(told);
            assert!(told.may_hold_numbers("offset", &(0..1)) && told.may_hold_text("topic", "t"));
        }
    }
}
