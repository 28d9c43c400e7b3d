"""Processes of the stack and all their descendants end with their supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from infra.local.state import Status
from infra.local.supervision import processes

# a child that starts a grandchild in a new session, as daemons do, and prints its process id
_DAEMONISE = (
    "import subprocess, time; child = subprocess.Popen(['sleep', '60'], start_new_session=True);"
    "print(child.pid, flush=True); time.sleep(60)"
)
# a parent that starts a child with processes.start, prints its process id and kills itself with SIGKILL
_KILLED_PARENT = (
    "import os,signal,sys; from pathlib import Path; from infra.local.supervision.processes import start;"
    "print(start(['sleep','60'], os.environ, Path(sys.argv[1])).pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
)


def wait_until_gone(pid: int, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.05)


def first_line(log: Path, seconds: float = 10.0) -> str:
    deadline = time.monotonic() + seconds
    while not log.exists() or not log.read_text().endswith("\n"):
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(0.05)
    return log.read_text().splitlines()[0]


def test_a_sweep_ends_processes_in_other_sessions(tmp_path: Path) -> None:
    mark = Status(token=f"test-{os.getpid()}")
    environment = {**os.environ, processes.SUPERVISOR_VARIABLE: mark.token}
    child = processes.start([sys.executable, "-c", _DAEMONISE], environment, tmp_path / "log")
    grandchild = int(first_line(tmp_path / "log"))

    assert {p.pid for p in processes.remaining_processes(mark)} == {child.pid, grandchild}
    assert processes.sweep(mark) == 2
    child.wait(timeout=5)
    wait_until_gone(grandchild)
    assert processes.sweep(mark) == 0


def test_a_sweep_without_a_mark_ends_nothing() -> None:
    assert processes.sweep(Status()) == 0


def test_a_child_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED_PARENT, str(tmp_path / "log")]
    parent = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert parent.returncode == -9
    wait_until_gone(int(parent.stdout))


def test_memory_includes_child_processes() -> None:
    with psutil.Popen(["sleep", "60"]) as child:
        while child.memory_info().rss == 0:  # the child process has not started yet
            time.sleep(0.01)
        tree = processes.tree(os.getpid())
        assert {os.getpid(), child.pid} <= {p.pid for p in tree}
        assert processes.resident_bytes(tree) > psutil.Process().memory_info().rss
        child.kill()
    assert processes.tree(child.pid) == []
