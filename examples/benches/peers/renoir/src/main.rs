//! Counts rows per key and minute in Renoir: `keyed-count-renoir ROWS KEYS WORKERS`.
//!
//! The same rows as Thalweg's `keyed_count`, dealt to the sources in blocks; nothing is kept safe, there are no
//! checkpoints. WORKERS is Renoir's parallelism: a thread for each source and another for each count, so that one
//! worker keeps two cores busy.
//!
//! A state of our own behind `group_by`, closed by watermarks, as in Renoir's own optimised Nexmark queries, and not its
//! event-time windows. Those begin at the first row of a key, not at the full minute, and lose a row that comes from
//! another source before that first one. With times rounded down to the minute and the stream put in order before the
//! window they agree with the others, at twice the processor time.

use std::collections::BTreeMap;
use std::time::Instant;

use fxhash::FxHashMap;
use renoir::operator::{ElementGenerator, Operator, StreamElement};
use renoir::prelude::*;

const STEP: u64 = 600;
const MINUTE: u64 = 60_000_000;
/// Rows of a source in a row, and of a message between threads.
const BLOCK: u64 = 8_192;

fn spread(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Key and time.
type Row = (u64, u64);
/// Minute, key and number of rows.
type Counted = (u64, u64, u64);
/// Results, rows and checksum.
type Totals = (u64, u64, u64);

/// The counts of one replica.
#[derive(Clone, Default)]
struct Counts {
    open: BTreeMap<u64, FxHashMap<u64, u64>>,
    closed: Vec<Counted>,
    ended: bool,
}

impl Counts {
    fn next(
        &mut self,
        mut input: ElementGenerator<impl Operator<Out = (u64, Row)>>,
    ) -> StreamElement<Counted> {
        loop {
            if let Some(counted) = self.closed.pop() {
                return StreamElement::Item(counted);
            }
            if std::mem::take(&mut self.ended) {
                return StreamElement::FlushAndRestart;
            }
            match input.next() {
                StreamElement::Timestamped((key, (_, at)), _)
                | StreamElement::Item((key, (_, at))) => {
                    let counts = self.open.entry(at / MINUTE).or_default();
                    *counts.entry(key).or_default() += 1;
                }
                StreamElement::Watermark(at) => self.close(at as u64 / MINUTE),
                StreamElement::FlushBatch => return StreamElement::FlushBatch,
                StreamElement::Terminate => return StreamElement::Terminate,
                StreamElement::FlushAndRestart => {
                    self.close(u64::MAX);
                    self.ended = true;
                }
            }
        }
    }

    /// Closes the minutes before this one.
    fn close(&mut self, first_open: u64) {
        let open = self.open.split_off(&first_open);
        for (minute, counts) in std::mem::replace(&mut self.open, open) {
            self.closed.extend(counts.into_iter().map(|(key, n)| (minute, key, n)));
        }
    }
}

fn add((results, rows, checksum): &mut Totals, other: Totals) {
    *results += other.0;
    *rows += other.1;
    *checksum = checksum.wrapping_add(other.2);
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let [rows, keys, workers] = numbers[..] else {
        panic!("usage: keyed-count-renoir ROWS KEYS WORKERS")
    };
    let begun = Instant::now();
    let context = StreamContext::new(RuntimeConfig::local(workers).unwrap());
    let mut newest = 0;
    let mut counts = Counts::default();
    let totals = context
        .stream_par_iter(move |index: u64, peers: u64| {
            (index * BLOCK..rows)
                .step_by((peers * BLOCK) as usize)
                .flat_map(move |from| from..(from + BLOCK).min(rows))
                .map(move |i| (spread(i) % keys, i * STEP))
        })
        .batch_mode(BatchMode::fixed(BLOCK as usize))
        .add_timestamps(
            |(_, at)| *at as i64,
            move |(_, at), _| {
                let minute = at / MINUTE;
                (minute > std::mem::replace(&mut newest, minute))
                    .then_some((minute * MINUTE) as i64)
            },
        )
        .group_by(|(key, _)| *key)
        .rich_map_custom(move |input| counts.next(input))
        .map(|(minute, key, n)| (1, n, spread(minute * 1_000_003 + key).wrapping_mul(n)))
        .fold_assoc((0, 0, 0), add, add)
        .collect_vec();
    context.execute_blocking();
    let totals = totals.get().and_then(|totals| totals.first().copied());
    let (results, rows, checksum): Totals = totals.unwrap_or_default();
    let seconds = begun.elapsed().as_secs_f64();
    println!("renoir results={results} rows={rows} checksum={checksum} seconds={seconds:.2}");
}
