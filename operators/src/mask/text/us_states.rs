//! States, territories and military regions of the US Postal Service (Publication 28, appendix B).
//!
//! Data, not code: which two letters are a state decides where an address ends and its city
//! begins. The freely associated states are listed since they share the ZIP system.

use super::{split_last_word, strip_last_words};

/// Code and name. A name that ends with another one (`West Virginia`) wins by its length.
const STATES: [(&str, &str); 63] = [
    ("AL", "Alabama"),
    ("AK", "Alaska"),
    ("AZ", "Arizona"),
    ("AR", "Arkansas"),
    ("CA", "California"),
    ("CO", "Colorado"),
    ("CT", "Connecticut"),
    ("DE", "Delaware"),
    ("DC", "District of Columbia"),
    ("FL", "Florida"),
    ("GA", "Georgia"),
    ("HI", "Hawaii"),
    ("ID", "Idaho"),
    ("IL", "Illinois"),
    ("IN", "Indiana"),
    ("IA", "Iowa"),
    ("KS", "Kansas"),
    ("KY", "Kentucky"),
    ("LA", "Louisiana"),
    ("ME", "Maine"),
    ("MD", "Maryland"),
    ("MA", "Massachusetts"),
    ("MI", "Michigan"),
    ("MN", "Minnesota"),
    ("MS", "Mississippi"),
    ("MO", "Missouri"),
    ("MT", "Montana"),
    ("NE", "Nebraska"),
    ("NV", "Nevada"),
    ("NH", "New Hampshire"),
    ("NJ", "New Jersey"),
    ("NM", "New Mexico"),
    ("NY", "New York"),
    ("NC", "North Carolina"),
    ("ND", "North Dakota"),
    ("OH", "Ohio"),
    ("OK", "Oklahoma"),
    ("OR", "Oregon"),
    ("PA", "Pennsylvania"),
    ("RI", "Rhode Island"),
    ("SC", "South Carolina"),
    ("SD", "South Dakota"),
    ("TN", "Tennessee"),
    ("TX", "Texas"),
    ("UT", "Utah"),
    ("VT", "Vermont"),
    ("VA", "Virginia"),
    ("WA", "Washington"),
    ("WV", "West Virginia"),
    ("WI", "Wisconsin"),
    ("WY", "Wyoming"),
    ("AS", "American Samoa"),
    ("GU", "Guam"),
    ("MP", "Northern Mariana Islands"),
    ("PR", "Puerto Rico"),
    ("VI", "Virgin Islands"),
    ("VI", "U.S. Virgin Islands"),
    ("FM", "Federated States of Micronesia"),
    ("MH", "Marshall Islands"),
    ("PW", "Palau"),
    ("AA", "Armed Forces Americas"),
    ("AE", "Armed Forces Europe"),
    ("AP", "Armed Forces Pacific"),
];

/// Splits a state off the end of `text`: what stands before it, and its code.
///
/// Many codes are words too (`in`, `or`, `de`, `la`). In the midst of a text only capitals are a
/// code; `any_case` says that a ZIP follows, which settles it, as does a text of nothing else.
pub(super) fn split_trailing_state(text: &str, any_case: bool) -> Option<(&str, &'static str)> {
    let (before, word) = split_last_word(text);
    if let Some(code) = code(word, any_case || before.is_empty()) {
        return Some((before, code));
    }
    let named = STATES
        .iter()
        .filter_map(|(code, name)| strip_last_words(text, name).map(|before| (before, *code)));
    named.min_by_key(|(before, _)| before.len())
}

/// `MA`, `M.A.` and, where allowed, `ma`.
fn code(word: &str, any_case: bool) -> Option<&'static str> {
    let mut letters = word.bytes().filter(|b| *b != b'.');
    let (first, second) = (letters.next()?, letters.next()?);
    if letters.next().is_some() {
        return None;
    }
    let same = |letter: u8, wanted: u8| {
        letter == wanted || (any_case && letter.to_ascii_uppercase() == wanted)
    };
    STATES
        .iter()
        .map(|(code, _)| *code)
        .find(|code| matches!(code.as_bytes(), [a, b] if same(first, *a) && same(second, *b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_found_at_the_end_only() {
        let cases = [
            ("Boston MA", false, Some(("Boston", "MA"))),
            ("Boston ma", false, None),
            ("Boston ma", true, Some(("Boston", "MA"))),
            ("ma", false, Some(("", "MA"))),
            ("Washington D.C.", false, Some(("Washington", "DC"))),
            ("Wheeling west virginia", false, Some(("Wheeling", "WV"))),
            ("District of Columbia", false, Some(("", "DC"))),
            ("St Thomas U.S. Virgin Islands", false, Some(("St Thomas", "VI"))),
            ("NotVirginia", false, None),
            ("MA Boston", false, None),
            ("", false, None),
            (".", true, None),
            ("é", true, None),
        ];
        for (text, any_case, expected) in cases {
            assert_eq!(split_trailing_state(text, any_case), expected, "{text:?}");
        }
    }
}
