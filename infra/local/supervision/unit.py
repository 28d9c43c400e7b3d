"""One supervised component: its process, its health checks and its restarts."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from subprocess import Popen

import structlog

from dualcast.heartbeat import HEARTBEAT_VARIABLE, age_seconds
from infra.local.checks import NotReadyError
from infra.local.component import Component, LaunchContext
from infra.local.files import put_aside
from infra.local.state import ComponentStatus, Phase, ProcessId
from infra.local.supervision import processes

_CHECK_SECONDS = {Phase.STARTING: 0.3, Phase.HEALTHY: 3.0, Phase.UNHEALTHY: 1.0}
# A component whose last heartbeat is older than this is unhealthy.
_HEARTBEAT_TIMEOUT_SECONDS = 20.0
_HUNG_AFTER_SECONDS = 60.0
# A component that does not respond but uses the CPU may be working, so it gets a longer timeout, in case it loops.
_BUSY_SECONDS = 300.0
_BUSY_SHARE = 0.25
_START_SECONDS = 180.0
_STABLE_SECONDS = 10.0
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 10.0
_LARGEST_LOG_BYTES = 20_000_000
# The exit code of commands whose arguments, settings or input are unusable: a restart would end in the same way.
_EXIT_UNUSABLE_INPUT = 2
MAX_FAILURES = 3
_MOVE_DATA_AFTER_FAILURES = 2
_LONGEST_REASON = 300

_log = structlog.get_logger()


class Unit:
    """A component that the supervisor keeps running. All times are seconds of the monotonic clock."""

    def __init__(
        self, component: Component, context: LaunchContext, environment: Mapping[str, str], pool: Executor
    ) -> None:
        self.component = component
        self.phase = Phase.WAITING
        self.wanted = True
        self._context = context
        self._environment = environment
        self._pool = pool
        self._process: Popen[bytes] | None = None
        self._process_id: ProcessId | None = None
        self._address = component.address.format(**context.ports)
        self._check: Future[None] | None = None
        self._since = time.monotonic()
        self._last_healthy = self._last_check = 0.0
        self._unresponsive_since: tuple[float, float] | None = None  # since when, and its CPU time then
        self._failures = self._restarts = 0
        self._detail = ""
        self._heartbeat = context.state.heartbeat(component.name)

    @property
    def pid(self) -> int | None:
        """The id of its process, which leads a session of its own, or None if it is not running."""
        return self._process.pid if self._process else None

    @property
    def is_ready(self) -> bool:
        """Whether components that need it may start."""
        return self.phase == Phase.HEALTHY

    @property
    def has_failed(self) -> bool:
        """Whether it failed permanently or reached MAX_FAILURES consecutive failures."""
        return self.phase == Phase.FAILED or self._failures >= MAX_FAILURES

    def retry(self) -> None:
        """Start it again if it has failed permanently."""
        if self.phase == Phase.FAILED:
            self._failures = 0
            self._enter(Phase.WAITING)

    def status(self) -> ComponentStatus:
        """Return the state for ``status.json``."""
        return ComponentStatus(
            name=self.component.name,
            phase=self.phase,
            process=self._process_id,
            address=self._address,
            failures=self._failures,
            restarts=self._restarts,
            detail=self._detail,
        )

    def tick(self, *, needs_ready: bool, dependents_stopped: bool) -> None:
        """Take the next step if one is due. Never blocks."""
        now = time.monotonic()
        if not self.wanted:
            self._tick_stop(now, dependents_stopped)
        elif self._process is None:
            self._tick_start(now, needs_ready)
        else:
            self._tick_health(now)

    def on_exit(self, code: int) -> None:
        """Record the exit of the process and kill the rest of its session."""
        if self._process is None:
            return
        processes.kill_session(self._process.pid)
        self._process.returncode = code
        self._process, self._process_id, self._check = None, None, None
        if not self.wanted:
            self._enter(Phase.STOPPED)
        elif code == 0 and self.component.restart == "on-failure":
            self._enter(Phase.FINISHED)
        elif code == _EXIT_UNUSABLE_INPUT:
            self._detail = self._last_line() or f"exited with code {code}"
            self._enter(Phase.FAILED)
            _log.error("component failed permanently", component=self.component.name, reason=self._detail)
        else:
            self._failed(f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}")

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self._detail = reason
        self._enter(Phase.BACKOFF)
        _log.warning("component failed", component=self.component.name, reason=reason)

    def _last_line(self) -> str:
        """The end of its log, which says why."""
        with suppress(OSError):
            lines = self._context.state.log(self.component.name).read_text("utf-8", "replace").splitlines()
            return lines[-1].strip()[:_LONGEST_REASON] if lines else ""
        return ""

    def _tick_start(self, now: float, needs_ready: bool) -> None:
        if self.phase == Phase.WAITING and needs_ready:
            self._start()
        elif self.phase == Phase.BACKOFF:
            delay = min(_FIRST_BACKOFF_SECONDS * 2 ** (self._failures - 1), _LONGEST_BACKOFF_SECONDS)
            if now - self._since >= delay:
                self._restarts += 1
                self._start()

    def _start(self) -> None:
        """Start the process. On a full disk, or in a read-only folder, that is tried again later."""
        try:
            if self.component.rebuildable and self._failures == _MOVE_DATA_AFTER_FAILURES:
                self._move_data_away()
            self._heartbeat.unlink(missing_ok=True)
            environment = {**self._environment, **self.component.environment(self._context)}
            environment[HEARTBEAT_VARIABLE] = str(self._heartbeat)
            log = self._context.state.log(self.component.name)
            self._process = processes.start(self.component.command(self._context), environment, log)
        except OSError as error:
            self._failed(str(error))
            return
        self._process_id = ProcessId.of(self._process.pid)
        self._last_healthy = self._last_check = time.monotonic()
        self._enter(Phase.STARTING)
        _log.info("component started", component=self.component.name, pid=self._process.pid)

    def _move_data_away(self) -> None:
        folder = self._context.state.folder(self.component.name)
        if folder.exists():
            _log.error(
                "data moved away after repeated failures",
                component=self.component.name,
                moved_to=str(put_aside(folder)),
            )

    def _tick_health(self, now: float) -> None:
        self._rotate_log()
        healthy = self._poll_check(now)
        if healthy and now - self._since >= _STABLE_SECONDS:
            self._failures = 0
        limit = self._limit(now)
        if not healthy and now - self._last_healthy >= limit and self._process:
            _log.warning("killing an unresponsive component", component=self.component.name, seconds=limit)
            self._last_healthy = now
            processes.kill_session(self._process.pid)

    def _limit(self, now: float) -> float:
        """The seconds without a response after which the component is killed."""
        if self.phase == Phase.STARTING:
            return _START_SECONDS
        # a check of the heartbeat fails only after its own timeout
        hung = _HUNG_AFTER_SECONDS if self.component.check else _HUNG_AFTER_SECONDS - _HEARTBEAT_TIMEOUT_SECONDS
        if now - self._last_healthy < hung or self._unresponsive_since is None or self._process is None:
            return hung
        since, before = self._unresponsive_since
        used = processes.cpu_seconds(self._process.pid) - before
        return _BUSY_SECONDS if used > _BUSY_SHARE * (now - since) else hung

    def _poll_check(self, now: float) -> bool:
        """Return whether the last finished check succeeded. Start the next check when it is due."""
        if self._check is None:
            if now - self._last_check >= _CHECK_SECONDS[self.phase]:
                self._last_check = now
                self._check = self._pool.submit(self.component.check or self._check_heartbeat, self._address)
        elif self._check.done():
            error, self._check = self._check.exception(), None
            self._detail = "" if error is None else str(error)
            if error is None:
                self._last_healthy, self._unresponsive_since = now, None
                self._enter(Phase.HEALTHY)
            elif not isinstance(error, NotReadyError):
                raise error
            elif self.phase == Phase.HEALTHY and self._process:
                self._unresponsive_since = now, processes.cpu_seconds(self._process.pid)
                self._enter(Phase.UNHEALTHY)
        return self.phase == Phase.HEALTHY

    def _check_heartbeat(self, _: str) -> None:
        age = age_seconds(self._heartbeat)
        if age is None:
            raise NotReadyError("no progress yet")
        if age > _HEARTBEAT_TIMEOUT_SECONDS:
            raise NotReadyError(f"no progress for more than {_HEARTBEAT_TIMEOUT_SECONDS:.0f} s")

    def _tick_stop(self, now: float, dependents_stopped: bool) -> None:
        if self._process is None:
            self._enter(Phase.STOPPED)
        elif self.phase != Phase.STOPPING:
            if dependents_stopped:
                os.kill(self._process.pid, signal.SIGTERM)
                self._enter(Phase.STOPPING)
        elif now - self._since >= self.component.stop_seconds:
            processes.kill_session(self._process.pid)

    def _rotate_log(self) -> None:
        log = self._context.state.log(self.component.name)
        if log.exists() and log.stat().st_size > _LARGEST_LOG_BYTES:
            with suppress(OSError):  # if the disk is full, truncate without a copy
                shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)  # the component writes in append mode and continues at the new end

    def _enter(self, phase: Phase) -> None:
        if phase != self.phase:
            self.phase, self._since = phase, time.monotonic()
