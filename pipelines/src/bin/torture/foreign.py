"""Another writer of a table that a job is committing to: foreign.py TABLE optimize|vacuum|column"""
import sys
import deltalake
import pyarrow as pa

path, what = sys.argv[1:]
table = deltalake.DeltaTable(path)
if what == "optimize":
    table.optimize.compact()
elif what == "vacuum":
    # Removed files only: a file that waits for its commit is nobody's but the job's.
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
elif what == "column":
    names = {field.name for field in table.schema().fields}
    number = sum(name.startswith("added_by_others_") for name in names)
    field = deltalake.Field(f"added_by_others_{number}", deltalake.schema.PrimitiveType("long"))
    table.alter.add_columns([field])
else:
    sys.exit(f"what is {what}?")
