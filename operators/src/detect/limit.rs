//! A limit with hysteresis.

use thalweg_core::time::EventTime;

use crate::alert::{Fact, Severity};

/// On which side of its bound a limit is crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// At the bound and above it.
    Above,
    /// At the bound and below it.
    Below,
}

/// A bound that is crossed, and another one that clears it: a value that wavers about the first does not flicker.
///
/// ```
/// use thalweg_operators::detect::{Limit, Verdict};
/// let oxygen = Limit::at_most(91.0).clears_at(93.0);
/// assert_eq!(oxygen.judge(91.0), Verdict::Crossed);
/// assert_eq!(oxygen.judge(92.0), Verdict::Between);
/// assert_eq!(oxygen.judge(93.0), Verdict::Clear);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    side: Side,
    bound: f64,
    clear: f64,
}

/// What a value says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// At the bound or beyond it.
    Crossed,
    /// Between the two bounds: what was the case is still the case.
    Between,
    /// At the clearing bound or on its good side.
    Clear,
}

impl Verdict {
    /// What an alert learns of a value that was read at `at`; `severity` is how bad it is to cross the limit.
    #[inline]
    pub fn fact(self, at: EventTime, severity: Severity) -> Fact {
        match self {
            Self::Crossed => Fact::Crossed { at, severity },
            Self::Between => Fact::Between { at },
            Self::Clear => Fact::Cleared { at },
        }
    }
}

impl Limit {
    /// Crossed by values of `bound` and more; cleared by all others.
    pub fn at_least(bound: f64) -> Self {
        Self { side: Side::Above, bound, clear: bound }
    }

    /// Crossed by values of `bound` and less; cleared by all others.
    pub fn at_most(bound: f64) -> Self {
        Self { side: Side::Below, bound, clear: bound }
    }

    /// Cleared only by values of `clear` and beyond it, on the good side.
    #[must_use]
    pub fn clears_at(mut self, clear: f64) -> Self {
        self.clear = clear;
        self
    }

    /// The limit in another unit: both bounds as `scale` has them, which must never decrease.
    ///
    /// ```
    /// use thalweg_operators::detect::Limit;
    /// let whole = Limit::at_most(91.4).clears_at(92.6).map(f64::round);
    /// assert_eq!(whole, Limit::at_most(91.0).clears_at(93.0));
    /// ```
    #[must_use]
    pub fn map(self, scale: impl Fn(f64) -> f64) -> Self {
        Self { side: self.side, bound: scale(self.bound), clear: scale(self.clear) }
    }

    /// Whether both bounds are numbers and the clearing one is on the good side.
    pub fn is_possible(&self) -> bool {
        let ordered = match self.side {
            Side::Above => self.clear <= self.bound,
            Side::Below => self.clear >= self.bound,
        };
        ordered && self.bound.is_finite() && self.clear.is_finite()
    }

    /// What `value` says; what is no number says nothing new.
    #[inline]
    pub fn judge(&self, value: f64) -> Verdict {
        let (crossed, clear) = match self.side {
            Side::Above => (value >= self.bound, value <= self.clear),
            Side::Below => (value <= self.bound, value >= self.clear),
        };
        if crossed {
            Verdict::Crossed
        } else if clear {
            Verdict::Clear
        } else {
            Verdict::Between
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = match self.side {
            Side::Above => "at least",
            Side::Below => "at most",
        };
        write!(f, "{side} {}, clear at {}", self.bound, self.clear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_what_they_bound() {
        use Verdict::{Between, Clear, Crossed};
        let high = Limit::at_least(130.0).clears_at(120.0);
        let low = Limit::at_most(40.0).clears_at(45.0);
        let sharp = Limit::at_least(100.0);
        for (limit, value, verdict) in [
            (high, 130.0, Crossed),
            (high, 129.9, Between),
            (high, 120.0, Clear),
            (high, -5.0, Clear),
            (low, 40.0, Crossed),
            (low, 44.9, Between),
            (low, 45.0, Clear),
            (sharp, 100.0, Crossed),
            (sharp, 99.999, Clear),
            (sharp, f64::NAN, Between),
            (high, f64::NAN, Between),
            (high, f64::INFINITY, Crossed),
        ] {
            assert_eq!(limit.judge(value), verdict, "{limit}: {value}");
        }
    }

    #[test]
    fn a_clearing_bound_beyond_the_limit_is_impossible() {
        assert!(Limit::at_least(10.0).clears_at(9.0).is_possible());
        assert!(!Limit::at_least(10.0).clears_at(11.0).is_possible());
        assert!(!Limit::at_most(10.0).clears_at(9.0).is_possible());
        assert!(!Limit::at_most(f64::NAN).is_possible());
    }
}
