"""``dualcast stream features | wait-caught-up``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dualcast.catalogue import load_use_case
from dualcast.console import UseCaseName, configured, exit_on
from dualcast.settings import load_settings
from dualcast.timegrid import duration, parse_moment

if TYPE_CHECKING:
    from streaming.job.caught_up import Lag

app = typer.Typer(no_args_is_help=True)


class Delivery(StrEnum):
    """When readers see rows on the features topic, and whether they may see a row twice."""

    EXACTLY_ONCE = "exactly-once"
    AT_LEAST_ONCE = "at-least-once"


@app.command()
def features(
    use_case: UseCaseName = None,
    parallelism: Annotated[int, typer.Option(min=1, help="Subtasks that share the entities")] = 1,
    delivery: Annotated[
        Delivery,
        typer.Option(help="exactly-once: rows appear at each checkpoint; at-least-once: immediately, perhaps twice"),
    ] = Delivery.EXACTLY_ONCE,
) -> None:
    """Compute intraday features from all observations on the topic and from each new one, until stopped.

    A run resumes where the last one ended, unless the feature definitions have changed.
    """
    settings, found = configured(use_case, "stream-features")
    with warnings.catch_warnings(action="ignore"):  # raised by imports of Flink
        from streaming.job import checkpoints, java  # noqa: PLC0415 -- only what the start of the JVM needs

        java.start(settings, checkpoints.job_name(settings, found))
        from streaming.job import runtime  # noqa: PLC0415 -- takes seconds
    logging.getLogger("apache_beam").setLevel(logging.ERROR)

    with exit_on(runtime.JobError):
        runtime.run(settings, found, parallelism=parallelism, exactly_once=delivery is Delivery.EXACTLY_ONCE)


@app.command("wait-caught-up")
def wait_caught_up(
    until: Annotated[str, typer.Option(metavar="TIME", help="Time that features must reach; ISO 8601, UTC if naive")],
    use_case: UseCaseName = None,
    timeout: Annotated[float, typer.Option(min=1, help="Give up after this many seconds")] = 600.0,
    tolerance: Annotated[
        str, typer.Option(metavar="DURATION", help="How much older features may be; ISO 8601")
    ] = "PT1H",
) -> None:
    """Wait until the job has processed all observations on the topic and published their features.

    Exits with 1 if that takes too long or an entity has no features.
    """
    from streaming.job import caught_up  # noqa: PLC0415 -- imports Feast, slow

    settings, console = load_settings(), Console(stderr=True)
    found = load_use_case(use_case or settings.use_case, settings.use_cases)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with exit_on(caught_up.NotCaughtUpError), Progress(*columns, console=console) as progress:
        task = progress.add_task("messages read", total=None)
        lags = caught_up.wait(
            settings,
            found,
            _moment(until),
            timeout=timeout,
            tolerance=_duration(tolerance),
            report=lambda read, total: progress.update(task, completed=read, total=total),
        )
    _print_lags(console, lags, until)


def _print_lags(console: Console, lags: Sequence[Lag], until: str) -> None:
    for lag in lags:
        has = f"its newest features are from {lag.origin:%Y-%m-%d %H:%M} UTC" if lag.origin else "it has no features"
        console.print(f"[yellow]{lag.entity_id}[/yellow]: {has}: values up to {until} are missing", highlight=False)
    if any(lag.origin is None for lag in lags):
        raise typer.Exit(1)


def _moment(text: str) -> datetime:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a time such as 2022-03-01T00:00:00Z") from error


def _duration(text: str) -> timedelta:
    try:
        return duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a duration such as PT1H") from error
