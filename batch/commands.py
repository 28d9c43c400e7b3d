"""``dualcast run history | day-ahead | archive | skew``: the batch path on Spark."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from batch.runs.cutoffs import TooEarlyError, before_cutoff
from dualcast.catalogue import UseCase
from dualcast.console import UseCaseName, configured, exit_on, moment_option
from dualcast.settings import Settings
from dualcast.steps import Steps

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from batch.runs.day_ahead import DayAheadJob

app = typer.Typer(name="run", no_args_is_help=True, help="Run the batch path: lake, features, day-ahead curves.")

_SERVICE = "dualcast-batch"
_ERRORS = (TooEarlyError, FileNotFoundError, ConnectionError, LookupError)

_Until = Annotated[
    datetime | None,
    moment_option("--until", "Every delivery day with a cutoff up to then (ISO 8601); default: now, by the clock."),
]
_Day = Annotated[
    datetime | None,
    typer.Option("--delivery-date", formats=["%Y-%m-%d"], help="The local day to forecast.", show_default=False),
]
_From = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="Backfill: the first local day to forecast.", show_default=False),
]
_To = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="Backfill: the last local day.", show_default=False),
]
_Follow = Annotated[bool, typer.Option("--follow", help="Keep running: make each delivery day at its cutoff.")]
_Json = Annotated[bool, typer.Option("--json", help="Print a summary as one line of JSON, for schedulers.")]


@app.command()
def history(use_case: UseCaseName = None, until: _Until = None) -> None:
    """Read all observations and build the day-ahead features of all delivery days: Bronze, Silver, Gold, Feast."""
    with _job(*configured(use_case, _SERVICE)) as job:
        job.history(until or job.settings.clock.now())


@app.command("day-ahead")
def day_ahead(
    use_case: UseCaseName = None,
    delivery_date: _Day = None,
    first: _From = None,
    last: _To = None,
    follow: _Follow = False,
    as_json: _Json = False,
) -> None:
    """Make and publish the day-ahead curves of a delivery day, of a range of days, or of each day at its cutoff.

    Exit status: 0 where all curves are published, 3 where some are missing (they are listed), 1 on an error. A repeated
    or resumed run publishes no curve twice.
    """
    days = _days(delivery_date, first, last)
    if follow == bool(days):
        raise typer.BadParameter("give one of --delivery-date, --from and --to, or --follow")
    settings, case = configured(use_case, _SERVICE)
    with exit_on(*_ERRORS):
        before_cutoff(case, days, settings.clock.now())  # before Spark starts, which takes seconds
    with _job(settings, case) as job:
        if follow:
            from batch.runs.daemon import follow as run_daemon  # noqa: PLC0415 -- slow to import

            run_daemon(job)
            return
        outcome = job.curves(days)
        job.steps.show_seconds()
        for curve in outcome.missing:
            job.steps.note(f"[yellow]no curve[/yellow] of {curve.entity_id} for {curve.delivery_day}: {curve.reason}")
        if as_json:
            typer.echo(json.dumps(outcome.as_json(job.steps.done)))
    sys.exit(outcome.exit_status)


def _days(only: datetime | None, first: datetime | None, last: datetime | None) -> list[date]:
    """The delivery days of the options; none without them."""
    if (first is None) != (last is None) or (only and first):
        raise typer.BadParameter("give --from and --to together, or --delivery-date alone")
    begin, end = first or only, last or only
    if begin is None or end is None:
        return []
    if end < begin:
        raise typer.BadParameter("--to is before --from")
    return [begin.date() + timedelta(days=n) for n in range((end - begin).days + 1)]


@app.command()
def archive(use_case: UseCaseName = None) -> None:
    """Archive the stream in the lake: intraday features with their actuals, and intraday curves."""
    with _job(*configured(use_case, _SERVICE)) as job:
        from batch.runs.archive import archive_stream  # noqa: PLC0415 -- slow to import

        archive_stream(job)


@app.command()
def skew(
    day: Annotated[datetime, typer.Option("--day", formats=["%Y-%m-%d"], help="Local day of the rows' origins.")],
    use_case: UseCaseName = None,
    most: Annotated[float, typer.Option(min=0, max=1, help="Share of rows that may differ in any feature.")] = 0.01,
) -> None:
    """Compare a day's served intraday features with those computed from Silver.

    Exit status 3 where a larger share of rows than ``--most`` differs.
    """
    with _job(*configured(use_case, _SERVICE)) as job:
        from batch.runs.skew import measure_skew  # noqa: PLC0415 -- slow to import

        found = measure_skew(job.spark, job.settings, job.use_case, day.date())
        for feature in sorted(found.features, key=lambda f: -f.unequal):
            job.steps.note(f"{feature.feature:28} unequal {feature.unequal:7.2%}  largest {feature.largest:.3g}")
        job.steps.note(f"{found.unequal_rows} of {found.rows} rows differ in some feature")
    if found.unequal_rows > most * found.rows:
        sys.exit(3)


@contextmanager
def _job(settings: Settings, use_case: UseCase) -> Iterator[DayAheadJob]:
    """The composition root: a Spark session, and the job in it. Expected errors are reported, with status 1.

    SIGTERM and Ctrl-C end the process and its JVM at once: all writes of a run are atomic or repeatable.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    steps = Steps(Console(stderr=True))
    with steps.step("spark") as report:
        spark = _started(settings)
        report(f"{spark.version} on {settings.spark_master}")
    from batch.runs.day_ahead import DayAheadJob, NothingToDoError  # noqa: PLC0415 -- while the JVM starts

    with exit_on(NothingToDoError, *_ERRORS):
        yield DayAheadJob(spark, settings, use_case, steps)
    spark.stop()


def _started(settings: Settings) -> SparkSession:
    """A Spark session. Slow modules are imported while its JVM starts."""
    from batch.engine.session import spark_session, start_workers  # noqa: PLC0415 -- slow to import

    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(spark_session, settings)
        import_module("batch.runs.day_ahead")
        import_module("batch.quality.suites").context()
        spark = starting.result()
    start_workers(spark)
    return spark


def _end(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 -- the signature of signal handlers
    """Exit without waiting for the JVM, which may be waiting for a broker. It ends when its pipe closes."""
    Console(stderr=True).show_cursor()
    os._exit(0 if signum == signal.SIGTERM else 128 + signum)
