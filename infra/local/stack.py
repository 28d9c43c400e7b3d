"""Operations of the commands on the stack: start components, wait for them, stop them, read their state."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from infra.local.components import COMPONENTS, DEFAULT, with_needs
from infra.local.java import artifacts
from infra.local.ports import PortAllocator, is_free
from infra.local.state import ComponentStatus, Desired, Phase, ProcessId, StateDir, Status
from infra.local.supervision import processes
from infra.local.supervision.external import external_address
from infra.local.supervision.unit import MAX_FAILURES

_NEEDED_DISK_BYTES = 2_000_000_000
_START_SECONDS = 180.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1


class StackError(RuntimeError):
    """An operation on the stack failed. The message gives the cause and a remedy."""


@dataclass(frozen=True)
class Row:
    """One component in the output of ``dualcast status``."""

    status: ComponentStatus
    uptime_seconds: float
    resident_bytes: int


def start(
    state: StateDir,
    names: tuple[str, ...] = DEFAULT,
    *,
    console: Console,
    ports: Mapping[str, int] | None = None,
    arguments: Mapping[str, tuple[str, ...]] | None = None,
    owner: ProcessId | None = None,
    on_status: Callable[[Status], None] = lambda _: None,
) -> Status:
    """Start components and their dependencies, in addition to those that run, and wait until all are healthy.

    ``arguments`` are appended to the commands of components. The stack stops when the process ``owner`` ends. Raises
    StackError if a component does not start.
    """
    wanted = with_needs(names)
    state.create()
    _check_disk(state)
    _check_ports(state, ports or {})
    _ensure_jars(state, wanted, fetch_all=names == DEFAULT, console=console)
    added = Desired(components=wanted, ports=dict(ports or {}), arguments=dict(arguments or {}), owner=owner)
    _request(state, added)
    return _wait_until_healthy(state, wanted, on_status)


def stop(state: StateDir, names: tuple[str, ...] = ()) -> bool:
    """Stop components and their dependents, or all without names. Return whether a stack was running."""
    pid = state.supervisor_pid()
    if pid is None:
        processes.sweep(state.status())
        return False
    if names:
        _stop_some(state, names)
    else:
        _stop_all(state, pid)
    return True


def rows(state: StateDir) -> list[Row]:
    """Return the state of every requested component in the order of COMPONENTS."""
    running = state.supervisor_pid() is not None
    known = state.live_status().components
    found = []
    for name in (name for name in COMPONENTS if name in state.desired().components):
        component = known.get(name, ComponentStatus(name=name, phase=Phase.WAITING if running else Phase.STOPPED))
        tree = processes.tree(component.pid) if component.pid else []
        uptime = time.time() - tree[0].create_time() if tree else 0.0
        found.append(Row(component, uptime, processes.resident_bytes(tree)))
    return found


def log_tail(state: StateDir, component: str, lines: int = 15) -> str:
    """Return the last lines of a log."""
    path = state.log(component)
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"


def _check_disk(state: StateDir) -> None:
    for folder, purpose in ((state.root, "the state of the stack"), (_existing(artifacts.cache_dir()), "downloads")):
        free = shutil.disk_usage(folder).free
        if free < _NEEDED_DISK_BYTES:
            raise StackError(
                f"Only {free / 1e9:.1f} GB are free in {folder} for {purpose}; about 2 GB are required.\n"
                "Free disk space, or set DUALCAST_STATE_DIR and DUALCAST_CACHE_DIR to folders with more space."
            )


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _check_ports(state: StateDir, ports: Mapping[str, int]) -> None:
    known = {port for component in COMPONENTS.values() for port in component.ports}
    for name, port in ports.items():
        if name not in known:
            raise StackError(f"Unknown port name {name}; known: {', '.join(sorted(known))}.")
        if state.supervisor_pid() is not None:
            raise StackError("The stack is running. Run `dualcast down` before you specify ports.")
        if not is_free(port):
            raise StackError(
                f"Port {port}, specified for {name}, is in use by another process. Specify another or omit it."
            )


def _ensure_jars(state: StateDir, names: tuple[str, ...], *, fetch_all: bool, console: Console) -> None:
    saved = PortAllocator(state, {}).saved
    started = [COMPONENTS[name] for name in names if not external_address(COMPONENTS[name], saved)]
    needed = {jar_set for component in started for jar_set in component.jar_sets}
    artifacts.ensure(needed | ({"spark", "flink"} if fetch_all else set()), console)


def _request(state: StateDir, added: Desired) -> None:
    """Add components to the desired state of a running stack, or start a supervisor with them."""
    with state.locked():
        running = state.supervisor_pid() is not None
        before = state.desired() if running else Desired()
        desired = Desired(
            components=tuple(dict.fromkeys((*before.components, *added.components))),
            ports={**before.ports, **added.ports},
            arguments={**before.arguments, **added.arguments},
            owner=added.owner or before.owner,
            requests=before.requests + 1,
        )
        state.write_desired(desired)
        if not running:
            _spawn(state)


def _spawn(state: StateDir) -> None:
    with state.log("supervisor").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "infra.local.supervision.supervisor", str(state.root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            timeout=_START_SECONDS,
            check=True,
        )


def _wait_until_healthy(state: StateDir, names: tuple[str, ...], on_status: Callable[[Status], None]) -> Status:
    good = {Phase.HEALTHY, Phase.EXTERNAL, Phase.FINISHED}
    for _ in _until(_START_SECONDS):
        status = state.live_status()
        on_status(status)
        requested = [status.components[name] for name in names if name in status.components]
        if len(requested) == len(names) and all(c.phase in good for c in requested):
            return status
        if state.supervisor_pid() is None:
            raise StackError(_failure_message(state, "supervisor", "the process has ended"))
        for component in requested:
            if component.failures >= MAX_FAILURES or component.phase == Phase.FAILED:
                raise StackError(_failure_message(state, component.name, component.detail))
    late = [c.name for c in state.status().components.values() if c.name in names and c.phase not in good]
    blocking = late[0] if late else "supervisor"
    raise StackError(_failure_message(state, blocking, f"not healthy after {_START_SECONDS:.0f} s"))


def _failure_message(state: StateDir, component: str, detail: str) -> str:
    return (
        f"{component} does not start: {detail}.\nThe end of {state.log(component)}:\n{log_tail(state, component)}\n"
        "The other components keep running; `dualcast down` stops them."
    )


def _stop_some(state: StateDir, names: tuple[str, ...]) -> None:
    with state.locked():
        before = state.desired()
        kept = tuple(n for n in before.components if not set(with_needs((n,))) & set(names))
        state.write_desired(before.model_copy(update={"components": kept}))
    for _ in _until(_STOP_SECONDS):
        if all(c.pid is None or c.name in kept for c in state.status().components.values()):
            return
    raise StackError(f"{', '.join(names)} did not stop in {_STOP_SECONDS:.0f} s; see {state.log('supervisor')}")


def _stop_all(state: StateDir, pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    for _ in _until(_STOP_SECONDS):
        if state.supervisor_pid() is None:
            return
    os.kill(pid, signal.SIGKILL)  # its watchdog then stops the components
    processes.sweep(state.status())


def _until(seconds: float) -> Iterator[None]:
    """Yield once per poll interval until the timeout."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(_POLL_SECONDS)
