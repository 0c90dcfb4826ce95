//! `SQLAlchemy` and `asyncpg` as people have them.

use super::clients::{or_skip, psycopg};
use super::installed::python;
use super::world::{WORLD, count};

#[test]
fn sqlalchemy_reflects_tables_and_reads_them() {
    let Some(python) = or_skip(python()) else { return };
    let world = &*WORLD;
    let script = "
import os, sqlalchemy as sa
it = dict(part.split('=', 1) for part in os.environ['DSN'].split())
engine = sa.create_engine(sa.URL.create(
    'postgresql+psycopg', it['user'], it['password'], it['host'], int(it['port']), it['dbname']))
look = sa.inspect(engine)
assert look.get_schema_names() == ['information_schema', 'public'], look.get_schema_names()
assert look.has_table('silver_events') and not look.has_table('bronze_events')
assert look.get_view_names() == []
assert look.get_pk_constraint('silver_events')['constrained_columns'] == []
for keys in [look.get_indexes, look.get_unique_constraints, look.get_foreign_keys, look.get_check_constraints]:
    assert keys('silver_events') == [], keys
columns = {column['name']: column for column in look.get_columns('silver_events')}
assert columns['event_id']['nullable'] and not columns['patient_id']['nullable'], columns
assert all(column['default'] is None for column in columns.values()), columns
events = sa.Table('silver_events', sa.MetaData(), autoload_with=engine)
types = {column.name: str(column.type) for column in events.columns}
assert (types['patient_id'], types['oxygen'], types['name']) == ('BIGINT', 'BOOLEAN', 'TEXT'), types
assert events.c.event_time.type.timezone and len(events.primary_key) == 0
every = sa.MetaData()
every.reflect(engine)
assert 'silver_events' in every.tables and 'bronze_events' not in every.tables, every.tables
with engine.connect() as c:
    rows = c.execute(sa.select(events).where(events.c.patient_id > 1000).order_by(events.c.event_time).limit(3)).all()
    assert len(rows) == 3 and all(row.patient_id > 1000 for row in rows), rows
    print(c.execute(sa.select(sa.func.count()).select_from(events)).scalar_one())
";
    let output = psycopg(&python, world, script);
    let mut client = world.connect("clinician");
    let expected = count(&mut client, "select count(*) from silver_events");
    assert_eq!(output.trim(), expected.to_string());
}

#[test]
fn a_pool_of_asyncpg_gives_a_connection_twice() {
    let Some(python) = or_skip(python()) else { return };
    let world = &*WORLD;
    let script = "
import asyncio, asyncpg, os
it = dict(part.split('=', 1) for part in os.environ['DSN'].split())
async def main():
    async with asyncpg.create_pool(
            host=it['host'], port=int(it['port']), user=it['user'], password=it['password'],
            database=it['dbname'], min_size=1, max_size=1) as pool:
        for _ in range(2):
            async with pool.acquire() as c:
                # What was set has gone with whoever had the connection before.
                assert await c.fetchval('show application_name') == ''
                await c.execute(\"set application_name = 'mine'\")
                asked = await c.prepare('select patient_id, event_time from silver_events where patient_id > $1 limit 5')
                rows = await asked.fetch(1000)
                assert len(rows) == 5 and rows[0]['patient_id'] > 1000 and rows[0]['event_time'].tzinfo, rows
        print(await pool.fetchval('select count(*) from silver_events'))
asyncio.run(main())
";
    let output = psycopg(&python, world, script);
    let mut client = world.connect("clinician");
    let expected = count(&mut client, "select count(*) from silver_events");
    assert_eq!(output.trim(), expected.to_string());
}
