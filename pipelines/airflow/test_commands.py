"""The shell of the DAGs' tasks, without a run, a database or tables.

python -m unittest discover -s pipelines/airflow, where Airflow is installed
"""

import os
import subprocess
import unittest

import airflow_home  # noqa: F401  pylint: disable=unused-import

from healthcare_commands import command


class Paths(unittest.TestCase):
    def run_task(self, task, **variables):
        """Runs it with `echo` in the place of `healthcare`, and these variables of HEALTHCARE."""
        named = {f"HEALTHCARE_{name}": value for name, value in variables.items()}
        environment = {"PATH": os.environ["PATH"], "HEALTHCARE_BIN": "echo"} | task.env | named
        shell = ["bash", "-c", task.bash_command]
        return subprocess.run(shell, env=environment, capture_output=True, text=True, check=False)

    def calls(self, task, arguments, **variables):
        done = self.run_task(task, **variables)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, f"{arguments}\n", ""), variables)

    def refuses(self, task, variable, **variables):
        """Nothing is called, and one line says which variable is to be set."""
        done = self.run_task(task, **variables)
        self.assertEqual((done.returncode, done.stdout), (2, ""), variables)
        self.assertRegex(done.stderr, rf"\Aset {variable} to .*\n\Z")

    def test_reports_go_to_an_absolute_path_that_is_named_and_nowhere_else(self):
        report = command("report", date="2025-11-24", reports=True)
        arguments = "report --data-dir /data --date 2025-11-24 --out /reports"
        self.calls(report, arguments, DATA_DIR="/data", REPORTS="/reports")
        self.refuses(report, "HEALTHCARE_REPORTS", DATA_DIR="/data")
        # Reports are files: there is no URL for them.
        for elsewhere in ["", "reports", "./reports", "s3://bucket/reports"]:
            self.refuses(report, "HEALTHCARE_REPORTS", DATA_DIR="/data", REPORTS=elsewhere)

    def test_tables_are_at_an_absolute_path_or_a_url(self):
        monitor = command("monitor")
        for place in ["/data", "s3://bucket/data", "abfss://tables@account.dfs.core.windows.net/data"]:
            self.calls(monitor, f"monitor --data-dir {place}", DATA_DIR=place)
        self.refuses(monitor, "HEALTHCARE_DATA_DIR")
        for relative in ["", "data", "../data"]:
            self.refuses(monitor, "HEALTHCARE_DATA_DIR", DATA_DIR=relative)


if __name__ == "__main__":
    unittest.main()
