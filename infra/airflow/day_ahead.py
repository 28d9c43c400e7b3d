"""Airflow DAGs of the batch path. Each task runs a `dualcast` command in the platform's own Python environment.

DUALCAST_BIN is the path of the command in that environment, DUALCAST_USE_CASE the use case, DUALCAST_TIME_ZONE its time
zone and DUALCAST_CUTOFF_CRON the cutoff as a cron expression in that time zone. Not tested: Airflow is not available in
the development environment.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pendulum  # type: ignore[import-not-found]
from airflow.providers.standard.operators.bash import BashOperator  # type: ignore[import-not-found]
from airflow.sdk import DAG  # type: ignore[import-not-found]

DUALCAST = os.environ.get("DUALCAST_BIN", "dualcast")
USE_CASE = os.environ.get("DUALCAST_USE_CASE", "de_load")
ZONE = pendulum.timezone(os.environ.get("DUALCAST_TIME_ZONE", "Europe/Berlin"))
START = pendulum.datetime(2026, 1, 1, tz=ZONE)
# One run at a time and no catch-up of missed runs: the next run replaces a missed curve.
SCHEDULING = {"catchup": False, "max_active_runs": 1, "start_date": START}
ARCHIVE = f"{DUALCAST} run archive --use-case {USE_CASE}"
RETRIES = {"retries": 3, "retry_delay": timedelta(minutes=2), "execution_timeout": timedelta(minutes=30)}

with DAG(
    "dualcast_day_ahead",
    schedule=os.environ.get("DUALCAST_CUTOFF_CRON", "1 11 * * *"),
    default_args=RETRIES,
    **SCHEDULING,
):
    # A retry completes an interrupted run and a run with missing curves (exit code 3). The last line of output, the
    # summary, becomes the XCom of the task.
    BashOperator(
        task_id="curves",
        bash_command=(
            f"{DUALCAST} run day-ahead --json --use-case {USE_CASE} "
            "--delivery-date {{ data_interval_end.in_timezone(dag.timezone).add(days=1).strftime('%Y-%m-%d') }}"
        ),
    )

# After local midnight: the intraday intervals of the day are calibrated on the actuals available by then.
with DAG("dualcast_archive", schedule="20 0 * * *", default_args=RETRIES, **SCHEDULING):
    BashOperator(task_id="archive", bash_command=ARCHIVE)

with DAG("dualcast_retrain", schedule="0 3 * * 0", default_args=RETRIES, **SCHEDULING):
    history = BashOperator(task_id="history", bash_command=f"{DUALCAST} run history --use-case {USE_CASE}")
    archive = BashOperator(task_id="archive", bash_command=ARCHIVE)
    day_ahead = BashOperator(task_id="day_ahead", bash_command=f"{DUALCAST} train day-ahead --use-case {USE_CASE}")
    intraday = BashOperator(task_id="intraday", bash_command=f"{DUALCAST} train intraday --use-case {USE_CASE}")
    # A new model has no calibrated intervals yet; the archive run computes them.
    intervals = BashOperator(task_id="intervals", bash_command=ARCHIVE)
    history >> archive >> [day_ahead, intraday]
    intraday >> intervals
