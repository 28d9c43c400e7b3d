"""``dualcast stream history | replay | window``: publish a source to Kafka."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import structlog
import typer
from rich.console import Console

from dualcast.catalogue import CatalogueError, UseCase
from dualcast.console import UseCaseName, configured, exit_on, moment_option
from dualcast.observations.frames import SourceError
from dualcast.settings import Settings
from streaming.ingest.console import exit_code, parse_duration, progress
from streaming.ingest.published import Published, PublishedFile
from streaming.ingest.replay import publish_history, publish_replay, resume_after
from streaming.ingest.signals import Stop
from streaming.ingest.source import Source
from streaming.ingest.sources import open_source
from streaming.ingest.window import history_start, replay_window

if TYPE_CHECKING:
    from streaming.ingest.publisher import Publisher

app = typer.Typer()
_log = structlog.get_logger(__name__)


DataFile = Annotated[
    Path | None, typer.Option("--data", help="CSV or Parquet file; without it, the simulator.", show_default=False)
]
MappingFile = Annotated[
    Path | None,
    typer.Option("--mapping", help="YAML with the keys of a use case's 'replay'.", show_default=False),
]
Until = Annotated[
    datetime,
    moment_option("--until", "Publish all values that were known at this time (ISO 8601)."),
]
Start = Annotated[
    datetime | None,
    moment_option(
        "--start", "Leave out earlier values; default: keep all of a file, or the simulator's training days."
    ),
]
FirstDay = Annotated[
    datetime | None,
    typer.Option(
        "--start",
        formats=["%Y-%m-%d"],
        help="First delivery day; default: such that the last day is the source's last complete one.",
        show_default=False,
    ),
]
Overlap = Annotated[
    timedelta,
    typer.Option(
        "--overlap",
        parser=parse_duration,
        metavar="DURATION",
        help="With the wall clock and no record of an earlier run: start this long before now.",
    ),
]


@app.command()
def history(
    until: Until, use_case: UseCaseName = None, data: DataFile = None, mapping: MappingFile = None, start: Start = None
) -> None:
    """Publish the past in bulk: large messages of each entity, in order of publication."""
    with exit_on(SourceError, CatalogueError, status=2):
        settings, case, source = _open(use_case, data, mapping, "ingest-history")
        begin = start or history_start(source, case, until)
        if begin > until:
            raise SourceError(f"{source.name} begins at {begin:%Y-%m-%d %H:%M}Z, after {until:%Y-%m-%d %H:%M}Z")
        with Stop() as stop, exit_code(stop), _publisher(settings, source, stop) as publisher:
            _publish_history(publisher, source, begin, until)
            PublishedFile(settings, case.use_case).write(Published.by(source.name, until, settings.clock))


@app.command()
def replay(
    use_case: UseCaseName = None,
    data: DataFile = None,
    mapping: MappingFile = None,
    overlap: Overlap = timedelta(hours=1),
) -> None:
    """Publish each value when the clock reaches its publication time, until the clock or the source ends.

    Exits with 0 at the end, and with 128 + the signal's number after a signal.
    """
    with exit_on(SourceError, CatalogueError, status=2):
        settings, case, source = _open(use_case, data, mapping, "ingest-replay")
        file = PublishedFile(settings, case.use_case)
        after = resume_after(source.name, settings.clock, file.read(), overlap)
        with Stop() as stop, exit_code(stop), _publisher(settings, source, stop) as publisher:
            publisher.prepare()
            _log.info("replay", source=source.name, after=after.isoformat(), speed=settings.clock.speed)
            if publish_replay(source, publisher, settings.clock, file, stop, after):
                _log.info("replay has ended", at=settings.clock.now().isoformat())


@app.command()
def window(
    use_case: UseCaseName = None,
    data: DataFile = None,
    mapping: MappingFile = None,
    days: Annotated[int, typer.Option(min=1, help="Number of delivery days.")] = 7,
    start: FirstDay = None,
) -> None:
    """Print the time ranges of history and replay as JSON: history_start, start, until."""
    with exit_on(SourceError, CatalogueError, status=2):
        settings, case, source = _open(use_case, data, mapping, "ingest-window")
        first = None if start is None else start.date()
        typer.echo(replay_window(source, case, settings.clock.now(), days, first).model_dump_json())


def _open(
    use_case: str | None, data: Path | None, mapping: Path | None, service: str
) -> tuple[Settings, UseCase, Source]:
    settings, case = configured(use_case, service)
    source = open_source(case, data, mapping)
    for note in source.notes:
        _log.warning("source", name=source.name, note=note)
    return settings, case, source


def _publisher(settings: Settings, source: Source, stop: Stop) -> Publisher:
    from streaming.ingest.publisher import Publisher  # noqa: PLC0415 -- slow to import, only two commands need it

    return Publisher(settings, source.name, stop)


def _publish_history(publisher: Publisher, source: Source, begin: datetime, until: datetime) -> None:
    publisher.prepare()
    started, observations, sent = perf_counter(), 0, 0
    with progress() as shown:
        task = shown.add_task(source.name, total=(until - begin).total_seconds(), observations=0)
        for step in publish_history(source, publisher, begin, until):
            observations += step.observations
            sent += step.messages
            shown.update(task, completed=(step.until - begin).total_seconds(), observations=observations)
    seconds = perf_counter() - started
    Console(stderr=True).print(
        f"{source.name}: {observations:,} observations in {sent:,} messages,"
        f" {seconds:.1f} s ({observations / seconds:,.0f}/s)",
        highlight=False,
    )
