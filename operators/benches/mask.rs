//! Rows per second through the display mask, by kind of input.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot run has nothing better to do than stop"
)]

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use thalweg_core::Sensitivity::{self, PhiAddress, PhiDob, PhiName, PhiPhone, PhiSsn};
use thalweg_core::key::KeyGroupRange;
use thalweg_core::operator::{Collector, Context, OpenContext, Operator, OperatorFactory};
use thalweg_core::sensitivity::mark;
use thalweg_core::{OperatorUid, Result, SubtaskIndex, Watermark};
use thalweg_operators::Mask;

const ROWS: usize = 8_192;

fn main() {
    divan::main();
}

/// A column of the benchmark: its mark, and how it looks in ASCII and beyond.
const COLUMNS: [(&str, Sensitivity, [&str; 3], [&str; 3]); 5] = [
    (
        "name",
        PhiName,
        ["John Doe", "Mary-Ann O'Neil", "Dr. Wei Chen"],
        ["José Núñez", "Zoë Ağca", "王 伟"],
    ),
    (
        "ssn",
        PhiSsn,
        ["123-45-6789", "123 45 6789", "123456789"],
        ["１２３-４５-６７８９", "123–45–6789", "?"],
    ),
    (
        "phone",
        PhiPhone,
        ["(555) 123-7890", "555-123-7890", "+15551237890"],
        ["555\u{a0}123\u{a0}7890", "+49 30 12345", "?"],
    ),
    ("dob", PhiDob, ["1985-03-12", "03/12/1985", "19850312"], ["1985–03–12", "12 March 1985", "?"]),
    (
        "address",
        PhiAddress,
        ["1 Main St, Boston, MA 02101", "9 Oak Ave, Austin, TX", "22 Elm, Reno, NV 89501"],
        ["1 Calle Peña, Española, NM", "Ulmenstraße 2, Köln", "?"],
    ),
];

fn events(
    of: impl Fn(&(&str, Sensitivity, [&'static str; 3], [&'static str; 3])) -> [&'static str; 3],
) -> RecordBatch {
    let ids = Int64Array::from_iter_values(0..ROWS as i64);
    let mut fields = vec![Field::new("patient_id", DataType::Int64, false)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(ids)];
    for column in &COLUMNS {
        fields.push(mark(Field::new(column.0, DataType::Utf8, true), [column.1]));
        let texts = of(column).into_iter().cycle().take(ROWS);
        columns.push(Arc::new(StringArray::from_iter_values(texts)));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length")
}

fn open(input: SchemaRef) -> Result<OpenContext> {
    Ok(OpenContext {
        uid: OperatorUid::new("bench")?,
        subtask: SubtaskIndex(0),
        parallelism: 1,
        max_parallelism: 128,
        key_groups: KeyGroupRange::of_subtask(0, 1, 128),
        input_schema: input,
    })
}

fn run(bencher: Bencher, factory: &impl OperatorFactory, batch: &RecordBatch) {
    let open = open(batch.schema()).expect("a legal uid");
    let mut operator: Box<dyn Operator> = factory.create(open.clone()).expect("a legal graph");
    let context = Context { watermark: Watermark::MIN, open: &open };
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut out = Collector::default();
        operator.process(black_box(batch.clone()), &context, &mut out).expect("no error");
        out.take()
    });
}

/// Five identifiers of the usual kind.
#[divan::bench]
fn ascii(bencher: Bencher) {
    run(bencher, &Mask::display(), &events(|column| column.2));
}

/// Five identifiers that need normalising, or that no mask understands.
#[divan::bench]
fn unicode(bencher: Bencher) {
    run(bencher, &Mask::display(), &events(|column| column.3));
}

/// One column at a time.
#[divan::bench(args = ["name", "ssn", "phone", "dob", "address"])]
fn one(bencher: Bencher, column: &str) {
    let batch = events(|column| column.2);
    let index = batch.schema().index_of(column).expect("one of the columns");
    run(bencher, &Mask::display(), &batch.project(&[index]).expect("a column"));
}
