"""Where queries run: DataFusion over the Delta tables, or the SQL endpoint."""

import pathlib

TABLES = [
    "bronze/events",
    "silver/events",
    "quarantine/events",
    "late/events",
    "gold/kpis",
    "gold/vitals_by_minute",
    "gold/vitals_by_bp_category",
    "gold/patient_vitals",
    "gold/medications",
    "alerts/events",
    "meta/checkpoints",
]


class Database:
    Error = Exception
    asked = 0

    def examine(self, where, sql, fits=lambda where, kinds: (), sparse=False):
        """Complains about SQL that does not run, gives no row or, unless sparse, a column of nulls, or does not fit."""
        self.asked += 1
        try:
            kinds, rows = self.query(sql)
        except self.Error as e:
            yield f"{where}: {self.reason(e)}: {sql}"
            return
        if not rows:
            yield f"{where}: no rows: {sql}"
        for at, name in enumerate(kinds):
            if rows and not sparse and all(row[at] is None for row in rows):
                yield f"{where}: column {name} holds nulls only: {sql}"
        yield from fits(where, kinds)

    @staticmethod
    def reason(error):
        return " ".join(str(error).split())[:300]


class Tables(Database):
    """The tables of a data folder, under the names that the SQL endpoint gives them."""

    def __init__(self, folder):
        from datafusion import SessionContext
        from deltalake import DeltaTable

        self.context, self.tables = SessionContext(), {}
        for path in TABLES:
            if (pathlib.Path(folder) / path / "_delta_log").is_dir():
                self.tables[path] = DeltaTable(str(pathlib.Path(folder) / path))
                self.context.register_table(path.replace("/", "_"), self.tables[path])
        if not self.tables:
            raise SystemExit(f"error: {folder} holds no Delta tables")

    def columns(self, path):
        return {f.name for f in self.tables[path].schema().fields} if path in self.tables else set()

    def query(self, sql):
        result = self.context.sql(sql).to_arrow_table()
        kinds = {f.name: arrow_kind(f.type) for f in result.schema}
        return kinds, list(zip(*(c.to_pylist() for c in result.columns))) if result.num_rows else []


def arrow_kind(kind):
    import pyarrow.types as t

    for test, name in [
        (t.is_boolean, "Boolean"),
        (t.is_integer, "Int64"),
        (t.is_floating, "Double"),
        (t.is_decimal, "Decimal"),
        (t.is_timestamp, "DateTime"),
        (t.is_date, "DateTime"),
        (t.is_string, "String"),
        (t.is_large_string, "String"),
        (t.is_string_view, "String"),
    ]:
        if test(kind):
            return name
    return str(kind)


class Endpoint(Database):
    """A server that speaks PostgreSQL's protocol."""

    OIDS = {
        16: "Boolean",
        20: "Int64",
        21: "Int64",
        23: "Int64",
        700: "Double",
        701: "Double",
        1700: "Decimal",
        1082: "DateTime",
        1114: "DateTime",
        1184: "DateTime",
        18: "String",
        19: "String",
        25: "String",
        1042: "String",
        1043: "String",
    }

    def __init__(self, url):
        import psycopg

        self.Error = psycopg.Error
        try:
            self.connection = psycopg.connect(url, autocommit=True, connect_timeout=10)
        except psycopg.Error as e:
            raise SystemExit(f"error: the SQL endpoint cannot be reached: {self.reason(e)}") from None

    def query(self, sql):
        # Binary results, as Power BI's driver asks for them.
        with self.connection.cursor(binary=True) as cursor:
            cursor.execute(sql)
            return {
                c.name: self.OIDS.get(c.type_code, f"type {c.type_code}") for c in cursor.description
            }, cursor.fetchall()
