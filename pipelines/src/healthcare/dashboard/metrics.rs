//! The counters in the words of Prometheus. Labels are names of nodes and sinks; no value of a record is among them.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use thalweg_runtime::JobMetrics;

/// Values that could not be used, by column.
#[derive(Debug, Default)]
pub(super) struct Unusable {
    /// Of optional fields: they became null.
    pub(super) decoded: Vec<(String, u64)>,
    /// Texts that seemed to hold an identifier: they became null.
    pub(super) withheld: Vec<(String, u64)>,
    /// Of identities: they are masked whole.
    pub(super) masked: Vec<(String, u64)>,
}

/// The text that a scraper reads. `readers`: dashboards that are open.
pub(super) fn text(job: Option<&JobMetrics>, readers: usize, unusable: &Unusable) -> String {
    let mut text = Text::default();
    text.head("thalweg_dashboard_readers", "gauge", "Dashboards that are open.");
    text.line("thalweg_dashboard_readers", "", readers as f64);
    let Some(job) = job else { return text.0 };
    let nodes = job.nodes();
    text.head(
        "thalweg_node_rows_in_total",
        "counter",
        "Rows into a node since the process started.",
    );
    for (node, (rows, _)) in &nodes {
        text.line("thalweg_node_rows_in_total", &format!("node=\"{node}\""), *rows as f64);
    }
    text.head(
        "thalweg_node_rows_out_total",
        "counter",
        "Rows out of a node, side outputs included.",
    );
    for (node, (_, rows)) in &nodes {
        text.line("thalweg_node_rows_out_total", &format!("node=\"{node}\""), *rows as f64);
    }
    let left_out = job.left_out();
    let left_out = |node: &String| left_out.get(node).copied().unwrap_or_default();
    text.head(
        "thalweg_node_late_rows_dropped_total",
        "counter",
        "Rows that a node left out because they came too late.",
    );
    for node in nodes.keys() {
        let (labels, rows) = (format!("node=\"{node}\""), left_out(node).late);
        text.line("thalweg_node_late_rows_dropped_total", &labels, rows as f64);
    }
    text.head(
        "thalweg_node_rows_dropped_total",
        "counter",
        "Rows that a node was told to drop, rejected ones under \"drop\" say.",
    );
    for node in nodes.keys() {
        let (labels, rows) = (format!("node=\"{node}\""), left_out(node).dropped);
        text.line("thalweg_node_rows_dropped_total", &labels, rows as f64);
    }
    text.head(
        "thalweg_node_null_key_rows_dropped_total",
        "counter",
        "Rows that an aggregate left out because a column of their key is null.",
    );
    for node in nodes.keys() {
        let (labels, rows) = (format!("node=\"{node}\""), left_out(node).null_key);
        text.line("thalweg_node_null_key_rows_dropped_total", &labels, rows as f64);
    }
    text.by_column(
        "thalweg_decode_unusable_values_total",
        "Values of optional fields that could not be used and became null.",
        &unusable.decoded,
    );
    text.by_column(
        "thalweg_decode_withheld_values_total",
        "Texts that seemed to hold an identifier and became null.",
        &unusable.withheld,
    );
    text.by_column(
        "thalweg_mask_unparsed_values_total",
        "Values that a mask did not understand and masked whole.",
        &unusable.masked,
    );
    text.head("thalweg_sink_committed_rows", "gauge", "Rows committed since the chain began.");
    for (sink, rows) in &job.committed() {
        text.line("thalweg_sink_committed_rows", &format!("sink=\"{sink}\""), *rows as f64);
    }
    let checkpoint = job.checkpoint.load(Ordering::Relaxed);
    text.head("thalweg_checkpoint", "gauge", "Newest finished checkpoint.");
    text.line("thalweg_checkpoint", "", checkpoint as f64);
    let at = job.checkpoint_at.load(Ordering::Relaxed);
    text.head(
        "thalweg_checkpoint_timestamp_seconds",
        "gauge",
        "When it was finished; 0: none yet.",
    );
    text.line("thalweg_checkpoint_timestamp_seconds", "", at as f64 / 1e6);
    let took = job.checkpoint_micros.load(Ordering::Relaxed);
    text.head("thalweg_checkpoint_duration_seconds", "gauge", "From its barrier to its finish.");
    text.line("thalweg_checkpoint_duration_seconds", "", took as f64 / 1e6);
    let attempts = job.attempts.load(Ordering::Relaxed);
    text.head(
        "thalweg_attempts_total",
        "counter",
        "Attempts begun; every one but the first is a restart.",
    );
    text.line("thalweg_attempts_total", "", attempts as f64);
    let losses = job.losses.load(Ordering::Relaxed);
    text.head(
        "thalweg_source_losses_total",
        "counter",
        "Times that a source went past messages that were lost, since on_data_loss = \"reset\".",
    );
    text.line("thalweg_source_losses_total", "", losses as f64);
    let lag = job.lag.load(Ordering::Relaxed);
    if lag >= 0 {
        text.head(
            "thalweg_source_lag_rows",
            "gauge",
            "Rows between the newest checkpoint and the end.",
        );
        text.line("thalweg_source_lag_rows", "", lag as f64);
    }
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.push(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        self.push(&format!("{name}{labels} {value}\n"));
    }

    fn by_column(&mut self, name: &str, help: &str, counts: &[(String, u64)]) {
        self.head(name, "counter", help);
        for (column, count) in counts {
            self.line(name, &format!("column=\"{column}\""), *count as f64);
        }
    }

    fn push(&mut self, text: &str) {
        let written = self.0.write_str(text);
        debug_assert!(written.is_ok(), "a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::operator::LeftOut;

    use super::*;

    #[test]
    fn a_scraper_reads_a_value_per_line() {
        let job = JobMetrics::default();
        job.node("validate").rows_in.store(5, Ordering::Relaxed);
        let per_minute = LeftOut { late: 3, null_key: 4, ..LeftOut::default() };
        job.node("per-minute-partial").leave_out(per_minute);
        job.node("validate").leave_out(LeftOut { dropped: 3, ..LeftOut::default() });
        job.checkpoint_at.store(1_500_000, Ordering::Relaxed);
        job.losses.store(2, Ordering::Relaxed);
        let unusable = Unusable {
            decoded: vec![("oxygen".to_owned(), 4)],
            withheld: vec![("medication".to_owned(), 6)],
            masked: vec![("name".to_owned(), 0), ("ssn".to_owned(), 1)],
        };
        let text = text(Some(&job), 2, &unusable);
        for line in [
            "thalweg_dashboard_readers 2",
            "thalweg_node_rows_in_total{node=\"validate\"} 5",
            "thalweg_node_late_rows_dropped_total{node=\"per-minute-partial\"} 3",
            "thalweg_node_late_rows_dropped_total{node=\"validate\"} 0",
            "thalweg_node_rows_dropped_total{node=\"validate\"} 3",
            "thalweg_node_null_key_rows_dropped_total{node=\"per-minute-partial\"} 4",
            "thalweg_node_null_key_rows_dropped_total{node=\"validate\"} 0",
            "thalweg_decode_unusable_values_total{column=\"oxygen\"} 4",
            "thalweg_decode_withheld_values_total{column=\"medication\"} 6",
            "thalweg_mask_unparsed_values_total{column=\"name\"} 0",
            "thalweg_mask_unparsed_values_total{column=\"ssn\"} 1",
            "thalweg_checkpoint_timestamp_seconds 1.5",
            "thalweg_source_losses_total 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let named =
            |l: &str| l.starts_with('#') || l.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok();
        assert!(text.lines().all(named));
    }
}
