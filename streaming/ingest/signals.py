"""Waits that end at once when a stop signal arrives."""

from __future__ import annotations

import select
import signal
import socket
from time import monotonic
from types import FrameType
from typing import Any, Self

from dualcast.heartbeat import beat

# Long waits are progress, too: a process between two pulls is not hung.
_LONGEST_SILENCE_SECONDS = 5.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):  # noqa: N818 -- not an error: the user requests it
    """A signal arrived before all messages were acknowledged. The next run sends the unacknowledged ones again."""


class Stop:
    """Records SIGTERM and SIGINT; within this context they end waits instead of the process.

    The handler only sets a field, and Python's wakeup descriptor ends the wait, so a signal is never lost and
    cannot deadlock on a lock that the interrupted code holds. For the main thread only.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.signal is not None

    def wait(self, seconds: float) -> bool:
        """Wait until the time is over or a signal arrives. Returns whether a signal has arrived."""
        until = monotonic() + seconds
        while not self.requested and (left := until - monotonic()) > 0:
            beat()
            select.select([self._reader], [], [], min(left, _LONGEST_SILENCE_SECONDS))
        return self.requested

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._received) for number in _SIGNALS}
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()

    def _received(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
