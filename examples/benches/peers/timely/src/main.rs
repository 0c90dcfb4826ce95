//! Counts rows per key and minute in timely dataflow: `keyed-count-timely ROWS KEYS WORKERS`.
//!
//! The same rows as Thalweg's `keyed_count`, dealt to the workers in blocks. The timestamp of the dataflow is the number
//! of the minute, so the frontier closes a minute once no worker can send more of it. Nothing is kept safe: there are
//! no checkpoints. Nor is a worker held back that runs ahead of the others: waiting for a probe makes them spin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use fxhash::FxHashMap;
use timely::Config;
use timely::dataflow::InputHandle;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Operator;

const STEP: u64 = 600;
const MINUTE: u64 = 60_000_000;
/// A tenth of a minute, so that no block spans two.
const BLOCK: u64 = 10_000;

fn spread(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let [rows, keys, workers] = numbers[..] else {
        panic!("usage: keyed-count-timely ROWS KEYS WORKERS")
    };
    let begun = Instant::now();
    // Results, rows, checksum.
    let totals = Arc::new(Mutex::new((0_u64, 0_u64, 0_u64)));
    let shared = Arc::clone(&totals);
    timely::execute(Config::process(workers as usize), move |worker| {
        let mut input = InputHandle::<u64, _>::new();
        let totals = Arc::clone(&shared);
        worker.dataflow::<u64, _, _>(|scope| {
            let by_key = Exchange::new(|(key, _): &(u64, u64)| *key);
            input
                .to_stream(scope)
                .unary_frontier(by_key, "count", |_capability, _info| {
                    // By minute: its capability, and the counts by key.
                    let mut open = HashMap::new();
                    move |(input, frontier), output| {
                        input.for_each_stamp(|stamp, batches| {
                            let Some(capability) = stamp.retain_least(output.output_index()) else {
                                return;
                            };
                            let (_, counts) = open
                                .entry(*capability.time())
                                .or_insert_with(|| (capability, FxHashMap::<u64, u64>::default()));
                            for (key, _at) in batches.flat_map(|batch| batch.drain(..)) {
                                *counts.entry(key).or_default() += 1;
                            }
                        });
                        open.retain(|minute, (capability, counts)| {
                            let is_open = frontier.less_equal(minute);
                            if !is_open {
                                let counted = counts.drain().map(|(key, n)| (*minute, key, n));
                                output.session(capability).give_iterator(counted);
                            }
                            is_open
                        });
                    }
                })
                .container::<Vec<_>>()
                .unary::<timely::container::CapacityContainerBuilder<Vec<()>>, _, _, _>(
                    Pipeline,
                    "sum",
                    |_capability, _info| {
                        move |input, _output| {
                            input.for_each_stamp(|_stamp, batches| {
                                let mut totals = totals.lock().unwrap();
                                for (minute, key, n) in batches.flat_map(|batch| batch.drain(..)) {
                                    totals.0 += 1;
                                    totals.1 += n;
                                    totals.2 = totals.2.wrapping_add(
                                        spread(minute * 1_000_003 + key).wrapping_mul(n),
                                    );
                                }
                            });
                        }
                    },
                );
        });
        let (index, peers) = (worker.index() as u64, worker.peers() as u64);
        let mut block = Vec::with_capacity(BLOCK as usize);
        let mut from = index * BLOCK;
        while from < rows {
            input.advance_to(from * STEP / MINUTE);
            let to = (from + BLOCK).min(rows);
            block.extend((from..to).map(|i| (spread(i) % keys, i * STEP)));
            input.send_batch(&mut block);
            block.clear();
            from += peers * BLOCK;
            worker.step();
        }
        drop(input);
        while worker.step() {}
    })
    .unwrap();
    let (results, rows, checksum) = *totals.lock().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    println!("timely results={results} rows={rows} checksum={checksum} seconds={seconds:.2}");
}
