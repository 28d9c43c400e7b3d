"""The state folder: what lies where, and the small files by which commands and supervisor understand each other.

``run/desired.json`` says what shall run (written by the commands), ``run/status.json`` what does (written by the
supervisor), ``run/ports.json`` keeps the ports, ``run/supervisor.lock`` is held for as long as the supervisor lives,
and ``stack.env`` tells everybody else the addresses.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import psutil
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict

_M = TypeVar("_M", bound=BaseModel)
_MARKER = ".dualcast-state"


class StateError(RuntimeError):
    """The state folder cannot be used as asked."""


class Phase(StrEnum):
    """What a component is doing."""

    WAITING = "waiting"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    BACKOFF = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    EXTERNAL = "external"
    UNREACHABLE = "unreachable"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProcessId(_Strict):
    """A process, told from a later one with the same id by when it started."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Identify a running process, such as a child that has not been waited for."""
        return cls(pid=pid, started=psutil.Process(pid).create_time())

    @classmethod
    def of_this_process(cls) -> ProcessId:
        """Identify the process that calls."""
        return cls.of(os.getpid())

    def process(self) -> psutil.Process | None:
        """Find that very process, or None where it has ended."""
        try:
            process = psutil.Process(self.pid)
            return process if abs(process.create_time() - self.started) < 1.0 else None
        except psutil.Error:
            return None


class Desired(_Strict):
    """What shall run.

    ``ports`` are those that the user named, ``arguments`` are added to the command of a component, and ``owner`` is the
    process whose end also ends the stack.
    """

    components: tuple[str, ...] = ()
    ports: dict[str, int] = {}
    arguments: dict[str, tuple[str, ...]] = {}
    owner: ProcessId | None = None


class ComponentStatus(_Strict):
    """What one component does; ``failures`` counts its ends since it was last well."""

    name: str
    phase: Phase
    process: ProcessId | None = None
    address: str = ""
    failures: int = 0
    restarts: int = 0
    detail: str = ""

    @property
    def pid(self) -> int | None:
        """The process id, or None where it does not run."""
        return self.process.pid if self.process else None


class Status(_Strict):
    """What the supervisor, whose process id is here, last wrote; ``token`` marks every process that it started."""

    supervisor: int = 0
    token: str = ""
    components: dict[str, ComponentStatus] = {}


class StateDir:
    """All paths below one state folder, made on first use."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.run = self.root / "run"
        self.logs = self.root / "logs"
        self.stack_env = self.root / "stack.env"

    def create(self) -> None:
        """Make the folder, and mark it as ours where it was not there or was empty."""
        self.root.mkdir(parents=True, exist_ok=True)
        if not any(self.root.iterdir()):
            (self.root / _MARKER).touch()
        self.run.mkdir(exist_ok=True)
        self.logs.mkdir(exist_ok=True)

    @property
    def is_managed(self) -> bool:
        """Whether this folder was made for dualcast, so that all in it may be deleted."""
        return (self.root / _MARKER).exists()

    def log(self, component: str) -> Path:
        """The log file of a component."""
        return self.logs / f"{component}.log"

    def folder(self, component: str) -> Path:
        """The data folder of a component."""
        return self.root / component

    def desired(self) -> Desired:
        """What shall run; nothing where nobody has asked yet."""
        return _read(self.run / "desired.json", Desired)

    def write_desired(self, desired: Desired) -> None:
        """Say what shall run."""
        write_atomically(self.run / "desired.json", desired.model_dump_json(indent=1))

    def status(self) -> Status:
        """What the supervisor last wrote, whether it still runs or not."""
        return _read(self.run / "status.json", Status)

    def live_status(self) -> Status:
        """What runs; nothing where no supervisor does, or one that has not written yet."""
        pid, status = self.supervisor_pid(), self.status()
        return status if pid is not None and status.supervisor == pid else Status()

    def write_status(self, status: Status) -> None:
        """Say what runs."""
        write_atomically(self.run / "status.json", status.model_dump_json(indent=1))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Held while one command reads and changes the small files."""
        self.create()
        with (self.run / "commands.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def supervisor_pid(self) -> int | None:
        """The running supervisor, or None. Its lock is the proof: a process id alone may have been given away anew."""
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
        """Become the supervisor: the descriptor to keep open, or None where another one runs."""
        descriptor = os.open(self.run / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if not _lock(descriptor, attempts=20):  # a command that only looks holds it for a moment
            os.close(descriptor)
            return None
        return descriptor

    def write_pid_to_supervisor_lock(self, descriptor: int) -> None:
        """Say in the lock that this process, which inherited it, is the supervisor."""
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def update_stack_env(self, changes: Mapping[str, str | None]) -> None:
        """Set variables in ``stack.env``, or remove those given as None."""
        with self.locked():
            values = {**dotenv_values(self.stack_env, interpolate=False), **changes}
            lines = [f"{key}={_quoted(value)}" for key, value in sorted(values.items()) if value is not None]
            write_atomically(self.stack_env, "\n".join(["# written by dualcast up", *lines, ""]))


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content so that a reader sees the old or the new one, never half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def _lock(descriptor: int, attempts: int) -> bool:
    for _ in range(attempts):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _read(path: Path, model: type[_M]) -> _M:
    try:
        return model.model_validate_json(path.read_text())
    except FileNotFoundError:
        return model()
