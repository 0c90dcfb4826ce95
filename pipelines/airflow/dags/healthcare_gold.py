"""Gold of a day compared with silver and mended, then judged again. Started by hand or by another DAG, with a date:

    airflow dags trigger healthcare_gold --conf '{"date": "2025-11-24"}'
"""

from datetime import datetime, timezone

from airflow.sdk import DAG

from healthcare_commands import DEFAULTS, TODAY, command

with DAG(
    dag_id="healthcare_gold",
    description="Mend the gold of a day from its silver",
    schedule=None,
    start_date=datetime(2025, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["healthcare"],
):
    refresh = command("refresh", date=TODAY)
    report = command("report", date=TODAY, reports=True, trigger_rule="none_failed")
    refresh >> report
