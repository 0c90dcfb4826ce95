"""Gold of a day compared with silver and mended, then summed up. Started by hand or by another DAG, with a date:

    airflow dags trigger healthcare_gold --conf '{"date": "2025-11-24"}'
"""

from airflow.sdk import DAG

from healthcare_commands import SHARED, TODAY, command

with DAG(
    dag_id="healthcare_gold",
    description="Mend the gold of a day from its silver",
    schedule=None,
    **SHARED,
):
    refresh = command("refresh", date=TODAY)
    report = command("report", date=TODAY, reports=True, trigger_rule="none_failed")
    refresh >> report
