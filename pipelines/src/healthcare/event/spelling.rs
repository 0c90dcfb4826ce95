//! The ways in which monitors write what the early warning score needs beside the vitals. What is not understood is
//! missing from a patient's score, so that the plain ways are all taken.

use super::scalar::Scalar;

/// The letter of each level of consciousness, and the words for it.
const LEVELS: &[(&str, &[&str])] = &[
    ("A", &["alert"]),
    ("C", &["confusion", "new confusion"]),
    ("V", &["voice"]),
    ("P", &["pain"]),
    ("U", &["unresponsive"]),
];

/// The letter of a level of consciousness that is written as letter or word, in capitals or not.
pub(super) fn consciousness(value: &Scalar<'_>) -> Option<&'static str> {
    let Scalar::Text(text) = value else { return None };
    let written = text.trim();
    let is = |word: &str| word.eq_ignore_ascii_case(written);
    let level = LEVELS.iter().find(|(letter, words)| is(letter) || words.iter().any(|w| is(w)));
    level.map(|(letter, _)| *letter)
}

/// Yes or no, as JSON has it or as text or number.
pub(super) fn flag(value: &Scalar<'_>) -> Option<bool> {
    let written = match value {
        Scalar::Bool(flag) => return Some(*flag),
        Scalar::Number(digits) => *digits,
        Scalar::Text(text) => text.trim(),
        Scalar::Null | Scalar::Other => return None,
    };
    if written == "1" || written.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    (written == "0" || written.eq_ignore_ascii_case("false")).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_of_consciousness_is_a_letter_or_a_word() {
        for (json, letter) in [
            (r#""A""#, Some("A")),
            (r#""a""#, Some("A")),
            (r#""Alert""#, Some("A")),
            (r#""c""#, Some("C")),
            (r#""CONFUSION""#, Some("C")),
            (r#""New confusion""#, Some("C")),
            (r#"" voice ""#, Some("V")),
            (r#""v""#, Some("V")),
            (r#""Pain""#, Some("P")),
            (r#""unresponsive""#, Some("U")),
            (r#""U""#, Some("U")),
            (r#""X""#, None),
            (r#""""#, None),
            (r#""AV""#, None),
            (r#""alerted""#, None),
            ("1", None),
            ("true", None),
            ("null", None),
            ("[]", None),
        ] {
            assert_eq!(consciousness(&Scalar::of(Some(json))), letter, "{json}");
        }
    }

    #[test]
    fn yes_and_no_are_true_and_false_or_one_and_zero() {
        for (json, flagged) in [
            ("true", Some(true)),
            ("false", Some(false)),
            ("1", Some(true)),
            ("0", Some(false)),
            (r#""true""#, Some(true)),
            (r#""False""#, Some(false)),
            (r#""1""#, Some(true)),
            (r#""0""#, Some(false)),
            ("2", None),
            ("1.0", None),
            ("-1", None),
            (r#""""#, None),
            (r#""yes""#, None),
            ("null", None),
            ("{}", None),
        ] {
            assert_eq!(flag(&Scalar::of(Some(json))), flagged, "{json}");
        }
    }
}
