//! A newer build over what an older one has stored.

use arrow_array::Array;
use serde_json::{Value, json};

use crate::support::rewrite::take_out;
use crate::support::table_log::change_columns;
use crate::support::{
    TABLES, assert_same_tables, batches, count, ends_with, fail, healthcare, last_line, run_file,
    succeed,
};

const VITALS: [&str; 6] =
    ["heart_rate", "systolic", "diastolic", "temperature", "spo2", "respiratory_rate"];

fn is_of_readings(column: &str) -> bool {
    column.ends_with("_readings")
}

/// State of windows needs nothing: a mean's has always had the number of its values.
#[test]
fn gold_from_before_it_counted_readings_is_refused_until_it_can_and_refresh_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let (input, calm, data) = crate::read_in_part(folder.path(), 36, &[]);
    let gold: Vec<&str> = TABLES.into_iter().filter(|table| table.starts_with("gold/")).collect();
    for table in &gold {
        assert!(count(&data, table) > 0, "{table} has no rows from before");
        take_out(&data.join(table), is_of_readings);
    }

    let told = fail(&mut run_file(&data, &input));
    for vital in VITALS {
        assert!(told.contains(&format!("`{vital}_readings` long")), "{told}");
    }
    assert!(told.contains("ADD COLUMNS") && !told.contains("fresh"), "{told}");
    for table in &gold {
        change_columns(&data.join(table), |fields| {
            let field = |vital: &str| -> Value {
                let name = format!("{vital}_readings");
                json!({ "name": name, "type": "long", "nullable": true, "metadata": {} })
            };
            fields.extend(VITALS.map(field));
        });
    }
    succeed(&mut run_file(&data, &input));
    for table in &gold {
        let (mut before, mut since) = (0, 0);
        for batch in batches(&data.join(table)) {
            match batch.column_by_name("spo2_readings") {
                None => before += batch.num_rows(),
                Some(counts) => since += counts.len() - counts.null_count(),
            }
        }
        assert!(before > 0 && since > 0, "{table}: {before} rows before, {since} since");
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
