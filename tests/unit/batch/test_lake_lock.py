"""A process that writes to the lake waits until another one has finished or was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.databases import fresh_database

PROGRAM = """
import sys
from dualcast.adapters.lake_lock import lake_lock
from dualcast.settings import load_settings
with lake_lock(load_settings(), lambda: print("waits", flush=True)):
    print("holds", flush=True)
    sys.stdin.readline()
"""


class Writer:
    """A process that holds the lock until ``finish``."""

    def __init__(self, **environment: str) -> None:
        pipe = subprocess.PIPE
        command, known = [sys.executable, "-c", PROGRAM], os.environ | environment
        self.process = subprocess.Popen(command, env=known, stdin=pipe, stdout=pipe, text=True)

    def reports(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def finish(self) -> int:
        self.process.communicate("\n", timeout=60)
        return self.process.returncode


@pytest.fixture(params=["file", "postgresql"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Writer]]:
    """Start writers that share a store, on one machine or on several machines with separate state directories."""
    shared = {"DUALCAST_LAKE": "s3://lake"}
    if request.param == "postgresql":
        shared["DUALCAST_STORE"] = fresh_database(request.getfixturevalue("postgres_server"), uuid4().hex)
    writers: list[Writer] = []

    def start(**more: str) -> Writer:
        machine = str(len(writers)) if request.param == "postgresql" else ""
        writers.append(Writer(**(shared | {"DUALCAST_STATE_DIR": str(tmp_path / machine)} | more)))
        return writers[-1]

    yield start
    for writer in writers:
        writer.process.kill()
        writer.process.communicate()


def test_a_second_writer_waits_until_the_first_has_finished(start: Callable[..., Writer]) -> None:
    first = start()
    assert first.reports() == "holds"
    second = start()
    assert second.reports() == "waits"
    assert first.finish() == 0
    assert second.reports() == "holds"
    assert second.finish() == 0


def test_the_lock_of_a_killed_writer_is_released(start: Callable[..., Writer]) -> None:
    first = start()
    assert first.reports() == "holds"
    second = start()
    assert second.reports() == "waits"
    first.process.send_signal(signal.SIGKILL)
    assert second.reports() == "holds"
    assert second.finish() == 0


@pytest.mark.parametrize("start", ["postgresql"], indirect=True)
def test_writers_of_different_lakes_do_not_wait(start: Callable[..., Writer]) -> None:
    first, second = start(), start(DUALCAST_LAKE="s3://other")
    assert [first.reports(), second.reports()] == ["holds", "holds"]
    assert [first.finish(), second.finish()] == [0, 0]
