"""Background threads of a service: started and stopped together with the application."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import structlog

_RETRY_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class Background(Protocol):
    """Work that runs in parallel with requests."""

    def start(self) -> None:
        """Start the work; return immediately."""

    def stop(self) -> None:
        """Stop the work; return once it has stopped, within seconds."""


class Worker:
    """A thread that runs ``work`` until it is stopped. An exception is logged, and the work is started again."""

    def __init__(self, name: str, work: Callable[[threading.Event], None]) -> None:
        self._work = work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Signal the thread to stop and wait up to two seconds. The thread is a daemon, so it cannot block the exit."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._work(self._stop)
            except Exception:  # noqa: BLE001 - the thread must survive any failure of its work
                _log.exception("background work failed", worker=self._thread.name)
                self._stop.wait(_RETRY_SECONDS)
            else:
                return
