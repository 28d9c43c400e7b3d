"""The heartbeat of a process without a server: a file whose time of change is that of its last progress.

The supervisor, or a probe of Kubernetes, reads the age of the file that DUALCAST_HEARTBEAT names. A loop calls ``beat``
each time it comes round, also while it waits for an unavailable server: such a process is not hung.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

HEARTBEAT_VARIABLE = "DUALCAST_HEARTBEAT"
_SHORTEST_PAUSE_SECONDS = 1.0
_last = 0.0


def beat() -> None:
    """Record progress, at most once a second. Without the variable, or on a full disk, this does nothing."""
    global _last  # noqa: PLW0603 -- a process has one heartbeat
    now = time.monotonic()
    if now - _last < _SHORTEST_PAUSE_SECONDS:
        return
    _last = now
    if file := os.environ.get(HEARTBEAT_VARIABLE):
        with suppress(OSError):
            path = Path(file)
            path.touch()
            os.utime(path)


def age_seconds(file: Path) -> float | None:
    """The time since the last progress; None before the first."""
    try:
        return max(time.time() - file.stat().st_mtime, 0.0)
    except FileNotFoundError:
        return None
