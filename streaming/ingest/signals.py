"""Waiting that ends at once when the process is told to stop."""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):  # noqa: N818 -- no error: the user wants it
    """A signal came before all was acknowledged; what was not will be sent again by the next run."""


class Stop:
    """Whether SIGTERM or SIGINT has come; a context in which they end waits instead of the process.

    The handler only sets a field, and Python's wakeup descriptor ends the wait, so that a signal is neither lost nor
    able to deadlock on a lock that the interrupted code holds. To be used in the main thread.
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
        """Whether to stop."""
        return self.signal is not None

    def wait(self, seconds: float) -> bool:
        """Wait, shorter where a signal comes. Whether to stop."""
        if not self.requested and seconds > 0:
            select.select([self._reader], [], [], seconds)
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
