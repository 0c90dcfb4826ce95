//! From bits and the decoder's codes to the reasons of each rejected row.

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, ListArray, StringArray};
use arrow_buffer::BooleanBuffer;
use thalweg_core::{Error, Result};

use super::rules::Violation;

/// What the decoder found wrong, a list of codes per row.
pub(super) struct DecodeErrors<'a> {
    column: Option<(&'a ListArray, &'a StringArray)>,
}

impl<'a> DecodeErrors<'a> {
    /// There is no such column.
    pub(super) fn none() -> Self {
        Self { column: None }
    }

    pub(super) fn new(column: &'a ArrayRef) -> Result<Self> {
        let wrong = || Error::internal("the decoder's codes are no list of text");
        let lists = column.as_list_opt::<i32>().ok_or_else(wrong)?;
        let codes = lists.values().as_string_opt::<i32>().ok_or_else(wrong)?;
        if codes.null_count() > 0 {
            return Err(Error::internal("the decoder gave a null as a code"));
        }
        Ok(Self { column: Some((lists, codes)) })
    }

    /// Rows with at least one code; nothing when there are none.
    fn rows(&self) -> Option<BooleanBuffer> {
        let (lists, _) = self.column?;
        let offsets = lists.value_offsets();
        if offsets.first() == offsets.last() {
            return None;
        }
        let rows = BooleanBuffer::collect_bool(lists.len(), |row| {
            lists.is_valid(row) && lists.value_length(row) > 0
        });
        (rows.count_set_bits() > 0).then_some(rows)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows().is_none()
    }

    fn of(&self, row: usize) -> impl Iterator<Item = &'a str> {
        self.column.into_iter().flat_map(move |(lists, codes)| {
            let range = match lists.value_offsets().get(row..row + 2) {
                Some([start, end]) if lists.is_valid(row) => *start as usize..*end as usize,
                _ => 0..0,
            };
            range.map(|at| codes.value(at))
        })
    }
}

/// The verdict on a batch.
pub(super) struct Judged {
    /// True for rows to reject.
    pub(super) rejected: BooleanArray,
    /// True for the others.
    pub(super) valid: BooleanArray,
    /// The codes of each rejected row, in order.
    pub(super) codes: ListArray,
}

/// Collects the codes of every row that has any.
pub(super) fn judge(
    rows: usize,
    violations: &[Violation],
    decoded: &DecodeErrors<'_>,
    unreadable: &[&str],
) -> Judged {
    let nowhere = BooleanBuffer::new_unset(rows);
    let rejected = violations
        .iter()
        .fold(decoded.rows().unwrap_or(nowhere), |all, violation| &all | &violation.rows);
    let mut lists = ListBuilder::new(StringBuilder::new());
    let mut codes: Vec<&str> = Vec::new();
    for row in rejected.set_indices() {
        codes.clear();
        codes_of(row, violations, decoded, unreadable, &mut codes);
        for code in &codes {
            lists.values().append_value(code);
        }
        lists.append(true);
    }
    let valid = BooleanArray::new(!&rejected, None);
    Judged { rejected: BooleanArray::new(rejected, None), valid, codes: lists.finish() }
}

fn codes_of<'a>(
    row: usize,
    violations: &'a [Violation],
    decoded: &DecodeErrors<'a>,
    unreadable: &[&str],
    codes: &mut Vec<&'a str>,
) {
    for code in decoded.of(row) {
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    if codes.iter().any(|code| unreadable.contains(code)) {
        return;
    }
    let from_decoder = codes.len();
    for violation in violations.iter().filter(|v| v.rows.value(row)) {
        let explained = violation.is_missing
            && codes.iter().take(from_decoder).any(|c| subject(c) == subject(violation.code));
        if !explained && !codes.contains(&violation.code) {
            codes.push(violation.code);
        }
    }
}

/// What a code is about: `heart_rate` of `heart_rate.range`.
fn subject(code: &str) -> &str {
    code.rsplit_once('.').map_or(code, |(subject, _)| subject)
}
