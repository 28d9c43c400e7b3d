"""The supervisor: a detached process that keeps the desired components running until it receives a stop signal.

It compares the desired state (``run/desired.json``) with the actual state several times per second and takes the next
step for each component. No other process starts or stops a component.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil
import structlog

from dualcast.log_stream import unfailing
from infra.local.component import Component, LaunchContext
from infra.local.components import COMPONENTS
from infra.local.java import artifacts
from infra.local.ports import PortAllocator
from infra.local.state import StateDir, Status
from infra.local.supervision import processes, watchdog
from infra.local.supervision.external import ExternalUnit, external_address
from infra.local.supervision.unit import Unit

_RECONCILE_SECONDS = 0.2
_log = structlog.get_logger()


class Supervisor:
    """Keeps the components of one state folder running."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._token = uuid.uuid4().hex
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="check")
        self._units: dict[str, Unit | ExternalUnit] = {}
        self._ports = PortAllocator(state, state.desired().ports)
        self._java_home = artifacts.java_home(state.root / "java")
        self._watchdog = watchdog.start(state, self._token)
        self._stopping = False
        self._written = Status()
        self._requests = state.desired().requests

    def run(self) -> None:
        """Supervise until SIGTERM, SIGINT, SIGHUP or the end of the owner, then stop all components."""
        processes.adopt_orphans()
        processes.sweep(self._state.status())
        self._write_status()
        self._write_jars()
        try:
            with self._signal_wakeups() as wakeup:
                while not (self._stopping and not self._units):
                    self.reconcile()
                    select.select([wakeup], [], [], _RECONCILE_SECONDS)
                    self._drain(wakeup)
        finally:
            self.close()

    def close(self) -> None:
        """Release all resources. The watchdog then stops any remaining processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._withdraw_addresses()
        self._watchdog.communicate(timeout=30)

    def reconcile(self) -> None:
        """Take the next step for every component."""
        self._reap()
        self._stopping = self._stopping or self._owner_has_ended()
        desired = self._state.desired()
        wanted = () if self._stopping else desired.components
        for name in wanted:
            if name not in self._units:
                self._units[name] = self._unit(COMPONENTS[name])
        for name, unit in self._units.items():
            unit.wanted = name in wanted
            if desired.requests != self._requests:
                unit.retry()
        self._requests = desired.requests
        for name, unit in self._units.items():
            unit.tick(needs_ready=self._needs_ready(unit), dependents_stopped=self._dependents_stopped(name))
        self._write_status()
        for name in [name for name, unit in self._units.items() if not unit.wanted and unit.pid is None]:
            del self._units[name]

    def _unit(self, component: Component) -> Unit | ExternalUnit:
        outside = external_address(component, self._ports.saved)
        if outside:
            self._state.update_stack_env({component.variable: outside})
            return ExternalUnit(component, outside, self._pool)
        ports = {name: self._ports.port(name, preferred) for name, preferred in component.ports.items()}
        arguments = self._state.desired().arguments.get(component.name, ())
        context = LaunchContext(self._state, self._java_home, ports, arguments)
        address = {component.variable: component.address.format(**ports)} if component.variable else {}
        self._state.update_stack_env(address | component.published(context))
        return Unit(component, context, self._environment(), self._pool)

    def _environment(self) -> dict[str, str]:
        own = {"DUALCAST_STATE_DIR": str(self._state.root), "JAVA_HOME": str(self._java_home)}
        own |= {processes.SUPERVISOR_VARIABLE: self._token, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        return {**inherited, **own}

    def _withdraw_addresses(self) -> None:
        """Remove what ends with the servers from ``stack.env``. The broker's identity stays: it is the folder's."""
        addresses = {component.variable: None for component in COMPONENTS.values() if component.variable}
        self._state.update_stack_env({"DUALCAST_CLOCK": None, **addresses})

    def _needs_ready(self, unit: Unit | ExternalUnit) -> bool:
        """Whether each dependency of a component runs or has failed repeatedly: it then starts without those."""
        needed = [self._units[need] for need in unit.component.needs if need in self._units]
        return len(needed) == len(unit.component.needs) and all(n.is_ready or n.has_failed for n in needed)

    def _dependents_stopped(self, name: str) -> bool:
        return not any(name in unit.component.needs and unit.pid is not None for unit in self._units.values())

    def _owner_has_ended(self) -> bool:
        owner = self._state.desired().owner
        return owner is not None and owner.process() is None

    def _reap(self) -> None:
        by_pid = {unit.pid: unit for unit in self._units.values() if unit.pid}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in by_pid:
                by_pid[pid].on_exit(os.waitstatus_to_exitcode(status))
                self._kill_orphans()

    def _kill_orphans(self) -> None:
        """Kill processes that a component started in other sessions. As orphans they are children of this process."""
        known = {self._watchdog.pid, *(unit.pid for unit in self._units.values())}
        for child in psutil.Process().children():
            if child.pid not in known:
                child.kill()

    def _write_status(self) -> None:
        components = {name: unit.status() for name, unit in self._units.items()}
        status = Status(supervisor=os.getpid(), token=self._token, components=components)
        if status != self._written:
            try:
                self._state.write_status(status)
            except OSError as error:  # the next change, or the next attempt, is written once there is room
                _log.warning("status not written", error=str(error))
            else:
                self._written = status

    def _write_jars(self) -> None:
        jars = {f"DUALCAST_{s.upper()}_JARS": ",".join(map(str, artifacts.jars(s))) for s in ("spark", "flink")}
        self._state.update_stack_env({"DUALCAST_JAVA_HOME": str(self._java_home), "DUALCAST_CLOCK": None, **jars})

    @contextmanager
    def _signal_wakeups(self) -> Iterator[int]:
        """Yield a descriptor that becomes readable on every signal, so that a child's exit is handled immediately."""
        readable, writable = os.pipe()
        os.set_blocking(readable, False)
        os.set_blocking(writable, False)
        signal.set_wakeup_fd(writable)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        yield readable

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    @staticmethod
    def _drain(readable: int) -> None:
        try:
            os.read(readable, 4096)
        except BlockingIOError:
            return


def main() -> None:
    """Run the supervisor of a state folder unless one runs. The first process exits once the lock is held."""
    structlog.configure(
        processors=[structlog.processors.TimeStamper(fmt="iso"), structlog.processors.LogfmtRenderer()],
        logger_factory=structlog.WriteLoggerFactory(unfailing(sys.stderr)),
    )
    os.umask(0o077)  # and so all components
    state = StateDir(Path(sys.argv[1]))
    state.create()
    lock = state.acquire_supervisor_lock()
    if lock is None:
        _log.info("another supervisor is running", state_dir=str(state.root))
        return
    if os.fork():
        os._exit(0)
    state.write_pid_to_supervisor_lock(lock)
    started = time.monotonic()
    _log.info("supervisor started", pid=os.getpid())
    Supervisor(state).run()
    _log.info("supervisor stopped", seconds=round(time.monotonic() - started))


if __name__ == "__main__":
    main()
