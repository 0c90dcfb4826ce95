"""The day so far, judged every hour: a bad feed is known of before the day is over."""

from datetime import datetime, timezone

from airflow.sdk import DAG

from healthcare_commands import DEFAULTS, TODAY, command

with DAG(
    dag_id="healthcare_quality",
    description="Judge the day so far",
    schedule="45 * * * *",
    start_date=datetime(2025, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["healthcare"],
):
    command("quality", date=TODAY, reports=True, retries=0)
