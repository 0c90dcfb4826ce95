//! What a policy does with each sensitivity, as data.

use std::fmt;

use thalweg_core::Sensitivity;

use super::text::{Parsed, mask_address, mask_dob, mask_name, mask_phone, mask_ssn};

/// Masks one value: appends what may be shown.
pub type TextMask = fn(&str, &mut String) -> Parsed;

/// What happens to the columns of one sensitivity.
#[derive(Clone, Copy)]
pub enum Rule {
    /// Each text is replaced by what the function makes of it, and the mark goes.
    Text(TextMask),
    /// Values and mark stay: whether they may be stored is up to the sink's clearance.
    Keep,
    /// Nothing in this policy makes such a column showable: it has to be dropped.
    Refuse,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::Keep => "Keep",
            Self::Refuse => "Refuse",
        })
    }
}

/// A named set of rules; what it does not list is refused.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The name for people.
    pub name: &'static str,
    /// A rule per sensitivity.
    pub rules: &'static [(Sensitivity, Rule)],
}

impl Policy {
    /// What a workforce dashboard may show under the "minimum necessary" rule. The result is still PHI: initials, last
    /// digits, birth years and cities are not de-identified data under HIPAA Safe Harbor (45 CFR 164.514).
    pub const DISPLAY: Self = Self {
        name: "display",
        rules: &[
            (Sensitivity::PhiName, Rule::Text(mask_name)),
            (Sensitivity::PhiSsn, Rule::Text(mask_ssn)),
            (Sensitivity::PhiPhone, Rule::Text(mask_phone)),
            (Sensitivity::PhiDob, Rule::Text(mask_dob)),
            (Sensitivity::PhiAddress, Rule::Text(mask_address)),
            (Sensitivity::PhiId, Rule::Keep),
            (Sensitivity::PhiDate, Rule::Keep),
            (Sensitivity::PhiRaw, Rule::Refuse),
        ],
    };

    /// The rule for a sensitivity.
    pub fn rule(&self, sensitivity: Sensitivity) -> Rule {
        let listed = self.rules.iter().find(|(s, _)| *s == sensitivity);
        listed.map_or(Rule::Refuse, |(_, rule)| *rule)
    }
}
