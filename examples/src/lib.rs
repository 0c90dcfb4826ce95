//! Small programs, one idea each, in `src/bin`. The code in README.md and in the guide is compiled and run here as
//! documentation tests, so it cannot go stale.

mod usage;

pub use usage::Usage;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/first-pipeline.md")]
struct FirstPipeline;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/custom-operator.md")]
struct CustomOperator;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/time-and-windows.md")]
struct TimeAndWindows;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/alerts.md")]
struct Alerts;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/privacy.md")]
struct Privacy;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/operations.md")]
struct Operations;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/orchestration.md")]
struct Orchestration;
