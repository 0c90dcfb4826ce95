"""Every JSON file of the project against the schema that it names, from the copy of Microsoft's in `schemas`."""

import json
import pathlib

from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

BASE = "https://developer.microsoft.com/json-schemas/"
SUFFIXES = {".json", ".pbip", ".pbir", ".pbism"}


def files(project):
    for path in sorted(project.rglob("*")):
        outside = path.relative_to(project).parts[0] not in (
            "Healthcare.pbip",
            "Healthcare.Report",
            "Healthcare.SemanticModel",
        )
        if path.is_file() and not outside and (path.suffix in SUFFIXES or path.name == ".platform"):
            yield path


def check(project, folder):
    registry = Registry()
    for path in folder.rglob("schema*.json"):
        resource = Resource.from_contents(json.loads(path.read_text("utf-8")), default_specification=DRAFT7)
        registry = registry.with_resource(BASE + path.relative_to(folder).as_posix(), resource)
    checked = 0
    for path in files(project):
        checked += 1
        name = path.relative_to(project)
        try:
            value = json.loads(path.read_text("utf-8"))
        except ValueError as e:
            yield f"{name}: no JSON: {e}"
            continue
        schema = value.get("$schema") if isinstance(value, dict) else None
        if schema not in registry:
            yield f"{name}: its $schema is not in {pathlib.Path(folder).name}"
            continue
        for error in Draft7Validator({"$ref": schema}, registry=registry).iter_errors(value):
            yield f"{name}: at {error.json_path}: {error.message[:200]}"
    if not checked:
        yield f"{project} holds no Power BI project"
