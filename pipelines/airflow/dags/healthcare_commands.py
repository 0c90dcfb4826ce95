"""What the DAGs of the healthcare pipeline share: how its commands are called, and who is told when one fails.

Every task calls one command of the binary `healthcare`. Its exit code is the task's fate (0 done, 1 failed, 2 wrong
usage, which is not tried again, 3 the data are not good enough, 99 nothing to do: skipped), the last line of its output
is one JSON object and becomes the task's XCom. Values reach the shell by environment variables, never as text of the
command.

Set for the workers: HEALTHCARE_DATA_DIR (an absolute path, or a URL), HEALTHCARE_REPORTS (an absolute path, for the tasks
that write reports), and if wanted HEALTHCARE_BIN (default `healthcare`), HEALTHCARE_CONFIG, HEALTHCARE_RETRIES and
THALWEG_WEBHOOK_URL.
"""

import json
import os
import time
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone
from functools import cached_property

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import CronTriggerTimetable
from airflow.sdk.exceptions import AirflowFailException

WRONG_USAGE = 2
NOTHING_TO_DO = 99

# The day that a run bears. One that is triggered without a date has no logical date, nor `ds`: the day is then that of its
# start. `run_after` alone would not do: it is when a run was asked for where its logical date was given.
DAY = "(dag_run.logical_date or dag_run.run_after).strftime('%Y-%m-%d')"
# What the tasks are about. `date` may be given by hand: airflow dags trigger --conf '{"date": "2025-11-24"}'.
YESTERDAY = "{{ dag_run.conf.get('date') or macros.ds_add(" + DAY + ", -1) }}"
TODAY = "{{ dag_run.conf.get('date') or " + DAY + " }}"

WEBHOOK_ATTEMPTS = 3
WEBHOOK_PAUSE_SECONDS = 0.5
WEBHOOK_PATIENCE_SECONDS = 10
LOCAL = [("http", "127.0.0.1"), ("http", "localhost"), ("http", "::1")]


def at(cron):
    """A schedule, UTC, whose runs bear the time at which they start.

    Given as text alone it would be for the setting `create_cron_data_intervals` to say whether they bear the time before.
    """
    return CronTriggerTimetable(cron, timezone="UTC")


class CommandHook(SubprocessHook):
    """Runs a command. Wrong usage (of a setting, an argument, a folder that is none) fails the task for good."""

    def run_command(self, *args, **kwargs):
        done = super().run_command(*args, **kwargs)
        if done.exit_code == WRONG_USAGE:
            raise AirflowFailException("wrong usage: trying again helps nobody")
        return done


class CommandOperator(BashOperator):
    """A task that has no second try where that helps nobody, whatever its `retries`."""

    @cached_property
    def subprocess_hook(self):
        return CommandHook()


def set_to(variable, patterns, what):
    """Shell that ends the task in one line (2: wrong usage) unless the variable is like one of `patterns`, as `what` says.

    A task works in a folder that is removed when it ends, so a relative path would name nothing, or what is lost.
    """
    return f'case "${{{variable}:-}}" in {patterns}) ;; *) echo "set {variable} to {what}" >&2; exit 2;; esac;'


def command(name, date=None, reports=False, **task):
    """A task that runs `healthcare NAME`, named after it; `date` is a template of the day that it is about."""
    words = [
        "set -eu;",
        set_to("HEALTHCARE_DATA_DIR", "/*|*://*", "the tables: an absolute path, or a URL"),
        f'set -- {name} --data-dir "$HEALTHCARE_DATA_DIR";',
        'if [ -n "${HEALTHCARE_CONFIG:-}" ]; then set -- "$@" --config "$HEALTHCARE_CONFIG"; fi;',
    ]
    if date:
        words.append('set -- "$@" --date "$HEALTHCARE_DATE";')
    if reports:
        words.append(set_to("HEALTHCARE_REPORTS", "/*", "a folder that stays: an absolute path"))
        words.append('set -- "$@" --out "$HEALTHCARE_REPORTS";')
    words.append('exec "${HEALTHCARE_BIN:-healthcare}" "$@"')
    return CommandOperator(
        task_id=name,
        bash_command=" ".join(words),
        env={"HEALTHCARE_DATE": date or ""},
        append_env=True,
        skip_on_exit_code=NOTHING_TO_DO,
        output_processor=json.loads,
        **task,
    )


def tell(context):
    """Posts which task failed to THALWEG_WEBHOOK_URL, if that is set. Nothing of its output goes along."""
    url = os.environ.get("THALWEG_WEBHOOK_URL")
    if not url:
        return
    task = context["task_instance"]
    said = {"job": "healthcare", "status": "failed", "dag": task.dag_id, "task": task.task_id, "run": context["run_id"]}
    for attempt in range(WEBHOOK_ATTEMPTS):
        if attempt:
            time.sleep(WEBHOOK_PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            post(url, said)
            return
        except Exception:  # pylint: disable=broad-except
            # Whatever it is, its text may quote the address, which may hold a secret; and a lost message must not hide
            # the failure itself.
            print("the webhook did not take the message")


def post(url, message):
    """Over TLS, or to this machine."""
    address = urllib.parse.urlsplit(url)
    if address.scheme != "https" and (address.scheme, address.hostname) not in LOCAL:
        raise ValueError("neither https nor this machine")
    request = urllib.request.Request(
        url, data=json.dumps(message).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=WEBHOOK_PATIENCE_SECONDS):
        pass


DEFAULTS = {
    "owner": "healthcare",
    "retries": int(os.environ.get("HEALTHCARE_RETRIES", "2")),
    "retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(hours=2),
    "on_failure_callback": tell,
}

# What every DAG here is made with.
SHARED = {
    "start_date": datetime(2025, 1, 1, tzinfo=timezone.utc),
    "catchup": False,
    "max_active_runs": 1,
    "default_args": DEFAULTS,
    "tags": ["healthcare"],
}
