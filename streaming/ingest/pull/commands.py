"""``dualcast stream pull``: from a public API to Kafka."""

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
    from streaming.ingest.pull.known import TopicKnown
    from streaming.ingest.pull.run import Pull

app = typer.Typer()
_log = structlog.get_logger(__name__)


From = Annotated[
    datetime | None,
    moment_option(
        "--from", "Pull the past from here on; what is new is published as of when the catalogue says it became known."
    ),
]
To = Annotated[datetime | None, moment_option("--to", "Up to here; default: now, forecasts beyond it.")]
Every = Annotated[timedelta, typer.Option("--every", parser=parse_duration, metavar="DURATION", help="With --follow.")]
Last = Annotated[
    timedelta,
    typer.Option(
        "--last",
        parser=parse_duration,
        metavar="DURATION",
        help="Ask again for this long each time: gaps and corrections.",
    ),
]


@app.command(help=f"Ask a public source for values, and publish those that are new or changed: {', '.join(PULLERS)}.")
def pull(
    source: Annotated[str, typer.Argument(help="A source that the use case has series of.")],
    use_case: UseCaseName = None,
    begin: From = None,
    end: To = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on pulling until stopped.")] = False,
    every: Every = timedelta(minutes=15),
    last: Last = timedelta(days=7),
) -> None:
    """Ask a public source for values, and publish those that are new or changed.

    Ends with status 1 where a series could not be pulled, and with 128 + the signal's number where a signal came.
    """
    from streaming.ingest.publisher import Publisher  # noqa: PLC0415 -- slow to import, as are the next two
    from streaming.ingest.pull.known import TopicKnown  # noqa: PLC0415
    from streaming.ingest.pull.run import Pull  # noqa: PLC0415

    with exit_on(SourceError, CatalogueError, status=2):
        settings, case = configured(use_case, f"ingest-{source}")
        start = begin or settings.clock.now() - last
        if end is not None and (follow or end <= start):
            raise SourceError("--to goes with a --from before it, and not with --follow")
        with Stop() as stop, exit_code(stop), closing(open_puller(source.lower(), case, settings, stop)) as puller:
            known = TopicKnown(settings, puller.name, [e.id for e in case.entities], start)
            with Publisher(settings, puller.name, stop) as publisher:
                publisher.prepare()
                turns = _Turns(settings, case, Pull(case, puller, publisher, known), known, stop)
                failed = turns.take(start, end, history=begin is not None)
                while follow and not stop.wait(every.total_seconds()):
                    failed = turns.take(settings.clock.now() - last, None, history=False, quiet=True)
        if failed and stop.signal is None:
            raise typer.Exit(1)


class _Turns:
    """Pulls one after another, each with what the topic holds by then."""

    def __init__(self, settings: Settings, use_case: UseCase, pull: Pull, known: TopicKnown, stop: Stop) -> None:
        self._settings = settings
        self._ahead = (use_case.day_ahead.days + 1) * DAY
        self._pull = pull
        self._known = known
        self._stop = stop

    def take(self, start: datetime, end: datetime | None, *, history: bool, quiet: bool = False) -> int:
        """Pull once; the number of series that failed. An unreachable topic fails all of them."""
        from dualcast.adapters.kafka.connection import UnreachableError  # noqa: PLC0415
        from streaming.ingest.pull.run import Span  # noqa: PLC0415

        clock = self._settings.clock
        span = Span(start, end or clock.now(), self._ahead if end is None else timedelta(0))
        observations = failed = 0
        try:
            self._known.read_on(lambda: self._stop.requested)
        except UnreachableError as error:
            _log.error("cannot read what was sent", error=str(error))
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
