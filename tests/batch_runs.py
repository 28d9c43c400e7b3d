"""Run ``dualcast run`` as operators do, and read the resulting lake tables and Kafka topics."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from confluent_kafka.admin import AdminClient

from dualcast.adapters.kafka.readers import published_forecasts
from dualcast.adapters.kafka.topics import create_topics
from dualcast.adapters.lake import forecast_rows, lake_paths
from dualcast.curves.forecast import Forecast
from dualcast.records import Topic
from dualcast.settings import Settings
from tests.waiting import until

DUALCAST = Path(sys.executable).with_name("dualcast")
_TIMEOUT_SECONDS = 300
# Columns with the time and version of a run. They differ between runs.
_RUN_COLUMNS = ["ingested_at", "data_version", "code_version"]


def start(*arguments: str, log: Path) -> subprocess.Popen[str]:
    """Start ``dualcast run ARGUMENTS`` in a new process group, with its standard error in a file."""
    with log.open("w") as errors:
        return subprocess.Popen(
            [DUALCAST, "run", *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )


def finish(process: subprocess.Popen[str], log: Path, status: int = 0) -> str:
    """Wait for a run to exit with a status and return its standard output."""
    printed, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
    assert process.returncode == status, f"exited with code {process.returncode}\n{log.read_text()[-3000:]}"
    return printed


def summary(*arguments: str, log: Path, status: int = 0) -> dict[str, Any]:
    """Run ``dualcast run day-ahead`` and return its summary."""
    found = json.loads(finish(start("day-ahead", *arguments, "--json", log=log), log, status))
    assert isinstance(found, dict)
    return found


def kill_when(happened: Callable[[], bool], process: subprocess.Popen[str], log: Path) -> None:
    """Kill a run and its Spark processes with SIGKILL when a condition holds."""

    def ready() -> bool:
        assert process.poll() is None, f"the run ended before the condition held\n{log.read_text()[-3000:]}"
        return happened()

    until(ready, _TIMEOUT_SECONDS, every=0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)


def curves_on_topic(settings: Settings) -> list[Forecast]:
    """Return all day-ahead curves on Kafka, sorted by entity and issue time."""
    found = published_forecasts(settings, Topic.FORECASTS_DAY_AHEAD)
    return sorted(found, key=lambda curve: (curve.entity_id, curve.issued_at))


def lake_rows(settings: Settings, use_case: str) -> dict[str, pd.DataFrame]:
    """Return the rows of all tables of the day-ahead path in a fixed order, without the columns of the run."""
    lake = lake_paths(settings)
    tables = {
        "bronze": delta_rows(lake.bronze).sort_values(["partition", "offset", "position"]),
        "silver": delta_rows(lake.silver).sort_values(["variable", "valid_time", "published_at"]),
        "gold": pd.read_parquet(lake.gold_of("day-ahead", use_case)).sort_values(["entity_id", "valid_time"]),
        "forecasts": forecast_rows(settings, use_case, "day-ahead").sort_values(["entity_id", "valid_time"]),
    }
    return {
        name: rows.drop(columns=_RUN_COLUMNS, errors="ignore").reset_index(drop=True) for name, rows in tables.items()
    }


def delta_rows(table: str) -> pd.DataFrame:
    """Return the rows of an append-only Delta table."""
    logs = Path(table, "_delta_log").glob("*.json")
    actions = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    files = [Path(table, action["add"]["path"]) for action in actions if "add" in action]
    assert len(files) == len(set(files))
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def empty_curves_topic(settings: Settings) -> None:
    """Delete and recreate the topic of day-ahead curves."""
    admin = AdminClient({"bootstrap.servers": settings.kafka})
    topic = settings.names.topic(Topic.FORECASTS_DAY_AHEAD)
    admin.delete_topics([topic])[topic].result(timeout=30)
    until(lambda: topic not in admin.list_topics(timeout=10).topics, 30)
    create_topics(settings)


@contextmanager
def lake_restored(settings: Settings) -> Iterator[None]:
    """Restore the current lake afterwards and empty the topic of day-ahead curves."""
    lake = Path(settings.lake_uri)
    kept = lake.with_name("lake-kept")
    shutil.copytree(lake, kept)
    try:
        yield
    finally:
        shutil.rmtree(lake)
        kept.rename(lake)
        empty_curves_topic(settings)
