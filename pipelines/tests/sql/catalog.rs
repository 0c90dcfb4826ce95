//! What psql, Metabase and others ask `pg_catalog` and `information_schema` when they look around.

use super::clients::{or_skip, psql, said};
use super::world::{WORLD, code, count};

#[test]
fn psql_looks_around() {
    let looks = [
        "\\dt+",
        "\\l+",
        "\\d+ silver_events",
        "\\dn+",
        "\\du",
        "\\dp",
        "\\z",
        "\\df",
        "\\da",
        "\\dT",
        "\\dT+",
        "\\dD",
        "\\dC",
        "\\db+",
        "\\ddp",
    ];
    // A line before each that says what comes.
    let titles = looks.map(|look| format!("\\echo == {}", look.trim_start_matches('\\')));
    let commands: Vec<&str> =
        titles.iter().zip(looks).flat_map(|(title, look)| [title.as_str(), look]).collect();
    let Some(output) = or_skip(psql(&WORLD, "clinician", "prefer", &commands)) else { return };
    let said = said(&output);
    let answer = |look: &str| {
        let title = format!("{}\n", look.trim_start_matches('\\'));
        let mut parts = said.split("== ");
        parts.find_map(|part| part.strip_prefix(&title)).unwrap_or_else(|| panic!("{look}: {said}"))
    };
    for (look, line) in [
        ("\\dt+", "public|silver_events|table|"),
        ("\\d+ silver_events", "patient_id|bigint|"),
        ("\\dn+", "public|"),
        ("\\dp", "public|silver_events|table|"),
        ("\\z", "public|silver_events|table|"),
    ] {
        let answer = answer(look);
        assert!(answer.lines().any(|told| told.starts_with(line)), "{look}: {answer}");
        assert!(!answer.contains("bronze_events"), "{look}: {answer}");
    }
    let databases: Vec<&str> = answer("\\l+")
        .lines()
        .filter_map(|line| line.split_once('|'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(databases, ["healthcare"]);
    // Nobody is told of users, and nobody has made a function, a type or a domain.
    for look in ["\\du", "\\df", "\\da", "\\dT", "\\dT+", "\\dD", "\\ddp"] {
        assert_eq!(answer(look).trim(), "", "{look}");
    }
}

#[test]
fn metabase_learns_of_tables_and_columns() {
    let mut client = WORLD.connect("clinician");
    let columns = "select c.column_name, \
         case when c.udt_schema in ('public', 'pg_catalog') then format('%s', c.udt_name) \
         else format('\"%s\".\"%s\"', c.udt_schema, c.udt_name) end as \"database-type\", \
         col_description(cast(cast(format('%I.%I', cast(c.table_schema as text), cast(c.table_name as text)) \
         as regclass) as oid), c.ordinal_position) as \"field-comment\", \
         ((c.column_default is null) or (lower(c.column_default) = 'null')) and (c.is_nullable = 'NO') and not \
         (((c.column_default is not null) and (c.column_default like '%nextval(%')) or (c.is_identity <> 'NO')) \
         as \"database-required\", c.is_generated, c.is_updatable, c.identity_generation \
         from information_schema.columns c where c.table_name = $1 order by c.ordinal_position";
    let rows = client.query(columns, &[&"silver_events"]).unwrap();
    let row = rows.iter().find(|row| row.get::<_, &str>(0) == "patient_id").unwrap();
    assert_eq!(row.get::<_, &str>(1), "int8");
    assert_eq!(row.get::<_, Option<&str>>(2), None);
    assert!(row.get::<_, bool>(3));
    assert_eq!((row.get::<_, &str>(4), row.get::<_, &str>(5)), ("NEVER", "NO"));
    assert_eq!(row.get::<_, Option<&str>>(6), None);

    let keys = "select fk_ns.nspname as \"fk-table-schema\", fk_column.attname as \"fk-column-name\" \
         from pg_constraint as c inner join pg_class as fk_table on c.conrelid = fk_table.oid \
         inner join pg_namespace as fk_ns on c.connamespace = fk_ns.oid \
         inner join pg_attribute as fk_column on c.conrelid = fk_column.attrelid \
         inner join pg_attribute as pk_column on c.confrelid = pk_column.attrelid \
         where fk_ns.nspname !~ '^information_schema|catalog_history|pg_' and c.contype = 'f'::char \
         and fk_column.attnum = any(c.conkey) and pk_column.attnum = any(c.confkey) and fk_ns.nspname in ($1) \
         order by \"fk-table-schema\"";
    let prepared = client.prepare(keys).unwrap();
    assert_eq!((prepared.params().len(), prepared.columns()[1].name()), (1, "fk-column-name"));
    assert!(client.query(&prepared, &[&"public"]).unwrap().is_empty());
}

#[test]
fn arrays_of_queries_and_texts_are_made() {
    let mut client = WORLD.connect("clinician");
    let row = client
        .query_one(
            "select array(select value from generate_series(1, 3) order by 1 desc), \
             array(select value from generate_series(1, 3) where value > 3), \
             array_to_string(array(select a.attname from pg_attribute a where a.attrelid = c.oid \
             and a.attnum < 3 order by a.attnum), ','), \
             pg_size_pretty(20000000::bigint), pg_size_pretty(pg_table_size('gold_kpis')), \
             to_regtype('hstore') is null, pg_type_is_visible(23) \
             from pg_class c where c.relname = 'gold_kpis'",
            &[],
        )
        .unwrap();
    assert_eq!(row.get::<_, Vec<i64>>(0), [3, 2, 1]);
    assert!(row.get::<_, Vec<i64>>(1).is_empty());
    assert_eq!(row.get::<_, &str>(2), "window_start,window_end");
    assert_eq!(row.get::<_, &str>(3), "19 MB");
    assert_eq!(row.get::<_, Option<&str>>(4), None);
    assert!(row.get::<_, bool>(5) && row.get::<_, bool>(6));
    assert_eq!(code(client.query("select format('%x', 1)", &[])), "22023");
    // The order is that of the column, and one value has none.
    let ordered = "select array(select -value as value from generate_series(1, 3) order by value), \
                   array(select value from generate_series(1, 3) order by value desc), \
                   array(select 1::bigint order by 1), array(select 7 order by 1)";
    let row = client.query_one(ordered, &[]).unwrap();
    assert_eq!(row.get::<_, Vec<i64>>(0), [-3, -2, -1]);
    assert_eq!(row.get::<_, Vec<i64>>(1), [3, 2, 1]);
    assert_eq!(row.get::<_, Vec<i64>>(2), [1]);
    assert_eq!(row.get::<_, Vec<i64>>(3), [7]);
    for asks in ["distinct value from generate_series(1, 3)", "7 as v order by v, 1"] {
        let sql = format!("select array(select {asks})");
        assert_eq!(code(client.query(&sql, &[])), "0A000", "{sql}");
    }
}

#[test]
fn what_has_no_rows_takes_its_parameters() {
    let mut client = WORLD.connect("clinician");
    let sql = "select (select d.adbin from pg_catalog.pg_attrdef d where d.adrelid = $1), \
               array(select e.enumlabel from pg_catalog.pg_enum e where e.enumtypid = $1 and e.oid = $2)";
    let row = client.query_one(sql, &[&"1", &"2"]).unwrap();
    assert_eq!(row.get::<_, Option<&str>>(0), None);
    assert!(row.get::<_, Vec<String>>(1).is_empty());
}

#[test]
fn tables_that_are_said_to_be_empty_are_empty() {
    let mut client = WORLD.connect("admin");
    for table in ["pg_attrdef", "pg_enum", "pg_inherits", "pg_policy", "pg_sequence"] {
        assert_eq!(
            count(&mut client, &format!("select count(*) from pg_catalog.{table}")),
            0,
            "{table}"
        );
    }
    // An aggregate of no rows is a row.
    let counted = "select coalesce((select count(*) from pg_catalog.pg_enum), -1)";
    assert_eq!(count(&mut client, counted), 0);
}
