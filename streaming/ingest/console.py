"""What the commands that feed Kafka share: a progress bar, and the exit status after a signal."""

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
