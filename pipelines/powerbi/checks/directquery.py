"""The SQL that the report's visuals lead to, in the shape that Power BI gives it, run against the tables.

A table's rows come from its native query. A visual becomes one aggregate query per table that its measures are about;
fields of the two imported tables (days, categories) are looked up by Power BI itself, by the column that relates them.
"""

from checks.expressions import aggregates

FUNCTIONS = {"SUM": "sum({})", "MIN": "min({})", "MAX": "max({})", "DISTINCTCOUNT": "count(distinct {})"}
LIMIT = 1000001


def check(source, model, pages):
    for table in model.tables.values():
        if table.native:
            yield from native(source, table)
        for name, expression in table.measures.items():
            yield from source.examine(f"measure {name}", query(model, table.name, aggregates(expression), [], None))
    for page in pages:
        days = recent_days(source, model) if page.value.get("filterConfig") else None
        for visual in page.visuals:
            where = f"visual {page.name}/{visual.name}"
            try:
                asked = queries(visual, model, days)
            except LookupError as e:
                yield f"{where}: {e.args[0]}"
                continue
            for sql in asked:
                yield from source.examine(where, sql)


def native(source, table):
    """That the endpoint gives the columns that the model has, of the types that it has them in."""

    def fits(where, kinds):
        for column in table.columns.values():
            if column.source not in kinds:
                yield f"{where}: the query gives no column {column.source}"
            elif kinds[column.source] != column.kind:
                yield f"{where}: column {column.source} is {kinds[column.source]}, the model says {column.kind}"

    return source.examine(f"table {table.name}", f'select * from ( {table.native} ) "_" limit 4096', fits, sparse=True)


def recent_days(source, model):
    """The page's filter on recent days, as if today were the day of the newest minute."""
    newest = f'select max("_"."window_date") as "d" from ( {model.tables["KPIs"].native} ) "_"'
    return [f"date '{source.query(newest)[1][0][0]}'"]


def queries(visual, model, days):
    """SQL of a visual; nothing for one that shows imported rows only."""
    groups = [f for role in ("Category", "Values", "Data") for f, _ in visual.roles.get(role, []) if f[0] == "Column"]
    measures = [f for role in ("Y", "Data") for f, _ in visual.roles.get(role, []) if f[0] == "Measure"]
    sets = {}
    for _, owner, name in measures:
        for part in aggregates(model.tables[owner].measures[name]):
            sets.setdefault(part[1], []).append(part)
    if not sets and groups and model.tables[groups[0][1]].native:
        sets[groups[0][1]] = []
    return [query(model, table, parts, groups, days) for table, parts in sets.items()]


def query(model, table, parts, groups, days):
    columns = model.tables[table].columns
    by = [key(model, table, owner, name) for _, owner, name in groups]
    wanted = by + [columns[name].source for _, _, name in parts]
    inner = ", ".join(f'"_"."{name}"' for name in dict.fromkeys(wanted))
    filtered = f' where "_"."window_date" in ({", ".join(days)})' if days else ""
    shown = [f'"rows"."{name}" as "{name}"' for name in by]
    for number, (function, _, name) in enumerate(dict.fromkeys(parts)):
        aggregate = FUNCTIONS[function].format(f'"rows"."{columns[name].source}"')
        shown.append(f'{aggregate} as "a{number}"')
    grouped = " group by " + ", ".join(f'"{name}"' for name in by) if by else ""
    rows = f'select {inner} from ( {model.tables[table].native} ) "_"{filtered}'
    return f'select {", ".join(shown)} from ( {rows} ) "rows"{grouped} limit {LIMIT}'


def key(model, table, owner, name):
    """The column of `table` by which rows are grouped for a field of `owner`."""
    if owner == table:
        return model.tables[table].columns[name].source
    for (many, column), (one, _) in model.relationships:
        if many == table and one == owner:
            return model.tables[table].columns[column].source
    raise LookupError(f"{owner}[{name}] is not related to {table}")


def answer(source, visual, model, days):
    """What a visual shows: names of its columns, formats of its measures, and rows. All measures are of one table."""
    (sql,) = queries(visual, model, days)
    shown = [
        (f, name or f[2]) for role in ("Category", "Values", "Data", "Y") for f, name in visual.roles.get(role, [])
    ]
    measures = [f for f, _ in shown if f[0] == "Measure"]
    parts = [aggregates(model.tables[owner].measures[name]) for _, owner, name in measures]
    place = {part: at for at, part in enumerate(dict.fromkeys(part for each in parts for part in each))}
    groups = len(shown) - len(measures)
    rows = []
    for row in source.query(sql)[1]:
        values = [[row[groups + place[part]] for part in each] for each in parts]
        rows.append([*row[:groups], *(v[0] if len(v) == 1 else v[0] / v[1] if v[1] else None for v in values)])
    formats = [model.tables[owner].formats[name] for _, owner, name in measures]
    return [name for _, name in shown], formats, rows
