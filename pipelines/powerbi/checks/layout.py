"""The report: pages, visuals, the fields that they show."""

import json
import re
from dataclasses import dataclass

# What each page is there for, by the names of its visuals.
WANTED = {
    "Real-time monitoring": {"temperature-trend", "heart-rate-trend", "vitals-by-bp", "event-types", "medications"},
    "KPIs": {
        *("patients", "heart-rate", "temperature", "spo2", "respiratory-rate", "temperature-by-bp"),
        *("vitals-by-event-type", "spo2-trend", "respiratory-rate-trend"),
    },
}
ROLES = {
    "cardVisual": {"Data"},
    "slicer": {"Values"},
    "lineChart": {"Category", "Y"},
    "clusteredColumnChart": {"Category", "Y"},
    "clusteredBarChart": {"Category", "Y"},
}


@dataclass
class Visual:
    name: str
    kind: str
    title: str
    at: tuple
    roles: dict
    fields: list
    value: dict


@dataclass
class Page:
    name: str
    title: str
    value: dict
    visuals: list


def load(definition):
    pages = []
    order = json.loads((definition / "pages" / "pages.json").read_text("utf-8"))["pageOrder"]
    folders = {path.parent.name: path for path in (definition / "pages").glob("*/page.json")}
    for name in order + sorted(set(folders) - set(order)):
        if name in folders:
            value = json.loads(folders[name].read_text("utf-8"))
            visuals = [visual(path) for path in sorted(folders[name].parent.glob("visuals/*/visual.json"))]
            pages.append(
                Page(name, value["displayName"], value, sorted(visuals, key=lambda v: v.value["position"]["tabOrder"]))
            )
    return pages


def visual(path):
    value = json.loads(path.read_text("utf-8"))
    shown = value["visual"]
    roles = {}
    for role, state in shown.get("query", {}).get("queryState", {}).items():
        roles[role] = [(reference(p["field"]), p.get("displayName")) for p in state["projections"]]
    at = tuple(value["position"][k] for k in ("x", "y", "width", "height"))
    title = literal(shown.get("visualContainerObjects", {}).get("title", [{}])[0].get("properties", {}).get("text"))
    return Visual(path.parent.name, shown["visualType"], title, at, roles, list(references(shown)), value)


def reference(value):
    """('Column' or 'Measure', table, name)."""
    kind, inner = next(iter(value.items()))
    return kind, inner["Expression"]["SourceRef"].get("Entity"), inner["Property"]


def references(value, names=None):
    """Every field below `value`; a filter gives tables short names first."""
    if isinstance(value, list):
        for item in value:
            yield from references(item, names)
    elif isinstance(value, dict):
        if isinstance(value.get("From"), list):
            names = {f["Name"]: f["Entity"] for f in value["From"]}
        for key, inner in value.items():
            if key in ("Column", "Measure") and isinstance(inner, dict) and "Property" in inner:
                source = inner["Expression"]["SourceRef"]
                yield key, source.get("Entity") or (names or {}).get(source.get("Source")), inner["Property"]
            else:
                yield from references(inner, names)


def literal(value):
    return value["expr"]["Literal"]["Value"].strip("'") if value else ""


def check(pages, model):
    there = {page.title: {visual.name for visual in page.visuals} for page in pages}
    for title, wanted in WANTED.items():
        if title not in there:
            yield f"report: page {title} is missing"
        elif wanted - there[title]:
            yield f"page {title}: {', '.join(sorted(wanted - there[title]))} is missing"
    for page in pages:
        if page.value["name"] != page.name:
            yield f"page {page.name}: its folder and its name differ"
        refresh = page.value.get("objects", {}).get("pageRefresh", [{}])[0].get("properties", {})
        if literal(refresh.get("show")) != "true" or not re.fullmatch(r"PT\d+[SM]", literal(refresh.get("duration"))):
            yield f"page {page.name}: no automatic page refresh"
        yield from unknown(f"page {page.name}", references(page.value), model)
        for one in page.visuals:
            where = f"visual {page.name}/{one.name}"
            if one.value["name"] != one.name:
                yield f"{where}: its folder and its name differ"
            if one.kind not in ROLES:
                yield f"{where}: {one.kind} is no kind of visual that is checked here"
            elif set(one.roles) != ROLES[one.kind] or not all(one.roles.values()):
                yield f"{where}: a {one.kind} needs fields for {' and '.join(sorted(ROLES[one.kind]))}"
            alt = one.value["visual"].get("visualContainerObjects", {}).get("general", [{}])[0].get("properties", {})
            if not one.title or not literal(alt.get("altText")):
                yield f"{where}: no title or no text for screen readers"
            x, y, width, height = one.at
            if x < 0 or y < 0 or x + width > page.value["width"] or y + height > page.value["height"]:
                yield f"{where}: not within the page"
            for other in page.visuals:
                if other.name > one.name and overlap(one.at, other.at):
                    yield f"{where}: lies over {other.name}"
            yield from unknown(where, one.fields, model)


def overlap(a, b):
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def unknown(where, fields, model):
    for kind, table, name in fields:
        there = model.tables.get(table)
        if there is None or name not in (there.columns if kind == "Column" else there.measures):
            yield f"{where}: the model has no {kind.lower()} {table}[{name}]"
