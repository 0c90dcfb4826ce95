//! What Power BI Desktop says on the wire by its Npgsql 4.0, message by message, and what the answers mean: start-up batch,
//! navigator, a pooled connection's `DISCARD ALL`, a preview and a `DirectQuery`. The texts up to the preview are as they
//! were seen on their way; those of `DirectQuery` have the shape that its generator gives them. The bytes of both sides are
//! in [`super::golden`].

use super::wire::{Message, Wire};
use super::world::{WORLD, count};

const TYPES: &str = "
/*** Load all supported types ***/
SELECT ns.nspname, a.typname, a.oid, a.typrelid, a.typbasetype,
CASE WHEN pg_proc.proname='array_recv' THEN 'a' ELSE a.typtype END AS type,
CASE
  WHEN pg_proc.proname='array_recv' THEN a.typelem
  WHEN a.typtype='r' THEN rngsubtype
  ELSE 0
END AS elemoid,
CASE
  WHEN pg_proc.proname IN ('array_recv','oidvectorrecv') THEN 3    /* Arrays last */
  WHEN a.typtype='r' THEN 2                                        /* Ranges before */
  WHEN a.typtype='d' THEN 1                                        /* Domains before */
  ELSE 0                                                           /* Base types first */
END AS ord
FROM pg_type AS a
JOIN pg_namespace AS ns ON (ns.oid = a.typnamespace)
JOIN pg_proc ON pg_proc.oid = a.typreceive
LEFT OUTER JOIN pg_class AS cls ON (cls.oid = a.typrelid)
LEFT OUTER JOIN pg_type AS b ON (b.oid = a.typelem)
LEFT OUTER JOIN pg_class AS elemcls ON (elemcls.oid = b.typrelid)
LEFT OUTER JOIN pg_range ON (pg_range.rngtypid = a.oid)\x20
WHERE
  a.typtype IN ('b', 'r', 'e', 'd') OR         /* Base, range, enum, domain */
  (a.typtype = 'c' AND cls.relkind='c') OR /* User-defined free-standing composites (not table composites) by default */
  (pg_proc.proname='array_recv' AND (
    b.typtype IN ('b', 'r', 'e', 'd') OR       /* Array of base, range, enum, domain */
    (b.typtype = 'p' AND b.typname IN ('record', 'void')) OR /* Arrays of special supported pseudo-types */
    (b.typtype = 'c' AND elemcls.relkind='c')  /* Array of user-defined free-standing composites (not table composites) */
  )) OR
  (a.typtype = 'p' AND a.typname IN ('record', 'void'))  /* Some special supported pseudo-types */
ORDER BY ord";

const COMPOSITES: &str = "/*** Load field definitions for (free-standing) composite types ***/
SELECT typ.oid, att.attname, att.atttypid
FROM pg_type AS typ
JOIN pg_namespace AS ns ON (ns.oid = typ.typnamespace)
JOIN pg_class AS cls ON (cls.oid = typ.typrelid)
JOIN pg_attribute AS att ON (att.attrelid = typ.typrelid)
WHERE
  (typ.typtype = 'c' AND cls.relkind='c') AND
  attnum > 0 AND     /* Don't load system attributes */
  NOT attisdropped
ORDER BY typ.oid, att.attnum";

const ENUMS: &str = "/*** Load enum fields ***/
SELECT pg_type.oid, enumlabel
FROM pg_enum
JOIN pg_type ON pg_type.oid=enumtypid
ORDER BY oid, enumsortorder";

const CHARACTER_SETS: &str = "select character_set_name from INFORMATION_SCHEMA.character_sets";

const TABLES: &str = "select TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE
from INFORMATION_SCHEMA.tables
where TABLE_SCHEMA not in ('information_schema', 'pg_catalog')
order by TABLE_SCHEMA, TABLE_NAME";

const COLUMNS: &str =
    "select COLUMN_NAME, ORDINAL_POSITION, IS_NULLABLE, case when (data_type like '%unsigned%') \
then DATA_TYPE || ' unsigned' else DATA_TYPE end as DATA_TYPE
from INFORMATION_SCHEMA.columns
where TABLE_SCHEMA = 'public' and TABLE_NAME = 'gold_vitals_by_minute'
order by TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION";

const INDEXES: &str = "select i.CONSTRAINT_SCHEMA || '_' || i.CONSTRAINT_NAME as INDEX_NAME, ii.COLUMN_NAME, \
ii.ORDINAL_POSITION, case when i.CONSTRAINT_TYPE = 'PRIMARY KEY' then 'Y' else 'N' end as PRIMARY_KEY
from INFORMATION_SCHEMA.table_constraints i inner join INFORMATION_SCHEMA.key_column_usage ii \
on i.CONSTRAINT_SCHEMA = ii.CONSTRAINT_SCHEMA and i.CONSTRAINT_NAME = ii.CONSTRAINT_NAME \
and i.TABLE_SCHEMA = ii.TABLE_SCHEMA and i.TABLE_NAME = ii.TABLE_NAME
where i.TABLE_SCHEMA = 'public' and i.TABLE_NAME = 'gold_vitals_by_minute'
and i.CONSTRAINT_TYPE in ('PRIMARY KEY', 'UNIQUE')
order by i.CONSTRAINT_SCHEMA || '_' || i.CONSTRAINT_NAME, ii.TABLE_SCHEMA, ii.TABLE_NAME, ii.ORDINAL_POSITION";

/// Foreign keys beside those that they refer to.
macro_rules! keys_in_pairs {
    () => {
        "from
    (select distinct constraint_catalog, constraint_schema, unique_constraint_schema, constraint_name, unique_constraint_name
        from INFORMATION_SCHEMA.REFERENTIAL_CONSTRAINTS) fkcon
        inner join
    INFORMATION_SCHEMA.KEY_COLUMN_USAGE fkcol
        on fkcon.CONSTRAINT_SCHEMA = fkcol.CONSTRAINT_SCHEMA
        and fkcon.CONSTRAINT_NAME = fkcol.CONSTRAINT_NAME
        inner join
    INFORMATION_SCHEMA.KEY_COLUMN_USAGE pkcol
        on fkcon.UNIQUE_CONSTRAINT_SCHEMA = pkcol.CONSTRAINT_SCHEMA
        and fkcon.UNIQUE_CONSTRAINT_NAME = pkcol.CONSTRAINT_NAME
"
    };
}

/// Who refers to the table.
const REFERRING: &str = concat!(
    "select
    pkcol.COLUMN_NAME as PK_COLUMN_NAME,
    fkcol.TABLE_SCHEMA AS FK_TABLE_SCHEMA,
    fkcol.TABLE_NAME AS FK_TABLE_NAME,
    fkcol.COLUMN_NAME as FK_COLUMN_NAME,
    fkcol.ORDINAL_POSITION as ORDINAL,
    fkcon.CONSTRAINT_SCHEMA || '_' || fkcol.TABLE_NAME || '_' || 'gold_vitals_by_minute' || '_' || fkcon.CONSTRAINT_NAME as FK_NAME
",
    keys_in_pairs!(),
    "where pkcol.TABLE_SCHEMA = 'public' and pkcol.TABLE_NAME = 'gold_vitals_by_minute'
        and pkcol.ORDINAL_POSITION = fkcol.ORDINAL_POSITION
order by FK_NAME, fkcol.ORDINAL_POSITION"
);

/// To whom it refers.
const REFERRED: &str = concat!(
    "select
    pkcol.TABLE_SCHEMA AS PK_TABLE_SCHEMA,
    pkcol.TABLE_NAME AS PK_TABLE_NAME,
    pkcol.COLUMN_NAME as PK_COLUMN_NAME,
    fkcol.COLUMN_NAME as FK_COLUMN_NAME,
    fkcol.ORDINAL_POSITION as ORDINAL,
    fkcon.CONSTRAINT_SCHEMA || '_' || 'gold_vitals_by_minute' || '_' || pkcol.TABLE_NAME || '_' || fkcon.CONSTRAINT_NAME as FK_NAME
",
    keys_in_pairs!(),
    "where fkcol.TABLE_SCHEMA = 'public' and fkcol.TABLE_NAME = 'gold_vitals_by_minute'
        and pkcol.ORDINAL_POSITION = fkcol.ORDINAL_POSITION
order by FK_NAME, fkcol.ORDINAL_POSITION"
);

const PREVIEW: &str = "select \"$Table\".\"window_start\" as \"window_start\",
    \"$Table\".\"events\" as \"events\"
from \"public\".\"gold_vitals_by_minute\" \"$Table\"
limit 4096";

const DIRECT_QUERY: &str = "select \"rows\".\"event_type\" as \"event_type\",
    sum(\"rows\".\"patient_id\") as \"a0\"
from
(
    select \"_\".\"event_type\",
        \"_\".\"patient_id\"
    from \"public\".\"silver_events\" \"_\"
) \"rows\"
group by \"event_type\"
limit 1000001";

/// All of them, in the order in which they are asked.
pub(super) const TEXTS: [&str; 11] = [
    TYPES,
    COMPOSITES,
    ENUMS,
    CHARACTER_SETS,
    TABLES,
    COLUMNS,
    REFERRING,
    REFERRED,
    INDEXES,
    PREVIEW,
    DIRECT_QUERY,
];

impl Wire {
    /// Parse, bind, describe and execute, all unnamed. Lines end as they do where Desktop runs.
    fn ask(&mut self, sql: &str, format: u16) {
        let sql = sql.replace('\n', "\r\n");
        self.send(Some(b'P'), &[b"\0", sql.as_bytes(), b"\0\0\0"].concat());
        self.send(Some(b'B'), &[b"\0\0\0\0\0\0\0\x01".as_slice(), &format.to_be_bytes()].concat());
        self.send(Some(b'D'), b"P\0");
        self.send(Some(b'E'), b"\0\0\0\0\0");
    }

    fn sync(&mut self) -> Vec<Message> {
        self.send(Some(b'S'), b"");
        self.until_ready()
    }

    fn query(&mut self, sql: &str, format: u16) -> Answer {
        self.ask(sql, format);
        let messages = self.sync();
        let mut answers = answers(&messages);
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }
}

/// One statement's.
#[derive(Debug)]
struct Answer {
    /// Names, types and formats.
    columns: Vec<(String, u32, u16)>,
    rows: Vec<Vec<Option<Vec<u8>>>>,
}

impl Answer {
    fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|(name, ..)| name.as_str()).collect()
    }

    fn texts(&self, column: usize) -> Vec<String> {
        let text = |row: &Vec<Option<Vec<u8>>>| {
            row[column].as_ref().map(|bytes| String::from_utf8(bytes.clone()).unwrap())
        };
        self.rows.iter().map(|row| text(row).unwrap_or_default()).collect()
    }
}

/// Parse complete, bind complete, row description, rows, command complete; again and again; ready.
fn answers(messages: &[Message]) -> Vec<Answer> {
    let (ready, rest) = messages.split_last().unwrap();
    assert_eq!((ready.kind, &ready.body[..]), (b'Z', &b"I"[..]));
    let mut all: Vec<Answer> = Vec::new();
    let mut expected = b'1';
    for message in rest {
        let body = &message.body;
        assert_ne!(message.kind, b'E', "{}", String::from_utf8_lossy(body));
        match message.kind {
            b'D' => {
                assert_eq!(expected, b'C');
                all.last_mut().unwrap().rows.push(row(body));
                continue;
            }
            kind => assert_eq!(kind as char, expected as char),
        }
        expected = match message.kind {
            b'1' => b'2',
            b'2' => b'T',
            b'T' => {
                all.push(Answer { columns: columns(body), rows: Vec::new() });
                b'C'
            }
            _ => {
                let tag = String::from_utf8_lossy(body).into_owned();
                assert_eq!(tag, format!("SELECT {}\0", all.last().unwrap().rows.len()));
                b'1'
            }
        };
    }
    assert_eq!(expected, b'1');
    all
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn number(bytes: &mut &[u8], count: usize) -> u32 {
    take(bytes, count).iter().fold(0, |all, byte| all << 8 | u32::from(*byte))
}

fn columns(mut body: &[u8]) -> Vec<(String, u32, u16)> {
    let count = number(&mut body, 2);
    let mut all = Vec::new();
    for _ in 0..count {
        let end = body.iter().position(|byte| *byte == 0).unwrap();
        let name = String::from_utf8(take(&mut body, end).to_vec()).unwrap();
        take(&mut body, 1 + 4 + 2);
        let oid = number(&mut body, 4);
        take(&mut body, 2 + 4);
        all.push((name, oid, u16::try_from(number(&mut body, 2)).unwrap()));
    }
    all
}

fn row(mut body: &[u8]) -> Vec<Option<Vec<u8>>> {
    let count = number(&mut body, 2);
    (0..count)
        .map(|_| {
            let length = number(&mut body, 4);
            (length != u32::MAX).then(|| take(&mut body, length as usize).to_vec())
        })
        .collect()
}

#[test]
fn power_bi_connects_navigates_previews_and_queries() {
    let mut wire = WORLD.wire("clinician");
    // One batch, one sync, texts.
    for sql in [TYPES, COMPOSITES, ENUMS] {
        wire.ask(sql, 0);
    }
    let messages = wire.sync();
    let loaded = answers(&messages);
    assert_eq!(loaded.len(), 3);
    let types = &loaded[0];
    assert_eq!(
        types.names(),
        ["nspname", "typname", "oid", "typrelid", "typbasetype", "type", "elemoid", "ord"]
    );
    let (names, oids) = (types.texts(1), types.texts(2));
    let (kinds, elements) = (types.texts(5), types.texts(6));
    let at = |name: &str| names.iter().position(|n| n == name).unwrap_or_else(|| panic!("{name}"));
    for (name, oid) in
        [("text", "25"), ("int8", "20"), ("float8", "701"), ("bool", "16"), ("timestamptz", "1184")]
    {
        assert_eq!((oids[at(name)].as_str(), kinds[at(name)].as_str()), (oid, "b"), "{name}");
    }
    assert_eq!((kinds[at("_text")].as_str(), elements[at("_text")].as_str()), ("a", "25"));
    assert!(types.texts(0).iter().any(|schema| schema == "pg_catalog"));
    assert!(types.texts(7).windows(2).all(|pair| pair[0] <= pair[1]), "ordered");
    assert_eq!(loaded[1].names(), ["oid", "attname", "atttypid"]);
    assert_eq!(loaded[2].names(), ["oid", "enumlabel"]);
    assert!(loaded[1].rows.is_empty() && loaded[2].rows.is_empty());

    assert_eq!(wire.query(CHARACTER_SETS, 1).texts(0), ["UTF8"]);
    let tables = wire.query(TABLES, 1);
    assert_eq!(tables.names(), ["table_schema", "table_name", "table_type"]);
    assert!(tables.texts(1).contains(&"silver_events".to_owned()));
    assert!(!tables.texts(1).contains(&"bronze_events".to_owned()));
    assert!(tables.texts(2).iter().all(|kind| kind == "BASE TABLE"));
    let columns = wire.query(COLUMNS, 1);
    assert_eq!(columns.names(), ["column_name", "ordinal_position", "is_nullable", "data_type"]);
    let (names, kinds) = (columns.texts(0), columns.texts(3));
    let kind = |name: &str| &kinds[names.iter().position(|n| n == name).unwrap()];
    assert_eq!(kind("window_start"), "timestamp with time zone");
    assert_eq!(kind("events"), "bigint");
    assert_eq!(kind("heart_rate_mean"), "double precision");
    assert_eq!(columns.rows[1][1].as_deref(), Some(&2_u32.to_be_bytes()[..]));
    for (sql, names) in [
        (REFERRING, "pk_column_name fk_table_schema fk_table_name fk_column_name ordinal fk_name"),
        (REFERRED, "pk_table_schema pk_table_name pk_column_name fk_column_name ordinal fk_name"),
        (INDEXES, "index_name column_name ordinal_position primary_key"),
    ] {
        let none = wire.query(sql, 1);
        assert_eq!(none.names().join(" "), names);
        assert!(none.rows.is_empty());
    }

    // The connection goes back to the pool and is used again: the next batch comes along, nobody waits between them.
    wire.send(Some(b'Q'), b"DISCARD ALL\0");
    wire.ask(PREVIEW, 1);
    wire.send(Some(b'S'), b"");
    let discarded = wire.until_ready();
    assert_eq!(discarded.iter().map(|message| message.kind).collect::<Vec<_>>(), b"CZ");
    assert_eq!(&discarded[0].body[..], b"DISCARD ALL\0");
    let preview = answers(&wire.until_ready()).remove(0);
    assert_eq!(
        preview.columns,
        [("window_start".to_owned(), 1184, 1), ("events".to_owned(), 20, 1)]
    );
    assert!(!preview.rows.is_empty());
    assert_eq!(preview.rows[0][0].as_ref().unwrap().len(), 8);

    let direct = wire.query(DIRECT_QUERY, 1);
    assert_eq!(direct.columns, [("event_type".to_owned(), 25, 1), ("a0".to_owned(), 20, 1)]);
    let sum: i64 = direct
        .rows
        .iter()
        .map(|row| i64::from_be_bytes(row[1].clone().unwrap().try_into().unwrap()))
        .sum();
    let mut client = WORLD.connect("clinician");
    assert_eq!(sum, count(&mut client, "select sum(patient_id) from silver_events"));
}

#[test]
fn an_error_in_a_batch_skips_to_its_end() {
    let mut wire = WORLD.wire("clinician");
    wire.ask("select nothing from silver_events", 1);
    wire.ask("select 1", 1);
    let messages = wire.sync();
    assert_eq!(messages.iter().map(|message| message.kind).collect::<Vec<_>>(), b"EZ");
    let text = String::from_utf8_lossy(&messages[0].body).into_owned();
    assert!(text.contains("C42703\0"), "{text}");
    assert_eq!(wire.query("select 1", 0).texts(0), ["1"]);
}
