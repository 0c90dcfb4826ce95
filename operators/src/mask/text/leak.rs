//! Looks for what a mask should have removed: after the fact, in columns that ought to hold nothing of the kind.
//!
//! Written for every event and for scans of whole tables: it never quotes, allocates nothing for ASCII, and leaves early.
//! It knows *shapes*, so its answer is a suspicion: `123-45-6789` is a social security number until a person has looked. What
//! has no shape, a name say, it cannot find; the columns that hold masked identities are judged by their own mask
//! instead ([`super::mask_name`] and its like leave masked text as it is).

/// The kinds of identifiers that have a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leak {
    /// `123-45-6789`, `123 45 6789` or `123-45 6789`, alone or in a text. Nine bare digits may count anything.
    Ssn,
    /// `(555) 123-7890`, `555-123-7890`, `555.123.7890`, `555 123-7890`, `555 - 123 - 7890`, or `+` and 8 to
    /// 15 digits. No part of an object identifier (`2.16.840.1.113883.3.239.123.4567`).
    Phone,
    /// `someone@example.org`.
    Email,
    /// `1985-03-15`, `03/15/1985` or `15.03.1985`, of the years 1900 to 2099.
    Date,
}

impl Leak {
    /// A word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ssn => "ssn",
            Self::Phone => "phone",
            Self::Email => "email",
            Self::Date => "date",
        }
    }
}

/// The first identifier that `text` seems to hold.
///
/// ```
/// use thalweg_operators::mask::text::{Leak, find_leak};
///
/// assert_eq!(find_leak("call 555-123-7890 soon"), Some(Leak::Phone));
/// assert_eq!(find_leak("***-**-6789 (555) ***-7890 1985-**-**"), None);
/// ```
pub fn find_leak(text: &str) -> Option<Leak> {
    find_in(text, None)
}

/// The first identifier that `text` seems to hold and that is not of the kind `allowed`.
///
/// ```
/// use thalweg_operators::mask::text::{Leak, find_leak_except};
///
/// assert_eq!(find_leak_except("evt-2025-11-24", Leak::Date), None);
/// assert_eq!(find_leak_except("2025-11-24/555-123-7890", Leak::Date), Some(Leak::Phone));
/// ```
pub fn find_leak_except(text: &str, allowed: Leak) -> Option<Leak> {
    find_in(text, Some(allowed))
}

fn find_in(text: &str, allowed: Option<Leak>) -> Option<Leak> {
    if text.is_ascii() {
        return find(text.as_bytes(), allowed);
    }
    // Full-width digits, no-break spaces and the dashes of word processors are read as people read them. A character may
    // become several digits.
    let digits = text.chars().filter(|c| c.is_numeric()).count();
    if digits < LEAST_DIGITS / 3 && !text.contains(['@', '\u{FE6B}', '\u{FF20}']) {
        return None;
    }
    find(super::normalise(text).as_bytes(), allowed)
}

/// Of every shape with digits, the fewest.
const LEAST_DIGITS: usize = 8;
/// `a@b.io`
const LEAST_BYTES: usize = 6;

/// Whether it is worth a closer look, which next to no text of an event is.
fn is_suspicious(bytes: &[u8]) -> bool {
    bytes.len() >= LEAST_BYTES
        && (bytes.contains(&b'@')
            || bytes.len() >= LEAST_DIGITS
                && bytes.iter().filter(|b| b.is_ascii_digit()).count() >= LEAST_DIGITS)
}

fn find(bytes: &[u8], allowed: Option<Leak>) -> Option<Leak> {
    if !is_suspicious(bytes) {
        return None;
    }
    let mut before = b' ';
    for (at, &byte) in bytes.iter().enumerate() {
        let rest = bytes.get(at..).unwrap_or_default();
        let begins = !before.is_ascii_alphanumeric() && before != b'*';
        let found = match byte {
            b'0'..=b'9' if begins => number(bytes.get(..at).unwrap_or_default(), rest),
            b'(' => dialled(rest).then_some(Leak::Phone),
            b'+' if begins => abroad(rest).then_some(Leak::Phone),
            b'@' => is_email(bytes.get(..at).unwrap_or_default(), rest).then_some(Leak::Email),
            _ => None,
        };
        if found.is_some() && found != allowed {
            return found;
        }
        before = byte;
    }
    None
}

/// What begins with a digit, behind `before`.
fn number(before: &[u8], text: &[u8]) -> Option<Leak> {
    if mixed_groups(text, &[3, 2, 4], b"- ") {
        Some(Leak::Ssn)
    } else if mixed_groups(text, &[3, 3, 4], b"-. ") && !is_in_object_identifier(before, text) {
        Some(Leak::Phone)
    } else if is_date(text) {
        Some(Leak::Date)
    } else {
        None
    }
}

/// Groups of digits of these lengths, the same separator between them, and nothing alike behind.
fn groups(text: &[u8], shape: &[usize], separators: &[u8]) -> bool {
    separators.iter().any(|separator| mixed_groups(text, shape, std::slice::from_ref(separator)))
}

/// The same, but whatever separators between them.
fn mixed_groups(text: &[u8], shape: &[usize], separators: &[u8]) -> bool {
    let mut rest = text;
    for (index, &length) in shape.iter().enumerate() {
        if index > 0 {
            let Some(behind) = behind_separator(rest, separators) else { return false };
            rest = behind;
        }
        let Some((_, behind)) = super::take_digits(rest, length) else { return false };
        rest = behind;
    }
    ends(rest)
}

/// What is behind one of these separators. A dash may have a space on either side; a dot with one ends a sentence.
fn behind_separator<'a>(text: &'a [u8], separators: &[u8]) -> Option<&'a [u8]> {
    let dashed = text.strip_prefix(b" ").unwrap_or(text).strip_prefix(b"-");
    match dashed {
        Some(behind) if separators.contains(&b'-') => {
            Some(behind.strip_prefix(b" ").unwrap_or(behind))
        }
        _ => {
            let (found, behind) = text.split_first()?;
            separators.contains(found).then_some(behind)
        }
    }
}

/// Whether `555.123.7890` at the beginning of `text` is a part of more than four numbers with dots between them: the country
/// code may be a fourth.
fn is_in_object_identifier(before: &[u8], text: &[u8]) -> bool {
    if text.get(3) != Some(&b'.') || text.get(7) != Some(&b'.') {
        return false;
    }
    // The dots are counted as far as they matter, or a text of nothing but such numbers would be read once for each.
    let is_dotted = |b: &&u8| b.is_ascii_digit() || **b == b'.';
    let dots = |b: &&u8| **b == b'.';
    let in_front = before.iter().rev().take_while(is_dotted).filter(dots).take(4).count();
    if in_front > 3 {
        return true;
    }
    let behind = text.iter().take_while(is_dotted).filter(dots).take(5).count();
    // A full stop at the end is none of its dots. Five are enough even so.
    let stop = behind < 5 && text.iter().take_while(is_dotted).last() == Some(&b'.');
    in_front + behind - usize::from(stop) > 3
}

fn ends(rest: &[u8]) -> bool {
    rest.first().is_none_or(|next| !next.is_ascii_alphanumeric() && *next != b'*')
}

/// `(555) 123-7890`, whose separators are a matter of taste.
fn dialled(text: &[u8]) -> bool {
    let Some((_, rest)) = text.get(1..).and_then(|t| super::take_digits(t, 3)) else {
        return false;
    };
    let Some(rest) = rest.strip_prefix(b")") else { return false };
    let rest = behind_separator(rest, b"-. ").unwrap_or(rest);
    mixed_groups(rest, &[3, 4], b"-. ") || mixed_groups(rest, &[7], b"")
}

fn abroad(text: &[u8]) -> bool {
    let number = text.get(1..).unwrap_or_default();
    let within = number.iter().take_while(|b| b.is_ascii_digit() || b" -.()".contains(b)).count();
    let runs = number.get(..within).unwrap_or_default().split(|b| !b.is_ascii_digit());
    // A dose or another number may follow, so that it may end with any run.
    let mut digits = 0;
    let mut totals = runs.map(|run| {
        digits += run.len();
        digits
    });
    number.first().is_some_and(u8::is_ascii_digit)
        && totals.any(|digits| (8..=15).contains(&digits))
}

fn is_date(text: &[u8]) -> bool {
    let two = |at: usize| -> Option<u32> {
        let digits = text.get(at..at + 2)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    let century = |at: usize| matches!(two(at), Some(19 | 20));
    let part = |at: usize, most: u32| two(at).is_some_and(|n| (1..=most).contains(&n));
    // A time of day may follow.
    let behind = text.get(10).is_none_or(|next| !next.is_ascii_digit());
    behind
        && (groups_loosely(text, &[4, 2, 2]) && century(0) && part(5, 12) && part(8, 31)
            || groups_loosely(text, &[2, 2, 4]) && part(0, 31) && part(3, 31) && century(6))
}

fn groups_loosely(text: &[u8], shape: &[usize]) -> bool {
    text.get(..10).is_some_and(|date| groups(date, shape, b"-/."))
}

/// Rates (`NS@83.33ml/h`) and addresses of machines (`pump@10.0.0.12`) have dots, too, but no top-level domain.
fn is_email(before: &[u8], at: &[u8]) -> bool {
    let has_local = before.last().is_some_and(|b| b.is_ascii_alphanumeric() || b"._+-".contains(b));
    let domain = at.get(1..).unwrap_or_default();
    let length = domain.iter().take_while(|b| b.is_ascii_alphanumeric() || b".-".contains(b));
    let domain = domain.get(..length.count()).unwrap_or_default();
    let mut labels = domain.split(|b| *b == b'.');
    let has_host = labels.next().is_some_and(|host| !host.is_empty());
    has_local && has_host && labels.any(begins_like_top_level)
}

/// Two letters at least, up to a dash: the text may go on behind the address.
fn begins_like_top_level(label: &[u8]) -> bool {
    let name = label.split(|b| *b == b'-').next().unwrap_or_default();
    name.len() >= 2 && name.iter().all(u8::is_ascii_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_found_alone_and_within_a_text() {
        for (text, leak) in [
            ("123-45-6789", Leak::Ssn),
            ("ssn:123 45 6789.", Leak::Ssn),
            ("123-45 6789", Leak::Ssn),
            ("123 45-6789", Leak::Ssn),
            ("123 - 45 - 6789", Leak::Ssn),
            ("555-123-7890", Leak::Phone),
            ("(555) 123-7890", Leak::Phone),
            ("(555)1237890", Leak::Phone),
            ("(555)-123-7890", Leak::Phone),
            ("(555).123.7890", Leak::Phone),
            ("555 123-7890", Leak::Phone),
            ("555 - 123 - 7890", Leak::Phone),
            ("555 -123- 7890", Leak::Phone),
            ("(555) 123 - 7890", Leak::Phone),
            ("(555) - 123-7890", Leak::Phone),
            ("555.123-7890", Leak::Phone),
            ("1.555.123.7890", Leak::Phone),
            ("bed 1.2.3.4 555.123.7890.", Leak::Phone),
            ("1.2.3.4.555-123-7890", Leak::Phone),
            ("tel 555.123.7890", Leak::Phone),
            ("+44 20 7946 0958", Leak::Phone),
            ("Heparin, tel +44 20 7946 0958 5000 U", Leak::Phone),
            ("+49 30 12345678 0800-1700", Leak::Phone),
            ("jane.doe@example.org", Leak::Email),
            ("<j@a.io>", Leak::Email),
            ("ask j_d+x@mail.163.com.", Leak::Email),
            ("j@163.com", Leak::Email),
            ("j@a.org-", Leak::Email),
            ("j@a.org-5", Leak::Email),
            ("j@xn--e1afmkfd.xn--p1ai", Leak::Email),
            ("1985-03-15", Leak::Date),
            ("born 03/15/1985", Leak::Date),
            ("15.03.1985", Leak::Date),
            ("1985-03-15T08:00:00Z", Leak::Date),
        ] {
            assert_eq!(find_leak(text), Some(leak), "{text}");
        }
    }

    #[test]
    fn an_identifier_is_found_however_its_characters_are_encoded() {
        for (text, leak) in [
            ("555\u{2011}123\u{2011}7890", Leak::Phone),
            ("\u{FF15}\u{FF15}\u{FF15}-123-7890", Leak::Phone),
            ("ssn 123\u{A0}45\u{A0}6789", Leak::Ssn),
            ("555-\u{200B}123-7890", Leak::Phone),
            ("Zo\u{EB}: 123-45-6789", Leak::Ssn),
            ("jane\u{FF20}example.org", Leak::Email),
        ] {
            assert_eq!(find_leak(text), Some(leak), "{text}");
        }
    }

    #[test]
    fn behind_what_is_allowed_the_search_goes_on() {
        for (text, leak) in [
            ("2025-11-24", None),
            ("2025-11-24T21:00:00Z", None),
            ("2025-11-24 (555) 123-7890", Some(Leak::Phone)),
            ("2025-11-24,jane@example.org", Some(Leak::Email)),
        ] {
            assert_eq!(find_leak_except(text, Leak::Date), leak, "{text}");
        }
    }

    #[test]
    fn the_shortest_of_each_shape_are_looked_at() {
        for text in ["a@b.io", "+12345678", "(555)123-7890", "123-45-6789", "1985-03-15"] {
            assert!(find_leak(text).is_some(), "{text}");
        }
    }

    #[test]
    fn masked_text_and_what_a_monitor_says_is_no_leak() {
        for text in [
            "",
            "J*** D***",
            "***-**-6789",
            "(555) ***-7890",
            "+44 ***-0958",
            "+1234567890123456",
            "+1 1234567890123456",
            "1985-**-**",
            "Boston, MA",
            "127/80",
            "123456789",
            "evt-1234567890123",
            "2025-13-45",
            "1234-12-12",
            "ICU-4B",
            "Heparin 5000 U",
            "HR 120. 100. 2000 ml",
            "555 - - 123 - 7890",
            "2025 - 11 - 24",
            "a@b",
            "@home.",
            "12@.com",
            "98.6",
            "1.2.3.4",
            "123-45-67890",
            "9123-45-6789",
            "é",
            "NS@83.33ml/h",
            "D5W@125.5ml/hr",
            "Heparin 25000U@12.50ml/h",
            "pump@10.0.0.12",
            "pump@10.0.0.12.",
            "1.2.840.113619.2.55.3.604.119.123.456.7890",
            "2.16.840.1.113883.3.239.123.4567",
        ] {
            assert_eq!(find_leak(text), None, "{text}");
        }
    }

    /// Were each of its numbers to look at all the others, this would be 10^11 bytes and take minutes.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a generous bound; nothing is measured")]
    fn a_text_as_long_as_a_message_may_be_is_read_in_one_go() {
        let begun = std::time::Instant::now();
        for piece in ["111.222.3333.", "(111) 222-333 ", "+1 2 3 ", "a@b.1.", "1985-13-15."] {
            let text = piece.repeat((1 << 20) / piece.len());
            assert_eq!(find_leak(&text), None, "{piece}");
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    /// `docs/guide/privacy.md` names them: too much that is none looks like it.
    #[test]
    fn shapes_that_are_not_looked_for() {
        for text in
            ["3/15/1985", "123.45.6789", "555-123-7890x4", "pt123-45-6789", "MON123-45-6789"]
        {
            assert_eq!(find_leak(text), None, "{text}");
        }
    }
}
