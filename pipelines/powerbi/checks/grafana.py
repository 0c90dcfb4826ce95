"""Grafana's files: that they fit together, and that the SQL of every panel runs, its macros expanded as Grafana does."""

import datetime
import json
import re

import yaml

WANTED = {"Real-time monitoring", "KPIs"}
KINDS = {"timeseries": "time_series", "barchart": "table", "stat": "table"}
MACRO = re.compile(r"\$__(\w+)\(([^()]*)\)")
VARIABLE = re.compile(r"\$(\w+)")


def load(folder):
    return {path.name: json.loads(path.read_text("utf-8")) for path in sorted((folder / "dashboards").glob("*.json"))}


def check(boards, folder):
    sources = provisioned(folder, "datasources", "datasources")
    uids = {source.get("uid"): source for source in sources}
    for source in sources:
        if source.get("type") != "grafana-postgresql-datasource" or not source.get("url"):
            yield f"data source {source.get('name')}: no address, or not of Grafana's PostgreSQL plug-in"
        if not str(source.get("secureJsonData", {}).get("password", "")).startswith("$__file{"):
            yield f"data source {source.get('name')}: its password comes from no file"
    if not any(provider.get("options", {}).get("path") for provider in provisioned(folder, "dashboards", "providers")):
        yield "no provider of dashboards"
    missing = WANTED - {board.get("title") for board in boards.values()}
    if missing:
        yield f"dashboard {', '.join(sorted(missing))} is missing"
    for name, board in boards.items():
        if board.get("id") is not None or not board.get("uid") or not board.get("refresh"):
            yield f"{name}: a provisioned dashboard has a uid, a refresh and no id"
        ids = [panel["id"] for panel in board["panels"]]
        if len(set(ids)) < len(ids):
            yield f"{name}: two panels share an id"
        for variable in board["templating"]["list"]:
            if variable.get("includeAll") and not variable.get("allValue"):
                yield f"{name}: of {variable['name']} All is a list, which is empty before there are values: no SQL"
        for panel in board["panels"]:
            where = f"{name}: panel {panel.get('title')}"
            if panel["type"] not in KINDS:
                yield f"{where}: {panel['type']} is no kind of panel that is checked here"
                continue
            at = cell(panel)
            if at[0] < 0 or at[0] + at[2] > 24:
                yield f"{where}: not within the 24 columns"
            for other in board["panels"]:
                if other["id"] > panel["id"] and touching(at, cell(other)):
                    yield f"{where}: lies over {other['title']}"
            for target in panel["targets"]:
                if target["format"] != KINDS[panel["type"]]:
                    yield f"{where}: a {panel['type']} takes format {KINDS[panel['type']]}"
                if target["datasource"]["uid"] not in uids or panel["datasource"]["uid"] not in uids:
                    yield f"{where}: its data source is not provisioned"
                known = {variable["name"] for variable in board["templating"]["list"]}
                for used in VARIABLE.findall(MACRO.sub("", target["rawSql"])):
                    if used not in known:
                        yield f"{where}: there is no variable {used}"


def provisioned(folder, kind, key):
    return [
        one
        for path in sorted((folder / "provisioning" / kind).glob("*.yaml"))
        for one in yaml.safe_load(path.read_text("utf-8"))[key]
    ]


def cell(panel):
    return tuple(panel["gridPos"][k] for k in ("x", "y", "w", "h"))


def touching(a, b):
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def run(source, boards):
    try:
        times = source.query("select min(window_start) as a, max(window_end) as b from gold_kpis")[1][0]
    except source.Error as e:
        yield f"gold_kpis: {source.reason(e)}"
        return
    for name, board in boards.items():
        try:
            values = variables(source, board)
        except source.Error as e:
            yield f"{name}: its variables: {source.reason(e)}"
            continue
        for panel in board["panels"]:
            for target in panel["targets"]:
                where = f"{name}: panel {panel['title']}"
                asked = {expand(target["rawSql"], times, chosen): None for chosen in (values, values | alls(board))}
                for sql in asked:
                    yield from source.examine(where, sql, fit(panel["type"]))


def variables(source, board):
    """Each variable with all of its values, quoted as Grafana quotes several."""
    quoted = {}
    for variable in board["templating"]["list"]:
        rows = source.query(variable["query"])[1]
        quoted[variable["name"]] = ",".join("'" + str(value).replace("'", "''") + "'" for (value,) in rows)
    return quoted


def alls(board):
    """What stands for all values of a variable, and goes into the SQL as it is."""
    listed = board["templating"]["list"]
    return {variable["name"]: variable["allValue"] for variable in listed if variable.get("allValue")}


def expand(sql, times, values):
    """The macros of Grafana's PostgreSQL plug-in that are used here, and variables."""

    def macro(found):
        if found.group(1) != "timeFilter":
            raise LookupError(f"macro {found.group(1)} is not known to this check")
        return f"{found.group(2)} BETWEEN '{instant(times[0])}' AND '{instant(times[1])}'"

    sql = MACRO.sub(macro, sql)
    return VARIABLE.sub(lambda found: values.get(found.group(1), found.group(0)), sql)


def instant(time):
    return time.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def fit(kind):
    """What a kind of panel needs: a time and numbers, a text and numbers, or one value."""
    numbers = {"Int64", "Double", "Decimal"}

    def fits(where, kinds):
        (first, leading), *others = kinds.items()
        rest = all(other in numbers for _, other in others)
        if kind == "timeseries" and not (first == "time" and leading == "DateTime" and rest):
            yield f"{where}: a time series needs a column time, then numbers; there are {kinds}"
        if kind == "barchart" and not (leading == "String" and rest):
            yield f"{where}: bars need a text, then numbers; there are {kinds}"
        if kind == "stat" and (others or leading not in numbers | {"DateTime"}):
            yield f"{where}: needs one number or one time; there are {kinds}"

    return fits
