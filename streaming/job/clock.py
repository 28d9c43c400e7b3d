"""A clock for a process that starts before the replay clock is set."""

from __future__ import annotations

from datetime import datetime
from time import monotonic

from dualcast.settings import Settings
from dualcast.timegrid import Clock

_CHECK_SECONDS = 1.0


class LiveClock:
    """The clock of the settings, read again when ``stack.env`` changes: a replay sets it while the job is running."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.state_dir / "stack.env"
        self._clock: Clock = settings.clock
        self._seen = self._modified()
        self._check_at = monotonic() + _CHECK_SECONDS

    def now(self) -> datetime:
        """The present moment, UTC."""
        return self.current().now()

    def current(self) -> Clock:
        """The clock that is set at present."""
        if monotonic() >= self._check_at:
            self._check_at = monotonic() + _CHECK_SECONDS
            modified = self._modified()
            if modified != self._seen:
                self._seen, self._clock = modified, Settings(_env_file=self._file).clock
        return self._clock

    def _modified(self) -> int:
        return self._file.stat().st_mtime_ns if self._file.exists() else 0
