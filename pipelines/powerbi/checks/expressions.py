"""M by Microsoft's parser, DAX by pbi-parsers; and DAX resolved against the model, down to aggregates that fold."""

import json
import pathlib
import re
import subprocess

from pbi_parsers import dax

AGGREGATE = re.compile(r"(SUM|MIN|MAX|DISTINCTCOUNT)\('([^']+)'\[([^\]]+)\]\)")
RATIO = re.compile(rf"DIVIDE\(({AGGREGATE.pattern}), ({AGGREGATE.pattern})\)")


def aggregates(expression):
    """(function, table, column) of a measure: one, or the two of a DIVIDE. None for what is neither.

    Measures are kept this simple so that DirectQuery turns each into one aggregate query.
    """
    expression = expression.strip()
    if AGGREGATE.fullmatch(expression) or RATIO.fullmatch(expression):
        return AGGREGATE.findall(expression)
    return None


def check(model):
    texts = {t.name: t.expression for t in model.tables.values()} | model.parameters
    script = pathlib.Path(__file__).with_suffix(".js")
    node = subprocess.run(["node", script], input=json.dumps(texts), capture_output=True, text=True, check=False)
    if node.returncode:
        yield f"Node.js does not run {script.name}: install package.json, set NODE_PATH to its node_modules"
        return
    for name, complaint in json.loads(node.stdout).items():
        yield f"M of {name}: {complaint}"
    for table in model.tables.values():
        for name, expression in table.measures.items():
            try:
                dax.to_ast(expression)
            except (AssertionError, ValueError) as e:
                yield f"DAX of [{name}]: {str(e)[:100] or 'cannot be read'}"
                continue
            parts = aggregates(expression)
            if parts is None:
                yield f"DAX of [{name}]: neither an aggregate of a column nor DIVIDE of two"
            for _, owner, column in parts or []:
                if owner not in model.tables or column not in model.tables[owner].columns:
                    yield f"DAX of [{name}]: there is no column '{owner}'[{column}]"
