"""Parts of the commands that publish to Kafka: a progress bar, and the exit status after a signal."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dualcast.timegrid import duration
from streaming.ingest.signals import Stop, Stopped

_log = structlog.get_logger(__name__)


def parse_duration(text: str | timedelta) -> timedelta:
    """The duration of an option. Typer parses defaults, too, which are durations already."""
    return text if isinstance(text, timedelta) else duration(text)


def progress(*, quiet: bool = False) -> Progress:
    """A progress bar with the number of published observations (task field ``observations``); hidden if ``quiet``."""
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
    """Exit with 128 + the signal's number, as shells do, after a signal."""
    try:
        yield
    except Stopped:
        _log.warning("stopped before all messages were acknowledged")
    if stop.signal is not None:
        _log.info("stopped", signal=signal.Signals(stop.signal).name)
        raise typer.Exit(128 + stop.signal)
