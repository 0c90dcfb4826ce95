//! What happened in a simulation, by number.

use std::fmt::Debug;

/// Numbers that are added over seeds; [`counters`](crate::counters) makes them.
pub trait Counted: Debug + Default {
    /// All of them.
    fn all(&mut self) -> Vec<&mut u64>;

    /// Adds those of another seed.
    fn add(&mut self, mut other: Self) {
        for (mine, more) in self.all().into_iter().zip(other.all()) {
            *mine += *more;
        }
    }

    /// The one of what happened least.
    fn least(&mut self) -> u64 {
        self.all().into_iter().map(|n| *n).min().unwrap_or(0)
    }
}

/// Declares a struct of numbers that is [`Counted`]. The fields are as visible as the struct.
///
/// ```
/// use thalweg_core::testing::simulation::Counted;
///
/// thalweg_core::counters! {
///     pub(crate) struct Counters {
///         kills,
///         /// Processes that woke up beside a successor.
///         zombies,
///     }
/// }
///
/// let mut counters = Counters { kills: 1, zombies: 2 };
/// counters.add(Counters { kills: 4, zombies: 0 });
/// assert_eq!((counters.kills, counters.zombies, counters.least()), (5, 2, 2));
/// ```
#[macro_export]
macro_rules! counters {
    ($visibility:vis struct $name:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        #[derive(Debug, Default, Clone, Copy)]
        $visibility struct $name {
            $($(#[$doc])* $visibility $field: u64,)*
        }

        impl $crate::testing::simulation::Counted for $name {
            fn all(&mut self) -> Vec<&mut u64> {
                vec![$(&mut self.$field),*]
            }
        }
    };
}
