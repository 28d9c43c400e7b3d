"""Germany's day-ahead path in its full size: training, and the time from the start of a run to the curve in da-svc.

The model is trained on six simulated years. A cold run is ``dualcast run day-ahead`` from the start of its process; a
warm run is that of the daemon at a cutoff, in a Spark session that has made a day's curves before. Each reads a day of
new observations from Kafka. The ratios are to the target times.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from rich.console import Console

from batch.engine.session import spark_session
from batch.runs.day_ahead import DayAheadJob
from benchmarks.embedded import USE_CASES, embedded
from benchmarks.results import Row
from benchmarks.serving import wait_until_ready
from dualcast.adapters.kafka.topics import create_topics
from dualcast.catalogue import UseCase, load_use_case
from dualcast.steps import Steps
from dualcast.timegrid import local_date

_DUALCAST = str(Path(sys.executable).with_name("dualcast"))
_COLD, _WARM_UP, _WARM = range(3)
_WARM_SECONDS, _COLD_SECONDS, _TRAINING_SECONDS = 20, 60, 60


def measure() -> list[Row]:
    """Seconds of training, of a cold run and of a warm one."""
    use_case = load_use_case("de_load", USE_CASES)
    days = _newest_days(use_case, 3)
    cutoffs = [use_case.cutoff(use_case.entities[0], day) for day in days]
    trained_until = cutoffs[_COLD] - timedelta(days=1)
    with embedded() as stack:
        settings = stack.start("kafka", "registry", "redis", "mlflow")
        create_topics(settings)
        _publish(trained_until - timedelta(days=use_case.day_ahead.training_days), trained_until)
        _dualcast("run", "history", "--until", trained_until.isoformat())
        until = trained_until.replace(tzinfo=None).isoformat()
        trained = json.loads(_dualcast("train", "day-ahead", "--until", until, "--json"))
        url = f"{stack.start('da-svc').da_svc}/api/v1/forecasts/day-ahead/{use_case.entities[0].id}"
        _publish(trained_until, cutoffs[_COLD])
        cold = _seconds(url, days[_COLD], lambda day: _dualcast("run", "day-ahead", *_only(day)))
        job = DayAheadJob(spark_session(settings), settings, use_case, Steps(Console(stderr=True)))
        for number in (_WARM_UP, _WARM):
            _publish(cutoffs[number - 1], cutoffs[number])
            warm = _seconds(url, days[number], lambda day: job.curves([day]))
        job.spark.stop()
    training = sum(trained["seconds"].values())
    return [
        Row(f"training on {trained['examples']:,} hours", training, "s", training / _TRAINING_SECONDS),
        Row("run, cold, until its curve is in da-svc", cold, "s", cold / _COLD_SECONDS),
        Row("run, warm, until its curve is in da-svc", warm, "s", warm / _WARM_SECONDS),
    ]


def _newest_days(use_case: UseCase, count: int) -> list[date]:
    """The newest delivery days whose cutoff has passed, in order."""
    now, entity = datetime.now(UTC), use_case.entities[0]
    tomorrow = local_date(now, entity.time_zone) + timedelta(days=1)
    newest = tomorrow if use_case.cutoff(entity, tomorrow) <= now else tomorrow - timedelta(days=1)
    return [newest - timedelta(days=back) for back in reversed(range(count))]


def _dualcast(*arguments: str) -> str:
    return subprocess.run([_DUALCAST, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def _publish(after: datetime, until: datetime) -> None:
    """Publish the simulated observations of a period on Kafka."""
    _dualcast("stream", "history", "--start", after.isoformat(), "--until", until.isoformat())


def _only(day: date) -> tuple[str, str]:
    return "--delivery-date", day.isoformat()


def _seconds(url: str, day: date, run: Callable[[date], object]) -> float:
    """Seconds from the start of a run until da-svc serves its curve."""
    begin = time.perf_counter()
    run(day)
    wait_until_ready(f"{url}?delivery_date={day.isoformat()}")
    return time.perf_counter() - begin
