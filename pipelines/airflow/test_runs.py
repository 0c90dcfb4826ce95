"""Runs of the DAGs by Airflow itself, with a stub in the place of `healthcare`: which day a run is about, and which failures
fail it.

python -m unittest discover -s pipelines/airflow, where Airflow is installed
"""

import os
import pathlib
import tempfile
import unittest
from unittest import mock

import airflow_home

from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.encoders import coerce_to_core_timetable
from airflow.timetables.base import TimeRestriction
from airflow.utils.db import initdb
from pendulum import parse as instant

# Says what it was called with, and fails if that is the command that is to.
STUB = """#!/bin/sh
echo "$@" >>"$CALLS"
if [ "$1" = "$FAILING" ]; then exit 1; fi
echo '{}'
"""
DATED = ["healthcare_daily", "healthcare_quality", "healthcare_gold"]
# When the first run of a day starts.
SCHEDULED = {"healthcare_daily": "01:20", "healthcare_quality": "00:45", "healthcare_monitoring": "00:00"}
# By DAG and task that fails: what becomes of the others.
FAILURES = {
    ("healthcare_daily", "refresh"): {"quality": "upstream_failed", "report": "success", "maintain": "success"},
    ("healthcare_daily", "quality"): {"refresh": "success", "report": "success", "maintain": "success"},
    ("healthcare_daily", "report"): {"refresh": "success", "quality": "success", "maintain": "success"},
    ("healthcare_daily", "maintain"): {"refresh": "success", "quality": "success", "report": "success"},
    ("healthcare_gold", "refresh"): {"report": "upstream_failed"},
    ("healthcare_gold", "report"): {"refresh": "success"},
    ("healthcare_quality", "quality"): {},
    ("healthcare_monitoring", "monitor"): {},
}


class Runs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        initdb()
        bag = DagBag(str(airflow_home.DAGS))
        assert not bag.import_errors, bag.import_errors
        cls.dags = bag.dags

    def run_dag(self, name, failing="", **when):
        """The state of a run, those of its tasks, and what the stub was called with: words by command."""
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            stub, calls = folder / "healthcare", folder / "calls"
            stub.write_text(STUB, "utf-8")
            stub.chmod(0o755)
            calls.touch()
            variables = {
                "HEALTHCARE_BIN": str(stub),
                "HEALTHCARE_DATA_DIR": str(folder),
                "HEALTHCARE_REPORTS": str(folder),
                "CALLS": str(calls),
                "FAILING": failing,
            }
            with mock.patch.dict(os.environ, variables):
                run = self.dags[name].test(**when)
            words = [line.split() for line in calls.read_text("utf-8").splitlines()]
        states = {task.task_id: str(task.state) for task in run.get_task_instances()}
        return str(run.state), states, {command: rest for command, *rest in words}

    def dates(self, name, **when):
        """The days that the tasks of a run are about."""
        state, states, calls = self.run_dag(name, **when)
        self.assertEqual(state, "success", (when, states))
        self.assertEqual(calls.keys(), self.dags[name].task_dict.keys(), when)
        return {words[words.index("--date") + 1] for words in calls.values() if "--date" in words}

    def test_a_run_is_about_the_same_day_however_it_came_about(self):
        for when, before, so_far in [
            # Triggered without a date: there is no logical date.
            ({"logical_date": None, "run_after": instant("2025-11-25T00:20:00")}, "2025-11-24", "2025-11-25"),
            # One that is given counts, whenever that is.
            ({"logical_date": instant("2025-11-25T00:20:00")}, "2025-11-24", "2025-11-25"),
            ({"logical_date": None, "run_conf": {"date": "2025-11-20"}}, "2025-11-20", "2025-11-20"),
        ]:
            found = [self.dates(name, **when) for name in DATED]
            self.assertEqual(found, [{before}, {so_far}, {so_far}], when)

    def test_a_scheduled_run_bears_the_time_at_which_it_starts(self):
        since = TimeRestriction(earliest=instant("2025-11-25T00:00:00"), latest=None, catchup=True)
        for name, starts in SCHEDULED.items():
            timetable = coerce_to_core_timetable(self.dags[name].timetable)
            run = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=since)
            starts = instant(f"2025-11-25T{starts}:00")
            self.assertEqual((run.run_after, run.logical_date), (starts, starts), name)

    def test_whichever_task_fails_its_run_does_and_what_needs_it_not_is_done(self):
        tasks = {(name, task) for name, dag in self.dags.items() for task in dag.task_dict}
        self.assertEqual(FAILURES.keys(), tasks)
        for (name, task), others in FAILURES.items():
            state, states, _ = self.run_dag(name, failing=task, logical_date=None)
            self.assertEqual((state, states), ("failed", others | {task: "failed"}), (name, task))


if __name__ == "__main__":
    unittest.main()
