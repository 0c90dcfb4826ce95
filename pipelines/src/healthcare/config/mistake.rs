//! What is wrong in a configuration file, without what stands there: any value may be a secret, and the parser likes to
//! quote them.

/// How serde begins when it is a value that is wrong.
const OF_VALUES: [&str; 4] =
    ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "];

/// The place and the mistake, in one line.
pub(super) fn told(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let place = before.map(|before| format!("line {}: ", before.matches('\n').count() + 1));
    let what = without_values(error.message());
    let what: Vec<&str> = what.split_whitespace().collect();
    format!("{}{}", place.unwrap_or_default(), what.join(" "))
}

/// The kind of value that was found, and what was expected. All other texts are our own, tell names of settings, or are
/// the parser's about what it cannot read: none of these has a value.
fn without_values(message: &str) -> String {
    if !OF_VALUES.iter().any(|beginning| message.starts_with(beginning)) {
        return message.to_owned();
    }
    // Whatever the value says: what was expected stands behind it.
    let (found, expected) = message.rsplit_once(", expected ").unwrap_or((message, "another"));
    let kind = found.split(['`', '"', '\'']).next().unwrap_or_default();
    format!("{}, expected {expected}", kind.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_value_and_what_was_expected_are_told_and_the_value_is_not() {
        for (message, shown) in [
            (
                "invalid type: string \"hunter2\", expected a map",
                "invalid type: string, expected a map",
            ),
            (
                "invalid type: floating point `1.5`, expected u32",
                "invalid type: floating point, expected u32",
            ),
            (
                "invalid value: string \"a, expected b\", expected c",
                "invalid value: string, expected c",
            ),
            (
                "unknown variant `hunter2`, expected `a` or `b`",
                "unknown variant, expected `a` or `b`",
            ),
            (
                "unknown variant `hunter2`, there are no variants",
                "unknown variant, expected another",
            ),
            ("unknown field `sasl`, expected `topic`", "unknown field `sasl`, expected `topic`"),
        ] {
            assert_eq!(without_values(message), shown);
        }
    }
}
