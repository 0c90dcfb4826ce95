#!/usr/bin/env python3
"""Checks the Power BI project and Grafana's dashboards, and runs every query that they need.

pipelines/powerbi/validate.py                                   the files only
pipelines/powerbi/validate.py --tables data                     and the queries, by DataFusion over the Delta tables
pipelines/powerbi/validate.py --sql postgresql://viewer@127.0.0.1:5433/healthcare
                                                                and the queries, by the SQL endpoint

The password of --sql may stand in PGPASSWORD. Exit code 0: all is well; 1: each line names one fault. What has to be
installed stands in requirements.txt, and Node.js with the package of package.json.
"""

import argparse
import pathlib
import sys

from checks import database, directquery, expressions, grafana, layout, model, schemas

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--tables", metavar="DIR", help="data folder of the pipeline")
    source.add_argument("--sql", metavar="URL", help="SQL endpoint")
    parser.add_argument("--project", metavar="DIR", type=pathlib.Path, default=HERE, help="folder of Healthcare.pbip")
    parser.add_argument("--grafana", metavar="DIR", type=pathlib.Path, default=HERE.parent / "grafana")
    given = parser.parse_args()
    faults = list(check(given))
    for fault in faults:
        print(f"error: {fault}")
    print(f"{len(faults)} faults" if faults else "no faults")
    return 1 if faults else 0


def check(given):
    """Yields a line per fault. A step that later ones build upon ends the check if it finds one."""
    found = list(step("JSON files", schemas.check(given.project, HERE / "schemas")))
    semantic, problems = model.load(given.project / "Healthcare.SemanticModel" / "definition")
    found += step("model", problems)
    if found:
        yield from found
        return
    report = layout.load(given.project / "Healthcare.Report" / "definition")
    found += step("expressions", expressions.check(semantic))
    found += step("model's own names", model.check(semantic))
    found += step("report", layout.check(report, semantic))
    boards = grafana.load(given.grafana)
    found += step("Grafana", grafana.check(boards, given.grafana))
    yield from found
    if found or not (given.tables or given.sql):
        return
    source = database.Tables(given.tables) if given.tables else database.Endpoint(given.sql)
    yield from step("Power BI's queries", directquery.check(source, semantic, report))
    yield from step("Grafana's queries", grafana.run(source, boards))
    if given.tables:
        yield from step("columns to import", model.check_folder(semantic, source))
    print(f"{source.asked} queries run")
    if not source.asked:
        yield "there was no query to run"


def step(name, found):
    found = list(found)
    print(f"{name}: {'ok' if not found else f'{len(found)} faults'}")
    return found


if __name__ == "__main__":
    sys.exit(main())
