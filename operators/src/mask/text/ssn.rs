//! US social security numbers: `***-**-` and the last four digits.
//!
//! The grammar is strict, `ddd[- ]?dd[- ]?dddd` and nothing around it: with eight digits, or with
//! words before them, nobody knows which digits are the last four of the number. Those become
//! `***-**-****`; free text belongs to the text redactor. Numbers that cannot have been issued
//! (area 000, group 00, serial 0000) are masked like all others and flagged by the validator.

use super::{Parsed, mask_with, push_digits, take_digits};

const FULL: &str = "***-**-****";
const HIDDEN: &str = "***-**-";

/// Masks a social security number down to its serial.
///
/// ```
/// use thalweg_operators::mask::text::{Parsed, mask_ssn};
///
/// let mut out = String::new();
/// assert_eq!(mask_ssn("123-45-6789", &mut out), Parsed::Yes);
/// assert_eq!(out, "***-**-6789");
/// ```
pub fn mask_ssn(input: &str, out: &mut String) -> Parsed {
    mask_with(input, FULL, out, |text, out| {
        if text == FULL {
            out.push_str(FULL);
            return Some(());
        }
        let last_four = serial(text)?;
        out.push_str(HIDDEN);
        push_digits(out, last_four);
        Some(())
    })
}

fn serial(text: &str) -> Option<&[u8]> {
    let rest = if let Some(rest) = text.strip_prefix(HIDDEN) {
        rest.as_bytes()
    } else {
        let (_area, rest) = take_digits(text.as_bytes(), 3)?;
        let (_group, rest) = take_digits(skip_separator(rest), 2)?;
        skip_separator(rest)
    };
    let (last_four, rest) = take_digits(rest, 4)?;
    rest.is_empty().then_some(last_four)
}

fn skip_separator(bytes: &[u8]) -> &[u8] {
    match bytes {
        [b'-' | b' ', rest @ ..] => rest,
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn only_the_last_four_digits_are_shown() {
        check(
            mask_ssn,
            Parsed::Yes,
            &[
                ("123-45-6789", "***-**-6789"),
                ("123 45 6789", "***-**-6789"),
                ("123456789", "***-**-6789"),
                (" 123-45 6789\n", "***-**-6789"),
                ("１２３-４５-６７８９", "***-**-6789"),
                ("123\u{2011}45\u{2013}6789", "***-**-6789"),
                ("123\u{a0}45\u{a0}6789", "***-**-6789"),
                ("\u{feff}123-45-6789", "***-**-6789"),
                ("", ""),
                ("  ", ""),
            ],
        );
    }

    #[test]
    fn numbers_never_issued_are_masked_like_all_others() {
        check(
            mask_ssn,
            Parsed::Yes,
            &[
                ("000-12-3456", "***-**-3456"),
                ("123-00-6789", "***-**-6789"),
                ("123-45-0000", "***-**-0000"),
            ],
        );
    }

    #[test]
    fn masked_numbers_pass_through() {
        check(
            mask_ssn,
            Parsed::Yes,
            &[("***-**-6789", "***-**-6789"), ("***-**-****", "***-**-****")],
        );
    }

    #[test]
    fn anything_else_is_fully_masked() {
        let inputs = [
            "12345678",
            "1234567890",
            "SSN: 123-45-6789",
            "123-45-6789 x",
            "123--45-6789",
            "123-456-789",
            "6789",
            "XXX-XX-6789",
            "***-**-678",
            "***-**-67890",
            "123.45.6789",
            "١٢٣-٤٥-٦٧٨٩",
            "123-45-678é",
            "é",
        ];
        for input in inputs {
            check(mask_ssn, Parsed::No, &[(input, "***-**-****")]);
        }
    }
}
