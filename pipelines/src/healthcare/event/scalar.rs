//! What the JSON text of a value is. The text has been checked to be JSON before.

use std::borrow::Cow;

/// A value of a field, as far as this pipeline knows values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    /// Absent or null.
    Null,
    /// A text.
    Text(Cow<'a, str>),
    /// A number, as written.
    Number(&'a str),
    /// True or false.
    Bool(bool),
    /// An array, an object, or a text with half of a surrogate pair.
    Other,
}

impl<'a> Scalar<'a> {
    /// What `json` is.
    pub(super) fn of(json: Option<&'a str>) -> Self {
        let Some(json) = json else { return Self::Null };
        match json.as_bytes().first() {
            None | Some(b'n') => Self::Null,
            Some(b'"') => text(json).map_or(Self::Other, Self::Text),
            Some(b'-' | b'0'..=b'9') => Self::Number(json),
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(_) => Self::Other,
        }
    }
}

fn text(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.as_bytes().contains(&b'\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_told_by_its_text() {
        let text = |t: &'static str| Scalar::Text(Cow::Borrowed(t));
        for (json, scalar) in [
            (None, Scalar::Null),
            (Some("null"), Scalar::Null),
            (Some("true"), Scalar::Bool(true)),
            (Some("false"), Scalar::Bool(false)),
            (Some("-1.5e3"), Scalar::Number("-1.5e3")),
            (Some("[1]"), Scalar::Other),
            (Some("{}"), Scalar::Other),
            (Some(r#""""#), text("")),
            (Some(r#""é""#), text("é")),
            (Some(r#""a\"\u00e9\ud83d\ude00""#), text("a\"é😀")),
            (Some(r#""\u0000""#), text("\0")),
            (Some(r#""\ud83d""#), Scalar::Other),
            (Some(r#""\ude00\ud83d""#), Scalar::Other),
        ] {
            assert_eq!(Scalar::of(json), scalar, "{json:?}");
        }
    }
}
