//! One line on a terminal that tells how the job is doing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use thalweg_core::time::Clock;

use crate::metrics::JobMetrics;

/// How often the line is drawn anew.
pub(crate) const EVERY: Duration = Duration::from_millis(500);

pub(crate) struct Progress {
    bar: ProgressBar,
    sources: Vec<String>,
    last: Option<(Duration, u64)>,
}

impl Progress {
    /// A line on standard error; nothing when that is no terminal.
    pub(crate) fn new(sources: Vec<String>) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        Self { bar, sources, last: None }
    }

    pub(crate) fn update(&mut self, metrics: &JobMetrics, clock: &dyn Clock) {
        let nodes = metrics.nodes();
        let read: u64 = self.sources.iter().filter_map(|s| nodes.get(s)).map(|n| n.0).sum();
        let now = clock.monotonic();
        let rate = self.last.map_or(0.0, |(then, before)| {
            let seconds = now.saturating_sub(then).as_secs_f64();
            if seconds > 0.0 { read.saturating_sub(before) as f64 / seconds } else { 0.0 }
        });
        self.last = Some((now, read));
        let lag = match metrics.lag.load(Ordering::Relaxed) {
            rows if rows > 0 => format!(" · lag {}", HumanCount(rows as u64)),
            _ => String::new(),
        };
        let checkpoint = match metrics.checkpoint_at.load(Ordering::Relaxed) {
            0 => "no checkpoint yet".to_owned(),
            at => format!(
                "checkpoint {} {} ms ago",
                metrics.checkpoint.load(Ordering::Relaxed),
                (clock.now_micros() - at).max(0) / 1000
            ),
        };
        let tables: Vec<String> = metrics
            .committed()
            .into_iter()
            .filter(|(_, rows)| *rows > 0)
            .map(|(sink, rows)| format!("{sink} {}", HumanCount(rows)))
            .collect();
        self.bar.set_message(format!(
            "{} events · {}/s{lag} · {checkpoint} · {}",
            HumanCount(read),
            HumanCount(rate as u64),
            tables.join(" · ")
        ));
        self.bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
