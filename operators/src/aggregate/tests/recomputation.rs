//! The law of the aggregate: whatever the batches, instances, watermarks and restores, it gives what a naive
//! computation over all rows gives.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SIZE: i64 = 10;

fn aggregate(keys: usize, overlap: i64) -> Aggregate {
    let aggregate = sliding((SIZE * overlap) as u64, SIZE as u64);
    let aggregate = match keys {
        0 => aggregate,
        1 => aggregate.by(KIND),
        2 => aggregate.by(PATIENT),
        _ => aggregate.by(WARD).by(OXYGEN).by(KIND),
    };
    aggregate
        .count("n")
        .count_distinct(PATIENT, "patients")
        .count_distinct(KIND, "kinds")
        .count_values(VALUE, "values")
        .count_values(KIND, "named")
        .min(VALUE, "min")
        .max(VALUE, "max")
        .min(SMALL, "least")
        .max(SMALL, "greatest")
        .mean(VALUE, "mean")
        .stddev(VALUE, "stddev")
        .sum(SMALL, "sum")
        .percentile(VALUE, 0.9, "p90")
        .count_values(VALUE, "readings")
        .partial_groups(20)
}

fn key(keys: usize, row: &Row) -> Option<String> {
    match keys {
        0 => Some(String::new()),
        1 => row.kind.map(str::to_owned),
        2 => row.patient.map(|p| p.to_string()),
        _ => Some(format!("{} {} {}", row.ward?, row.oxygen?, row.kind?)),
    }
}

/// What must be exact, as text; then what may differ in the last bits.
type Expected = (String, [Option<f64>; 4]);

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

fn naive(keys: usize, overlap: i64, rows: &[Row]) -> BTreeMap<String, Expected> {
    let mut groups: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        if let Some(key) = key(keys, row) {
            for back in 0..overlap {
                let start = (row.time.div_euclid(SIZE) - back) * SIZE;
                let key = format!("{start} {} {key}", start + SIZE * overlap);
                groups.entry(key.trim_end().to_owned()).or_default().push(row);
            }
        }
    }
    groups.into_iter().map(|(key, rows)| (key, of_group(&rows))).collect()
}

fn of_group(rows: &[&Row]) -> Expected {
    let mut values: Vec<f64> =
        rows.iter().filter_map(|r| r.value).filter(|v| !v.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    let smalls = || rows.iter().filter_map(|r| r.small);
    let count = values.len() as f64;
    let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / count);
    let deviation = mean.filter(|_| values.len() > 1).map(|mean| {
        (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt()
    });
    let sum = smalls().next().is_some().then(|| smalls().map(f64::from).sum());
    let rank = (0.9 * (count - 1.0)) as usize;
    let exact = format!(
        "{} {} {} {} {} {} {} {} {} {}",
        rows.len(),
        rows.iter().filter_map(|r| r.patient).collect::<BTreeSet<_>>().len(),
        rows.iter().filter_map(|r| r.kind).collect::<BTreeSet<_>>().len(),
        values.len(),
        rows.iter().filter(|r| r.kind.is_some()).count(),
        text(values.first()),
        text(values.last()),
        text(smalls().min()),
        text(smalls().max()),
        values.len(),
    );
    (exact, [mean, deviation, sum, values.get(rank).copied()])
}

/// Splits a result row into key, exact part and the rest.
fn actual(keys: usize, job: &Job) -> Vec<(String, Expected)> {
    let width = 2 + [0, 1, 1, 3][keys];
    job.table()
        .iter()
        .map(|row| {
            let cells: Vec<&str> = row.split(' ').collect();
            let (key, values) = cells.split_at(width);
            let (exact, inexact) = values.split_at(9);
            let (readings, inexact) = inexact.split_last().unwrap();
            let inexact: Vec<Option<f64>> = inexact.iter().map(|v| v.parse().ok()).collect();
            let exact = format!("{} {readings}", exact.join(" "));
            (key.join(" "), (exact, inexact.try_into().unwrap()))
        })
        .collect()
}

fn close(a: Option<f64>, b: Option<f64>, relative: f64) -> bool {
    match (a, b) {
        // A deviation of equal values is a rounding error away from zero.
        (Some(a), Some(b)) => (a - b).abs() <= relative * a.abs().max(b.abs()) + 1e-9,
        (a, b) => a.is_none() && b.is_none(),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push { partial: usize, rows: usize },
    Advance { back: i64 },
    Restart { partials: u32, merges: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..4, 1usize..30).prop_map(|(partial, rows)| Step::Push { partial, rows }),
        2 => (0i64..15).prop_map(|back| Step::Advance { back }),
        1 => (1u32..5, 1u32..5).prop_map(|(partials, merges)| Step::Restart { partials, merges }),
    ];
    proptest::collection::vec(step, 1..40)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let kind = proptest::option::weighted(0.9, prop_oneof![Just("a"), Just("b"), Just("vitals")]);
    let value = prop_oneof![
        8 => (1.0f64..1000.0).prop_map(Some),
        1 => (-5i32..5).prop_map(|v| Some(f64::from(v))),
        1 => Just(Some(f64::NAN)),
        2 => Just(None),
    ];
    let some = |range| proptest::option::weighted(0.8, range);
    let row = (
        -50i64..50,
        kind,
        some(0i32..3),
        any::<Option<bool>>(),
        some(-3i32..40),
        value,
        some(-9i32..9),
    )
        .prop_map(|(time, kind, ward, oxygen, patient, value, small)| Row {
            time,
            kind,
            ward,
            oxygen,
            patient: patient.map(i64::from),
            value,
            small,
        });
    proptest::collection::vec(row, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_run_gives_what_a_naive_computation_gives(
        mut rows in rows(),
        steps in steps(),
        keys in 0usize..4,
        overlap in 1i64..4,
        partials in 1u32..5,
        merges in 1u32..5,
    ) {
        // Roughly in order, so that watermarks have something to say.
        rows.sort_by_key(|row| row.time.div_euclid(25));
        let mut job = Job::new(aggregate(keys, overlap), partials, merges);
        let mut from = 0;
        for step in steps {
            match step {
                Step::Push { partial, rows: count } => {
                    let to = rows.len().min(from + count);
                    if from < to {
                        job.push(partial, &rows[from..to]).unwrap();
                    }
                    from = to;
                }
                Step::Advance { back } => {
                    let low = rows[from..].iter().map(|r| r.time).min().unwrap_or(i64::MAX);
                    job.advance(low.saturating_sub(back)).unwrap();
                }
                Step::Restart { partials, merges } => {
                    let blobs = job.checkpoint().unwrap();
                    job.restore(&blobs, partials, merges).unwrap();
                }
            }
        }
        if from < rows.len() {
            job.push(0, &rows[from..]).unwrap();
        }
        job.advance(i64::MAX).unwrap();

        let expected = naive(keys, overlap, &rows);
        let actual = actual(keys, &job);
        prop_assert_eq!(actual.len(), expected.len());
        for (key, (exact, inexact)) in actual {
            let Some((expected_exact, expected)) = expected.get(&key) else {
                return Err(TestCaseError::fail(format!("no group {key}")));
            };
            prop_assert_eq!(&exact, expected_exact, "{}", key);
            for (at, bound) in [1e-9, 1e-9, 1e-9, 0.011].into_iter().enumerate() {
                prop_assert!(close(inexact[at], expected[at], bound), "{} {:?} {:?}", key, inexact, expected);
            }
        }
    }

    #[test]
    fn the_same_rows_give_the_same_output_bit_for_bit(rows in rows(), keys in 0usize..4) {
        let run = || {
            let mut job = Job::new(aggregate(keys, 2), 2, 2);
            for (at, rows) in rows.chunks(37).enumerate() {
                job.push(at, rows).unwrap();
            }
            let blobs = job.checkpoint().unwrap();
            job.advance(i64::MAX).unwrap();
            (blobs, job.results)
        };
        prop_assert!(run() == run());
    }
}
