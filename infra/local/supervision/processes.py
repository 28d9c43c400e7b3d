"""Processes: started so that they end with their supervisor, found again by a mark in their environment, measured."""

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

MARK = "DUALCAST_SUPERVISED_BY"
_WRAPPER = Path(__file__).with_name("die_with_parent.py")
_PR_SET_CHILD_SUBREAPER = 36


def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, tied to this process, with its output appended to a log file."""
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
    """Kill whatever is left of the session that a process from ``start`` leads or led."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return  # nothing is left of it


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none is lost from sight (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def remaining_processes(status: Status) -> list[psutil.Process]:
    """Everything that a supervisor started and that still runs: what it wrote down, and what carries its mark.

    Neither is enough: Redis overwrites its environment, and a component's own children are written down nowhere.
    """
    known = (c.process.process() for c in status.components.values() if c.process)
    found = {process.pid: process for process in known if process}
    for process in psutil.process_iter() if status.token else ():
        try:
            if process.environ().get(MARK) == status.token:
                found[process.pid] = process
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or not ours to look at
    found.pop(os.getpid(), None)
    return list(found.values())


def sweep(status: Status, grace_seconds: float = 5.0) -> int:
    """End everything that a supervisor left behind, first politely, and say how many processes there were."""
    processes = remaining_processes(status)
    for process in processes:
        _signal(process.terminate)
    _, alive = psutil.wait_procs(processes, timeout=grace_seconds)
    for process in alive:
        _signal(process.kill)
    psutil.wait_procs(alive, timeout=grace_seconds)
    return len(processes)


def tree(pid: int) -> list[psutil.Process]:
    """A process and all its descendants; empty where it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def resident_bytes(processes: Iterable[psutil.Process]) -> int:
    """The sum of resident memory; pages shared by several processes count for each, so this is an upper bound."""
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
