"""Start processes that end with the supervisor, find them by a token in their environment, measure their memory."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from infra.local.state import Status

SUPERVISOR_VARIABLE = "DUALCAST_SUPERVISED_BY"
_WRAPPER = Path(__file__).with_name("die_with_parent.py")
_PR_SET_CHILD_SUBREAPER = 36


def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command in a new session that is killed when this process ends. Append its output to a log file."""
    wrapped = [sys.executable, "-I", "-S", str(_WRAPPER), str(os.getpid()), *command]
    with log.open("ab") as output:
        return subprocess.Popen(
            wrapped,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill_session(leader: int) -> None:
    """Kill all remaining processes in the session of a process from ``start``."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return  # the session has no processes left


def adopt_orphans() -> None:
    """Make orphaned descendants children of this process, so that it can find them (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def remaining_processes(status: Status) -> list[psutil.Process]:
    """Return the running processes of a supervisor: those in its status and those with its token in their environment.

    Both sources are needed: Redis overwrites its environment, and the status does not list children of components.
    """
    known = (c.process.process() for c in status.components.values() if c.process)
    found = {process.pid: process for process in known if process}
    for process in psutil.process_iter() if status.token else ():
        try:
            if process.environ().get(SUPERVISOR_VARIABLE) == status.token:
                found[process.pid] = process
        except (psutil.Error, OSError):
            continue  # has ended meanwhile, or belongs to another user
    found.pop(os.getpid(), None)
    return list(found.values())


def sweep(status: Status, grace_seconds: float = 5.0) -> int:
    """Stop the remaining processes of a supervisor with SIGTERM, then SIGKILL. Return their number."""
    processes = remaining_processes(status)
    for process in processes:
        _signal(process.terminate)
    _, alive = psutil.wait_procs(processes, timeout=grace_seconds)
    for process in alive:
        _signal(process.kill)
    psutil.wait_procs(alive, timeout=grace_seconds)
    return len(processes)


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants; empty if it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its descendants."""
    total = 0.0
    for process in tree(pid):
        try:
            used = process.cpu_times()
        except psutil.Error:
            continue
        total += used.user + used.system
    return total


def resident_bytes(processes: Iterable[psutil.Process]) -> int:
    """Return the sum of resident memory. Shared pages count once per process, so this is an upper bound."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.Error:
        return
