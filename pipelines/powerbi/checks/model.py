"""The semantic model, read by Microsoft's own TMDL parser (Tabular Object Model on .NET for Linux)."""

import functools
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass, field


@dataclass
class Column:
    name: str
    source: str
    kind: str
    sorted_by: str | None = None


@dataclass
class Table:
    name: str
    mode: str
    expression: str
    columns: dict = field(default_factory=dict)
    measures: dict = field(default_factory=dict)
    formats: dict = field(default_factory=dict)

    @property
    def native(self):
        """The SQL that the table's rows come from; None for a table that is not asked of the endpoint."""
        found = re.search(
            r'Value\.NativeQuery\(PostgreSQL\.Database\(Server, Database\), "\s*(.*?)\s*", null', self.expression, re.S
        )
        return re.sub(r"\s+", " ", found.group(1)) if found and self.mode == "DirectQuery" else None


@dataclass
class Model:
    tables: dict
    relationships: list
    parameters: dict


def load(definition):
    """The model and the parser's complaints. It is parsed a second time as guide/power-bi.md has it for imports."""
    parse = parser()
    try:
        model = parse(definition)
    except Exception as e:
        return None, [f"Microsoft's TMDL parser refuses {culprit(parse, definition)}: {str(e).splitlines()[0][:200]}"]
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "definition"
        shutil.copytree(definition, copy)
        for path in (copy / "tables").glob("*.tmdl"):
            path.write_text(path.read_text("utf-8").replace("mode: directQuery", "mode: import"), "utf-8")
        imported = convert(parse(copy))
        problems += [
            f"table {t.name} does not turn into an import" for t in imported.tables.values() if t.mode != "Import"
        ]
    problems += [f"model: {error.Message}" for error in model.Validate().Errors]
    return convert(model), problems


def culprit(parse, definition):
    """Which file it is: the parser's own message needs an assembly that is not there on Linux."""
    for path in sorted((definition / "tables").glob("*.tmdl")):
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder)
            (copy / "tables").mkdir()
            shutil.copy(path, copy / "tables")
            (copy / "database.tmdl").write_text("database\n\tcompatibilityLevel: 1601\n", "utf-8")
            (copy / "model.tmdl").write_text("model Model\n", "utf-8")
            try:
                parse(copy)
            except Exception:
                return f"tables/{path.name}"
    return "model.tmdl, relationships.tmdl or expressions.tmdl"


@functools.cache
def parser():
    """Microsoft's parser as a function of a folder; .NET starts once a process."""
    os.environ["DOTNET_SYSTEM_GLOBALIZATION_INVARIANT"] = "1"
    import clr_loader
    import dotnetcore2
    import pbi_cli
    import pythonnet

    root = pathlib.Path(dotnetcore2.__file__).parent / "bin"
    (root / "dotnet").chmod(0o755)
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "runtimeconfig.json"
        framework = {"name": "Microsoft.NETCore.App", "version": "3.1.0"}
        config.write_text(json.dumps({"runtimeOptions": {"tfm": "netcoreapp3.1", "framework": framework}}))
        pythonnet.set_runtime(clr_loader.get_coreclr(runtime_config=str(config), dotnet_root=str(root)))
        import clr
    sys.path.append(str(pathlib.Path(pbi_cli.__file__).parent / "dlls"))
    clr.AddReference("Microsoft.AnalysisServices.Tabular")
    from Microsoft.AnalysisServices.Tabular import TmdlSerializer

    return lambda folder: TmdlSerializer.DeserializeDatabaseFromFolder(str(folder)).Model


def convert(model):
    tables = {}
    for t in model.Tables:
        partitions = list(t.Partitions)
        table = Table(
            t.Name, str(partitions[0].Mode) if partitions else "", partitions[0].Source.Expression if partitions else ""
        )
        for c in t.Columns:
            by = c.SortByColumn
            table.columns[c.Name] = Column(c.Name, c.SourceColumn, str(c.DataType), by.Name if by is not None else None)
        table.measures = {m.Name: m.Expression for m in t.Measures}
        table.formats = {m.Name: m.FormatString for m in t.Measures}
        tables[t.Name] = table
    relationships = [
        ((r.FromTable.Name, r.FromColumn.Name), (r.ToTable.Name, r.ToColumn.Name)) for r in model.Relationships
    ]
    return Model(tables, relationships, {e.Name: e.Expression for e in model.Expressions})


def check(model):
    """That what the parser does not resolve fits together."""
    names = [measure for table in model.tables.values() for measure in table.measures]
    for name in {n for n in names if names.count(n) > 1}:
        yield f"measure {name} is there twice"
    for table in model.tables.values():
        for column in table.columns.values():
            if not re.search(rf"\b{re.escape(column.source)}\b", table.expression):
                yield f"{table.name}[{column.name}]: its source gives no column {column.source}"
        if table.mode == "DirectQuery" and not table.native:
            yield f"{table.name}: no native query to run"
        if table.mode == "DirectQuery" and not any(
            end[0] == table.name for end, to in model.relationships if to[0] == "Date"
        ):
            yield f"{table.name}: not related to Date"
    for name in ("DataSource", "Server", "Database", "DeltaFolder"):
        if "IsParameterQuery=true" not in model.parameters.get(name, ""):
            yield f"parameter {name} is missing"


def check_folder(model, source):
    """That each Delta table has the columns that the native query, and so the import, begins with."""
    for table in model.tables.values():
        if not table.native:
            continue
        folder = re.search(r'DeltaFolder & "\\(\w+)"', table.expression)
        if not folder:
            yield f"{table.name}: imports no Delta table"
            continue
        there = source.columns(f"gold/{folder.group(1)}")
        made = re.compile(r"(^above_normal_events|_total|_date)$")
        for column in table.columns.values():
            if not made.search(column.source) and column.source not in there:
                yield f"{table.name}[{column.name}]: gold/{folder.group(1)} has no column {column.source}"
