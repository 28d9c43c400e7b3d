"""``dualcast stream pull``: publish values of a public API to Kafka."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from dualcast.catalogue import CatalogueError, UseCase
from dualcast.console import UseCaseName, configured, exit_on, moment_option
from dualcast.observations.frames import SourceError
from dualcast.settings import Settings
from dualcast.timegrid import DAY
from streaming.ingest.console import exit_code, parse_duration, progress
from streaming.ingest.signals import Stop
from streaming.ingest.sources import PULLERS, open_puller

if TYPE_CHECKING:
    from streaming.ingest.pull.published_vintages import TopicVintages
    from streaming.ingest.pull.run import Pull

app = typer.Typer()
_log = structlog.get_logger(__name__)


From = Annotated[
    datetime | None,
    moment_option("--from", "Pull the past from here on; new values get the publication time of the catalogue's rule."),
]
To = Annotated[datetime | None, moment_option("--to", "Pull values up to here; default: now, or later for forecasts.")]
Every = Annotated[
    timedelta, typer.Option("--every", parser=parse_duration, metavar="DURATION", help="Interval of --follow.")
]
Last = Annotated[
    timedelta,
    typer.Option(
        "--last",
        parser=parse_duration,
        metavar="DURATION",
        help="Time span of each pull, to find gaps and corrections.",
    ),
]


@app.command(help=f"Query a public source, and publish values that are new or changed: {', '.join(PULLERS)}.")
def pull(
    source: Annotated[str, typer.Argument(help="A source of the use case.")],
    use_case: UseCaseName = None,
    begin: From = None,
    end: To = None,
    follow: Annotated[bool, typer.Option("--follow", help="Pull repeatedly until stopped.")] = False,
    every: Every = timedelta(minutes=15),
    last: Last = timedelta(days=7),
) -> None:
    """Query a public source, and publish values that are new or changed.

    Exits with 1 if a series could not be pulled, and with 128 + the signal's number after a signal.
    """
    from streaming.ingest.publisher import Publisher  # noqa: PLC0415 -- slow to import, as the next two
    from streaming.ingest.pull.published_vintages import TopicVintages  # noqa: PLC0415
    from streaming.ingest.pull.run import Pull  # noqa: PLC0415

    with exit_on(SourceError, CatalogueError, status=2):
        settings, case = configured(use_case, f"ingest-{source}")
        start = begin or settings.clock.now() - last
        if end is not None and (follow or end <= start):
            raise SourceError("--to goes with a --from before it, and not with --follow")
        with Stop() as stop, exit_code(stop), closing(open_puller(source.lower(), case, settings, stop)) as puller:
            published = TopicVintages(settings, puller.name, [e.id for e in case.entities], start)
            with Publisher(settings, puller.name, stop) as publisher:
                publisher.prepare()
                pulls = _Pulls(settings, case, Pull(case, puller, publisher, published), published, stop)
                failed = pulls.run(start, end, history=begin is not None)
                while follow and not stop.wait(every.total_seconds()):
                    failed = pulls.run(settings.clock.now() - last, None, history=False, quiet=True)
        if failed and stop.signal is None:
            raise typer.Exit(1)


class _Pulls:
    """Runs pulls one after another; each compares with the values on the topic at that time."""

    def __init__(self, settings: Settings, use_case: UseCase, pull: Pull, published: TopicVintages, stop: Stop) -> None:
        self._settings = settings
        self._ahead = (use_case.day_ahead.days + 1) * DAY
        self._pull = pull
        self._published = published
        self._stop = stop

    def run(self, start: datetime, end: datetime | None, *, history: bool, quiet: bool = False) -> int:
        """Pull once; return the number of failed series. An unreachable topic counts as one failure."""
        from dualcast.adapters.kafka.connection import UnreachableError  # noqa: PLC0415
        from streaming.ingest.pull.run import Span  # noqa: PLC0415

        clock = self._settings.clock
        span = Span(start, end or clock.now(), self._ahead if end is None else timedelta(0))
        observations = failed = 0
        try:
            self._published.read_on(lambda: self._stop.requested)
        except UnreachableError as error:
            _log.error("cannot read published values", error=str(error))
            return 1
        with progress(quiet=quiet) as shown:
            task = shown.add_task("pull", total=(span.end - span.start).total_seconds(), observations=0)
            for pulled in self._pull.run(span, clock.now, history=history):
                observations += pulled.observations
                failed += pulled.failed
                done = (pulled.until - span.start).total_seconds()
                shown.update(task, completed=done, observations=observations)
        _log.info("pulled", observations=observations, failed=failed, until=span.end.isoformat(timespec="seconds"))
        return failed
