//! Role × table × column, and who does not come in.

use std::collections::BTreeSet;

use postgres::NoTls;
use thalweg_pipelines::healthcare::serve::{ROLES, TABLES, files, roles};
use thalweg_serving::access::Users;
use thalweg_serving::sql::Limits;

use super::world::{WORLD, World, code};

/// Columns as `pg_catalog` tells them.
const ATTRIBUTES: &str = "select c.relname::text, a.attname::text from pg_catalog.pg_attribute a \
    left join pg_catalog.pg_class c on c.oid = a.attrelid where a.attnum > 0";

#[test]
fn every_role_sees_its_tables_and_columns_and_no_others() {
    let world = &*WORLD;
    let mut admin = world.connect("admin");
    let columns = "select table_name, column_name from information_schema.columns order by 1, 2";
    let every: BTreeSet<(String, String)> =
        admin.query(columns, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    let tables: BTreeSet<&str> = every.iter().map(|(table, _)| table.as_str()).collect();
    let expected: BTreeSet<&str> = TABLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(tables, expected);
    assert!(every.contains(&("bronze_events".to_owned(), "payload".to_owned())));
    for role in ROLES {
        let all = roles();
        let policy = all.policy(role).unwrap();
        let mut client = world.connect(role);
        let told: BTreeSet<(String, String)> = client
            .query(columns, &[])
            .unwrap()
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let visible: BTreeSet<(String, String)> =
            every.iter().filter(|(table, column)| policy.allows(table, column)).cloned().collect();
        assert_eq!(told, visible, "{role}");
        let attributes: BTreeSet<(String, String)> = client
            .query(ATTRIBUTES, &[])
            .unwrap()
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        assert_eq!(attributes, visible, "{role}");
        for (table, column) in &every {
            let allowed = policy.allows(table, column);
            if policy.columns(table).is_some() && !allowed {
                let asked = client.query(&format!("select \"{column}\" from {table}"), &[]);
                assert_eq!(code(asked), "42703", "{role} {table}.{column}");
            }
        }
        for table in &tables {
            let columns =
                every.iter().filter(|(of, column)| of == table && policy.allows(of, column));
            let columns: Vec<String> = columns.map(|(_, column)| format!("\"{column}\"")).collect();
            let columns = if columns.is_empty() { "1".to_owned() } else { columns.join(", ") };
            for name in [(*table).to_owned(), format!("public.{table}"), format!("\"{table}@v0\"")]
            {
                let asked = client.query(&format!("select {columns} from {name} limit 1"), &[]);
                match policy.columns(table) {
                    Some(_) => assert!(asked.is_ok(), "{role} {name}: {asked:?}"),
                    None => assert_eq!(code(asked), "42P01", "{role} {name}"),
                }
            }
        }
        let named = client
            .query("select relname::text from pg_catalog.pg_class where relkind = 'r'", &[])
            .unwrap();
        assert!(named.iter().any(|row| row.get::<_, String>(0) == "gold_kpis"), "{role}");
        for row in named {
            let name: String = row.get(0);
            assert!(
                policy.columns(&name).is_some() || !expected.contains(name.as_str()),
                "{role} {name}"
            );
        }
    }
    let row =
        world.connect("steward").query("select * from quarantine_events limit 1", &[]).unwrap();
    assert!(row[0].columns().iter().all(|column| column.name() != "payload"));
}

#[test]
fn a_connection_ends_when_its_token_is_replaced() {
    let folder = WORLD.data.parent().unwrap().with_file_name("replaced");
    drop(std::fs::remove_dir_all(&folder));
    let world = World::over(folder.join("data"), Limits::default(), None);
    let mut stolen = world.connect("viewer");
    stolen.query("select 1", &[]).unwrap();
    let users = files::users_file(&world.served.place, None).unwrap();
    let replace = |users: &mut Users| {
        users.remove("viewer")?;
        users.add("viewer", roles().named("viewer")?)
    };
    let next = Users::change(&users, replace).unwrap();
    assert_eq!(code(stolen.query("select 1", &[])), "28000");
    assert!(world.config("viewer").connect(NoTls).is_err());
    let mut config = world.config("viewer");
    let mut client = config.password(next.reveal()).connect(NoTls).unwrap();
    client.query("select 1", &[]).unwrap();
}

#[test]
fn who_is_not_known_or_was_removed_is_out() {
    let folder = WORLD.data.parent().unwrap().parent().unwrap().join("removed");
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let world = World::over(folder.join("data"), Limits::default(), None);
    let mut config = world.config("viewer");
    config.password("viewer.guess");
    let wrong = config.connect(NoTls).err().unwrap();
    assert_eq!(wrong.code().unwrap().code(), "28P01");
    let mut stranger = world.config("viewer");
    let unknown = stranger.user("nobody").connect(NoTls).err().unwrap();
    assert_eq!(wrong.as_db_error().unwrap().message(), unknown.as_db_error().unwrap().message());
    let mut elsewhere = world.config("viewer");
    let other = elsewhere.dbname("postgres").connect(NoTls).err().unwrap();
    assert_eq!(other.code().unwrap().code(), "3D000");

    let mut client = world.connect("viewer");
    client.query("select 1", &[]).unwrap();
    let users = files::users_file(&world.served.place, None).unwrap();
    Users::change(&users, |users| users.remove("viewer")).unwrap();
    assert_eq!(code(client.query("select 1", &[])), "28000");
    let mut admin = world.connect("admin");
    let whole = std::fs::read(&users).unwrap();
    std::fs::write(&users, "no users").unwrap();
    let error = admin.query("select 1", &[]).unwrap_err();
    let told = error.as_db_error().unwrap();
    assert_eq!(
        (told.code().code(), told.message()),
        ("58030", "the users cannot be read: nobody is answered")
    );
    std::fs::write(&users, whole).unwrap();
    admin.query("select 1", &[]).unwrap();
    assert!(world.config("viewer").connect(NoTls).is_err());
    let log = std::fs::read_to_string(world.audit_path()).unwrap();
    assert!(log.contains("\"action\":\"login\",\"kind\":\"sql\""), "{log}");
    assert!(log.contains("\"outcome\":\"refused\",\"reason\":\"28P01\""), "{log}");
}
