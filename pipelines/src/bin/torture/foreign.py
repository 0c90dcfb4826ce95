"""Another writer of a table that a job is committing to: foreign.py TABLE optimize|vacuum|column

Prints how many files it merged or deleted, or how many columns it added.
"""
import os
import sys

import deltalake

path, what = sys.argv[1:]
table = deltalake.DeltaTable(path)
if what == "optimize":
    done = table.optimize.compact()["numFilesRemoved"]
elif what == "vacuum":
    # Removed files only: a file that waits for its commit is nobody's but the job's.
    vacuum = lambda dry_run: table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=dry_run)
    # It lists those that an earlier one deleted, too.
    done = sum(os.path.exists(os.path.join(path, file)) for file in vacuum(True))
    vacuum(False)
elif what == "column":
    names = {field.name for field in table.schema().fields}
    number = sum(name.startswith("added_by_others_") for name in names)
    field = deltalake.Field(f"added_by_others_{number}", deltalake.schema.PrimitiveType("long"))
    table.alter.add_columns([field])
    done = 1
else:
    sys.exit(f"what is {what}?")
print(done, flush=True)
# The libraries' threads may abort a process that ends in the usual way.
os._exit(0)
