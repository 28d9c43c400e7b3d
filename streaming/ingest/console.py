"""What the commands that feed Kafka share: an option, how they show their progress, and how they end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dualcast.catalogue import CatalogueError
from dualcast.observations.frames import SourceError
from dualcast.timegrid import duration
from streaming.ingest.signals import Stop, Stopped

UseCaseName = Annotated[str | None, typer.Option("--use-case", "-u", help="Use case; default: that of the settings.")]
_log = structlog.get_logger(__name__)


def parse_duration(text: str) -> timedelta:
    """A duration as an option has it; ``timegrid.duration`` under a signature that typer can read."""
    return duration(text)


def progress(*, quiet: bool = False) -> Progress:
    """A bar with how many observations were published: the task's field ``observations``; none where ``quiet``."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[observations]:,} observations"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet,
    )


@contextmanager
def exit_code(stop: Stop) -> Iterator[None]:
    """End with 128 + the signal's number, as shells do, where a signal came."""
    try:
        yield
    except Stopped:
        _log.warning("stopped before all was acknowledged")
    if stop.signal is not None:
        _log.info("stopped", signal=signal.Signals(stop.signal).name)
        raise typer.Exit(128 + stop.signal)


@contextmanager
def known_mistakes() -> Iterator[None]:
    """Show the user's mistakes as such, without a traceback."""
    try:
        yield
    except (SourceError, CatalogueError) as error:
        Console(stderr=True).print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
