"""A look at the job every five minutes. `healthcare monitor` tells the webhook what is wrong, this DAG that it failed."""

from datetime import timedelta

from airflow.sdk import DAG

from healthcare_commands import DEFAULTS, SHARED, at, command

with DAG(
    dag_id="healthcare_monitoring",
    description="Checkpoints, arrivals, gold and lag against their limits",
    schedule=at("*/5 * * * *"),
    **SHARED | {"default_args": DEFAULTS | {"execution_timeout": timedelta(minutes=4)}},
):
    command("monitor", retries=0)
