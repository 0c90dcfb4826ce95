"""An Airflow for tests that goes away with them. To be imported before it: settings are read when it is loaded."""

import os
import pathlib
import sys
import tempfile

HOME = tempfile.TemporaryDirectory()
DAGS = pathlib.Path(__file__).parent / "dags"

os.environ |= {
    "AIRFLOW_HOME": HOME.name,
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    # As some have it from earlier releases: runs of a cron expression then bear the time before.
    "AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS": "True",
    "HEALTHCARE_RETRIES": "0",
}
os.environ.pop("THALWEG_WEBHOOK_URL", None)
sys.path.insert(0, str(DAGS))
