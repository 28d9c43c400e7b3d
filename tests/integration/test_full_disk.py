"""A full disk: the supervisor lives through it, starts what was killed meanwhile, and says so once there is room."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from infra.local import stack
from infra.local.state import Phase, StateDir
from tests.stacks import stopped_at_the_end
from tests.waiting import until

_DISK = "size=64m"
_PATIENCE_SECONDS = 20.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", _DISK, "dualcast-test", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        reason = f"a file system cannot be mounted here: {mounted.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(f"CI must run this test as root: {reason}")
        pytest.skip(reason)
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def servers(supervisor: int) -> set[int]:
    return {child.pid for child in psutil.Process(supervisor).children() if child.name() == "redis-server"}


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as full, suppress(OSError):
        while True:
            full.write(bytes(1 << 16))


def test_a_server_that_is_killed_on_a_full_disk_is_started_again(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "_NEEDED_DISK_BYTES", 0)
    with stopped_at_the_end(StateDir(disk / "state")) as state:
        stack.start(state, ("redis",), console=Console(quiet=True))
        supervisor, killed = state.supervisor_pid(), state.status().components["redis"].pid
        assert supervisor is not None
        assert killed is not None
        fill(disk / "full")

        os.kill(killed, signal.SIGKILL)
        until(lambda: bool(servers(supervisor) - {killed}), _PATIENCE_SECONDS)
        assert state.status().components["redis"].pid == killed, "there was room for a new status"
        (disk / "full").unlink()

        until(lambda: state.status().components["redis"].pid not in {None, killed}, _PATIENCE_SECONDS)
        until(lambda: state.status().components["redis"].phase == Phase.HEALTHY, _PATIENCE_SECONDS)
        assert state.supervisor_pid() == supervisor
