//! What becomes of each rejected row: the policy of the stage that rejected it. Pure.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray};

use super::OnRejected;

/// The policies of both stages, and how their rows are told apart.
#[derive(Debug, Clone)]
pub(super) struct Policies {
    pub(super) undecodable: OnRejected,
    pub(super) invalid: OnRejected,
    /// The codes of rules. Rules judge what was decoded, so any other code is the decoder's.
    pub(super) of_rules: Vec<&'static str>,
}

impl Policies {
    /// The policy for each rejected row, by its codes.
    pub(super) fn of_each(&self, codes: &ListArray) -> Vec<OnRejected> {
        if self.undecodable == self.invalid {
            return vec![self.invalid; codes.len()];
        }
        let of = |codes: Option<ArrayRef>| {
            if codes.is_some_and(|codes| self.is_undecodable(&codes)) {
                self.undecodable
            } else {
                self.invalid
            }
        };
        codes.iter().map(of).collect()
    }

    fn is_undecodable(&self, codes: &ArrayRef) -> bool {
        let mut codes =
            codes.as_string_opt::<i32>().into_iter().flat_map(|codes| codes.iter().flatten());
        codes.any(|code| !self.of_rules.contains(&code))
    }
}
