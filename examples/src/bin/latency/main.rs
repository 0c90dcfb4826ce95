//! Measures from outside how long an event takes, from its place in the schedule of a steady producer to whoever reads.
//!
//! `latency tables SERVERS TOPIC FOLDER RATE SECONDS DELAY`: to the Delta tables silver and gold of the healthcare
//! pipeline below FOLDER. DELAY is how many milliseconds the windows stay open behind their end.
//!
//! `latency topic SERVERS TOPIC OUT RATE SECONDS`: to topic OUT, where `kafka_to_kafka` sends its rows.
//!
//! The job runs beside it and must have begun. An event that could not be sent in time counts from when it should have
//! been (no coordinated omission). The first fifth of the time is warm-up and does not count.

mod schedule;
mod tables;
mod topic;

use std::error::Error;

use hdrhistogram::Histogram;
use schedule::Schedule;
use thalweg_examples::Usage;

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const USAGE: Usage = Usage(
    "usage: latency (tables SERVERS TOPIC FOLDER RATE SECONDS DELAY | topic SERVERS TOPIC OUT RATE SECONDS)",
);

/// Latencies in microseconds, up to ten minutes, three digits.
pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000, 3)?)
}

#[expect(clippy::print_stdout, reason = "the result of the measurement")]
fn show(name: &str, latencies: &Histogram<u64>) {
    let ms = |micros: u64| micros as f64 / 1_000.0;
    let at = |quantile: f64| ms(latencies.value_at_quantile(quantile));
    println!(
        "{name}: n={} p50={:.1} p90={:.1} p99={:.1} p99.9={:.1} max={:.1} ms",
        latencies.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        ms(latencies.max())
    );
    for step in latencies.iter_quantiles(2) {
        println!(
            "  {name} {:.5} {:.1} {}",
            step.quantile_iterated_to(),
            ms(step.value_iterated_to()),
            step.count_since_last_iteration()
        );
    }
}

fn main() -> Result<()> {
    let args = USAGE.arguments();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["tables", servers, topic, folder, rate, seconds, delay] => {
            let schedule = Schedule::new(USAGE.number(rate), USAGE.number(seconds))?;
            let delay = USAGE.number::<i64>(delay).saturating_mul(1_000);
            let (silver, gold) =
                tables::measure(servers, topic, folder.as_ref(), &schedule, delay)?;
            show("silver", &silver);
            show("gold", &gold);
        }
        ["topic", servers, topic, out, rate, seconds] => {
            let schedule = Schedule::new(USAGE.number(rate), USAGE.number(seconds))?;
            show("topic", &topic::measure(servers, topic, out, &schedule)?);
        }
        _ => USAGE.misuse(),
    }
    Ok(())
}
