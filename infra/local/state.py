"""The state folder: its paths and the files that the commands and the supervisor share.

The commands write the desired state to ``run/desired.json``. The supervisor writes the actual state to
``run/status.json``, the ports to ``run/ports.json`` and the addresses for all other processes to ``stack.env``. It
holds ``run/supervisor.lock`` while it runs.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import psutil
import structlog
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, RootModel

from infra.local.files import lock, put_aside, quoted, read_model, write_atomically

_MARKER = ".dualcast-state"
_log = structlog.get_logger(__name__)


class StateError(RuntimeError):
    """The state folder cannot be used."""


class Phase(StrEnum):
    """The state of a component."""

    WAITING = "waiting"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    BACKOFF = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    FINISHED = "finished"
    EXTERNAL = "external"
    UNREACHABLE = "unreachable"


class Maker(StrEnum):
    """The kind of command that created a state folder."""

    STACK = "stack"
    DEMO = "demo"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProcessId(_Strict):
    """A process identified by its id and start time, because the operating system reuses ids."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Identify a running process or a child that has not been waited for."""
        return cls(pid=pid, started=psutil.Process(pid).create_time())

    @classmethod
    def of_this_process(cls) -> ProcessId:
        """Identify the calling process."""
        return cls.of(os.getpid())

    def process(self) -> psutil.Process | None:
        """Return this process, or None if it has ended."""
        try:
            process = psutil.Process(self.pid)
            return process if abs(process.create_time() - self.started) < 1.0 else None
        except psutil.Error:
            return None


class Desired(_Strict):
    """The desired state of the stack.

    ``ports`` are those that the user specified. ``arguments`` are appended to the command of a component. The stack
    stops when the process ``owner`` ends. ``requests`` counts the requests; each starts failed components again.
    """

    components: tuple[str, ...] = ()
    ports: dict[str, int] = {}
    arguments: dict[str, tuple[str, ...]] = {}
    owner: ProcessId | None = None
    requests: int = 0


class ComponentStatus(_Strict):
    """The actual state of one component; ``failures`` counts its exits since it was last stable."""

    name: str
    phase: Phase
    process: ProcessId | None = None
    address: str = ""
    failures: int = 0
    restarts: int = 0
    detail: str = ""

    @property
    def pid(self) -> int | None:
        """The process id, or None if the component does not run."""
        return self.process.pid if self.process else None


class Status(_Strict):
    """The last written state of a supervisor: its process id, the token of its child processes, its components."""

    supervisor: int = 0
    token: str = ""
    components: dict[str, ComponentStatus] = {}


class StateDir:
    """The paths and files of one state folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.run = self.root / "run"
        self.logs = self.root / "logs"
        self.stack_env = self.root / "stack.env"

    def create(self, maker: Maker = Maker.STACK) -> None:
        """Create the folder. If it was missing or empty, mark it as created by dualcast, and by which command."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(self.root.iterdir()):
            (self.root / _MARKER).write_text(maker)
        if self.maker is not None:
            self.root.chmod(0o700)  # one of an earlier version
        self.run.mkdir(mode=0o700, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)

    @property
    def maker(self) -> Maker | None:
        """Who created this folder; None if it was not dualcast, whose commands then delete nothing in it."""
        marker = self.root / _MARKER
        if not marker.exists():
            return None
        return Maker.DEMO if marker.read_text().strip() == Maker.DEMO else Maker.STACK

    def log(self, component: str) -> Path:
        """Return the log file of a component."""
        return self.logs / f"{component}.log"

    def heartbeat(self, component: str) -> Path:
        """Return the file whose time of change is that of a component's last progress."""
        return self.run / f"{component}.heartbeat"

    def folder(self, component: str) -> Path:
        """Return the data folder of a component."""
        return self.root / component

    def desired(self) -> Desired:
        """Read the desired state; empty before the first request."""
        return read_model(self.run / "desired.json", Desired)

    def write_desired(self, desired: Desired) -> None:
        """Write the desired state."""
        write_atomically(self.run / "desired.json", desired.model_dump_json(indent=1))

    def status(self) -> Status:
        """Read the last written state, whether the supervisor still runs or not."""
        return read_model(self.run / "status.json", Status)

    def live_status(self) -> Status:
        """Read the state of the running supervisor; empty if none runs or it has not written its state yet."""
        pid, status = self.supervisor_pid(), self.status()
        return status if pid is not None and status.supervisor == pid else Status()

    def write_status(self, status: Status) -> None:
        """Write the actual state."""
        write_atomically(self.run / "status.json", status.model_dump_json(indent=1))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock for reading and changing the shared files."""
        self.create()
        with (self.run / "commands.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def supervisor_pid(self) -> int | None:
        """Return the process id of the running supervisor, or None. The lock decides, since ids are reused."""
        try:
            with (self.run / "supervisor.lock").open("r") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
        except FileNotFoundError:
            return None
        except BlockingIOError:
            text = (self.run / "supervisor.lock").read_text().strip()
            return int(text) if text else 0

    def acquire_supervisor_lock(self) -> int | None:
        """Acquire the supervisor lock. Return the descriptor to keep open, or None if another supervisor runs."""
        descriptor = os.open(self.run / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if not lock(descriptor, attempts=20):  # supervisor_pid() holds the lock briefly
            os.close(descriptor)
            return None
        return descriptor

    def write_pid_to_supervisor_lock(self, descriptor: int) -> None:
        """Write the id of this process, which inherited the lock, to the lock file."""
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def ports(self) -> dict[str, int]:
        """Read the ports that were assigned before, by name."""
        return read_model(self.run / "ports.json", Ports).root

    def write_ports(self, ports: Mapping[str, int]) -> None:
        """Write the ports."""
        write_atomically(self.run / "ports.json", Ports(dict(ports)).model_dump_json(indent=1))

    def _stack_env(self) -> dict[str, str | None]:
        try:
            return dict(dotenv_values(self.stack_env, interpolate=False))
        except UnicodeDecodeError:
            _log.warning("damaged file put aside", moved_to=str(put_aside(self.stack_env)))
            return {}

    def update_stack_env(self, changes: Mapping[str, str | None]) -> None:
        """Set variables in ``stack.env``; None removes a variable."""
        with self.locked():
            values = {**self._stack_env(), **changes}
            lines = [f"{key}={quoted(value)}" for key, value in sorted(values.items()) if value is not None]
            write_atomically(self.stack_env, "\n".join(["# written by dualcast up", *lines, ""]))


class Ports(RootModel[dict[str, int]]):
    """The ports of ``run/ports.json`` by name."""

    root: dict[str, int] = {}
