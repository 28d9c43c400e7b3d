"""Measure the current and the peak memory of all processes of the demo."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Self

from infra.local.state import StateDir
from infra.local.supervision.processes import resident_bytes, tree

_SAMPLE_SECONDS = 1.0


class MemoryMeter:
    """Samples the resident memory of this process, the supervisor and all their descendants inside a ``with`` block."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)
        self.peak_bytes = 0
        self.newest_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            supervisor = self._state.supervisor_pid()
            trees = tree(os.getpid()) + (tree(supervisor) if supervisor else [])
            self.newest_bytes = resident_bytes({process.pid: process for process in trees}.values())
            self.peak_bytes = max(self.peak_bytes, self.newest_bytes)
