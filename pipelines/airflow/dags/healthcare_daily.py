"""The day before, once its last window has closed: gold compared with silver, the day judged and summed up, tables kept.

The stream itself needs no DAG: `healthcare run` is a service. What is left for a day is this.
"""

from airflow.sdk import DAG

from healthcare_commands import SHARED, YESTERDAY, at, command

with DAG(
    dag_id="healthcare_daily",
    description="Refresh, judge and report the day before; maintain the tables",
    schedule=at("20 1 * * *"),
    **SHARED,
):
    refresh = command("refresh", date=YESTERDAY)
    # A gate that is closed stays closed: trying again helps nobody.
    quality = command("quality", date=YESTERDAY, reports=True, trigger_rule="none_failed", retries=0)
    report = command("report", date=YESTERDAY, reports=True, trigger_rule="all_done")
    maintain = command("maintain", trigger_rule="all_done")
    # A run fails when one of its last tasks does, so nothing comes behind what is judged or told. Tables are maintained
    # whatever becomes of the rest.
    refresh >> [quality, report, maintain]
