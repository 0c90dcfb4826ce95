"""The day so far, judged every hour: a bad feed is known of before the day is over."""

from airflow.sdk import DAG

from healthcare_commands import SHARED, TODAY, at, command

with DAG(
    dag_id="healthcare_quality",
    description="Judge the day so far",
    schedule=at("45 * * * *"),
    **SHARED,
):
    command("quality", date=TODAY, reports=True, retries=0)
