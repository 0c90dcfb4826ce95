//! Blood pressure: from `127/80` to two numbers and a category.

use std::fmt;

/// A reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BloodPressure {
    /// When the heart beats, mmHg.
    pub systolic: i32,
    /// Between two beats, mmHg.
    pub diastolic: i32,
}

impl BloodPressure {
    /// Reads two numbers of up to three digits with a slash between them; white space around each is ignored.
    ///
    /// ```
    /// use thalweg_pipelines::healthcare::blood_pressure::{BloodPressure, Category};
    /// let reading = BloodPressure::parse("127/80");
    /// assert_eq!(reading.map(BloodPressure::category), Some(Category::Stage1));
    /// assert_eq!(BloodPressure::parse("120/"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let (systolic, diastolic) = text.split_once('/')?;
        Some(Self { systolic: number(systolic)?, diastolic: number(diastolic)? })
    }

    /// The higher of the categories that the two numbers fall into.
    pub fn category(self) -> Category {
        let of_systolic = match self.systolic {
            181.. => Category::Severe,
            140.. => Category::Stage2,
            130.. => Category::Stage1,
            120.. => Category::Elevated,
            _ => Category::Normal,
        };
        let of_diastolic = match self.diastolic {
            121.. => Category::Severe,
            90.. => Category::Stage2,
            80.. => Category::Stage1,
            _ => Category::Normal,
        };
        of_systolic.max(of_diastolic)
    }
}

/// Digits are ASCII ones: those of other scripts are no number that another system would understand.
fn number(text: &str) -> Option<i32> {
    let text = text.trim();
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Categories of the 2017 guideline of the American College of Cardiology and the American Heart Association, which
/// the guideline of 2025 kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Below 120 and below 80.
    Normal,
    /// 120 to 129 and below 80.
    Elevated,
    /// 130 to 139 or 80 to 89.
    Stage1,
    /// At least 140 or at least 90.
    Stage2,
    /// Above 180 or above 120.
    Severe,
}

impl Category {
    /// The text in column `bp_category`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Elevated => "elevated",
            Self::Stage1 => "stage_1",
            Self::Stage2 => "stage_2",
            Self::Severe => "severe",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guidelines_vectors_fall_into_their_categories() {
        for (text, category) in [
            ("119/79", "normal"),
            ("85/50", "normal"),
            ("120/79", "elevated"),
            ("129/79", "elevated"),
            ("119/80", "stage_1"),
            ("130/79", "stage_1"),
            ("127/80", "stage_1"),
            ("139/89", "stage_1"),
            ("140/89", "stage_2"),
            ("139/90", "stage_2"),
            ("180/120", "stage_2"),
            ("181/90", "severe"),
            ("150/121", "severe"),
        ] {
            let found = BloodPressure::parse(text).map(|bp| bp.category().as_str());
            assert_eq!(found, Some(category), "{text}");
        }
    }

    #[test]
    fn white_space_is_ignored_and_everything_else_is_not() {
        let reading = Some(BloodPressure { systolic: 127, diastolic: 80 });
        for text in ["127/80", " 127 / 80 ", "127/080", "\t127/80\n", "127/\u{a0}80"] {
            assert_eq!(BloodPressure::parse(text), reading, "{text:?}");
        }
        // Somebody may be in shock: whether that is possible is not asked here.
        let shock = Some(BloodPressure { systolic: 39, diastolic: 9 });
        assert_eq!(BloodPressure::parse("39/9"), shock);
        for text in [
            "",
            "/",
            "120/",
            "/80",
            "120-80",
            "1200/80",
            "120/80/60",
            "12o/80",
            "+120/80",
            "120/-80",
            "1 20/80",
            "١٢٠/٨٠",
            "120／80",
            "120.5/80",
            "abc",
        ] {
            assert_eq!(BloodPressure::parse(text), None, "{text:?}");
        }
    }
}
