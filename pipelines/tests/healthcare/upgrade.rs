//! A newer build over what an older one has stored.

use arrow_array::Array;

use crate::support::rewrite::take_out;
use crate::support::table_log::columns;
use crate::support::{
    TABLES, assert_same_tables, batches, count, ends_with, healthcare, last_line, output, run_file,
    shown, succeed,
};

const VITALS: usize = 6;

fn is_of_readings(column: &str) -> bool {
    column.ends_with("_readings")
}

/// State of windows needs nothing: a mean's has always had the number of its values.
#[test]
fn gold_from_before_it_counted_readings_gets_the_columns_at_the_start_and_refresh_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let (input, calm, data) = crate::read_in_part(folder.path(), 36, &[]);
    let gold: Vec<&str> = TABLES.into_iter().filter(|table| table.starts_with("gold/")).collect();
    let mut before = Vec::new();
    for table in &gold {
        assert!(count(&data, table) > 0, "{table} has no rows from before");
        take_out(&data.join(table), is_of_readings);
        before.push(columns(&data.join(table)));
    }

    // The first start dies behind the columns, before it has read anything; the next one finds them.
    let died = output(run_file(&data, &input).env("FAILPOINTS", "recover.restored=return(exit)"));
    assert!(!died.status.success(), "{}", shown(&died));
    let added = |(changes, names): &(usize, Vec<String>), table: &str| {
        let (now, all) = columns(&data.join(table));
        assert_eq!(now, changes + 1, "{table}: one entry");
        let (old, new) = all.split_at(names.len());
        assert_eq!(old, names, "{table}");
        assert!(new.len() == VITALS && new.iter().all(|n| is_of_readings(n)), "{table}: {new:?}");
    };
    for (before, table) in before.iter().zip(gold.iter().copied()) {
        added(before, table);
    }
    succeed(&mut run_file(&data, &input));
    for (before, table) in before.iter().zip(gold.iter().copied()) {
        added(before, table);
        let (mut without, mut with) = (0, 0);
        for batch in batches(&data.join(table)) {
            match batch.column_by_name("spo2_readings") {
                None => without += batch.num_rows(),
                Some(counts) => with += counts.len() - counts.null_count(),
            }
        }
        assert!(without > 0 && with > 0, "{table}: {without} rows before, {with} since");
    }

    let refresh = || {
        let mut command = healthcare();
        command.args(["refresh", "--date", "2025-11-24", "--data-dir"]).arg(&data);
        command
    };
    let said = last_line(&ends_with(&mut refresh(), 0));
    let replaced = said["replaced"].as_array().unwrap().iter();
    let replaced: Vec<&str> = replaced.map(|table| table["table"].as_str().unwrap()).collect();
    assert_eq!(replaced, gold, "{said}");
    assert_same_tables(&calm, &data);
    ends_with(&mut refresh(), 99);
}
