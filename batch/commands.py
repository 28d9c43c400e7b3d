"""``dualcast run history | day-ahead | archive``: the batch path on Spark."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from batch.steps import Steps
from dualcast import telemetry
from dualcast.catalogue import load_use_case
from dualcast.settings import Settings, load_settings
from dualcast.timegrid import parse_moment

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from batch.day_ahead import DayAheadJob

app = typer.Typer(name="run", no_args_is_help=True, help="Run the batch path: lake, features, day-ahead curves.")


_UseCase = Annotated[str | None, typer.Option("--use-case", "-u", help="Use case; default: that of the settings.")]
_Until = Annotated[
    datetime | None,
    typer.Option(
        "--until",
        parser=parse_moment,
        metavar="TIME",
        help="Every delivery day with a cutoff up to then (ISO 8601); default: now, by the clock.",
        show_default=False,
    ),
]
_Day = Annotated[
    datetime | None,
    typer.Option("--delivery-date", formats=["%Y-%m-%d"], help="The local day to forecast.", show_default=False),
]
_Follow = Annotated[bool, typer.Option("--follow", help="Go on: each delivery day at its cutoff, by the clock.")]


@app.command()
def history(use_case: _UseCase = None, until: _Until = None) -> None:
    """Take in all observations and build the day-ahead features of every delivery day: Bronze, Silver, Gold, Feast."""
    with _job(use_case) as job:
        job.history(until or job.settings.clock.now())


@app.command("day-ahead")
def day_ahead(use_case: _UseCase = None, delivery_date: _Day = None, follow: _Follow = False) -> None:
    """Make and publish the day-ahead curves of a delivery day, or of each as its cutoff comes."""
    if follow == (delivery_date is not None):
        raise typer.BadParameter("give either --delivery-date or --follow")
    with _job(use_case) as job:
        if delivery_date is not None:
            job.delivery_day(delivery_date.date())
            return
        from batch.follow import follow as run_daemon  # noqa: PLC0415 -- slow imports come after help texts

        run_daemon(job)


@app.command()
def archive(use_case: _UseCase = None) -> None:
    """Bring what the stream made into the lake: intraday features with what came true, and intraday curves."""
    with _job(use_case) as job:
        from batch.archive import archive_stream  # noqa: PLC0415 -- slow imports come after help texts

        archive_stream(job)


@contextmanager
def _job(use_case: str | None) -> Iterator[DayAheadJob]:
    """The composition root: settings, logs and a Spark session. Known mistakes end with their text and status 1.

    On SIGTERM or Ctrl-C the process ends at once and takes the JVM with it: whatever a run writes is made to be cut
    short.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    settings = load_settings()
    telemetry.configure(settings, "dualcast-batch")
    steps, case = Steps(Console(stderr=True)), load_use_case(use_case or settings.use_case, settings.use_cases)
    with steps.step("spark") as say:
        spark = _started(settings)
        say(f"{spark.version} on {settings.spark_master}")
    from batch.day_ahead import DayAheadJob, NothingToDoError  # noqa: PLC0415 -- while the JVM starts
    from batch.quality import QualityError  # noqa: PLC0415 -- while the JVM starts

    try:
        yield DayAheadJob(spark, settings, case, steps)
    except (NothingToDoError, QualityError, ConnectionError, LookupError) as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}", highlight=False)
        sys.exit(1)
    spark.stop()


def _started(settings: Settings) -> SparkSession:
    """A Spark session; while its JVM starts, what takes seconds to import is imported."""
    from batch.engine.session import spark_session  # noqa: PLC0415 -- slow imports come after help texts

    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(spark_session, settings)
        import_module("batch.day_ahead")
        import_module("batch.quality").context()
        return starting.result()


def _end(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 -- what signal handlers are given
    """End without waiting for the JVM, which may be waiting for a broker; it ends when its pipe closes."""
    Console(stderr=True).show_cursor()
    os._exit(0 if signum == signal.SIGTERM else 128 + signum)
