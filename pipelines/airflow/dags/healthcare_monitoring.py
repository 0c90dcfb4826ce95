"""A look at the job every five minutes. `healthcare monitor` tells the webhook what is wrong, this DAG that it failed."""

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from healthcare_commands import DEFAULTS, command

with DAG(
    dag_id="healthcare_monitoring",
    description="Checkpoints, arrivals, gold and lag against their limits",
    schedule="*/5 * * * *",
    start_date=datetime(2025, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS | {"execution_timeout": timedelta(minutes=4)},
    tags=["healthcare"],
):
    command("monitor", retries=0)
