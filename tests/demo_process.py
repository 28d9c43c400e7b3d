"""Run ``dualcast demo`` as a user does: read its output up to a text, and stop it with Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stacks import ROOT, clean_environment

READY = "The services keep running"
_END_SECONDS = 60


class DemoProcess:
    """A process of ``dualcast demo --keep``: its services keep running after the replay."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def read_until(self, text: str) -> str:
        """Return the output up to a text. Fails with the last lines if the demo ends before."""
        assert self._process.stdout is not None
        lines: list[str] = []
        for line in self._process.stdout:
            lines.append(line)
            if text in line:
                return "".join(lines)
        pytest.fail("the demo ended early:\n" + "".join(lines[-60:]))

    def interrupt(self) -> int:
        """Send SIGINT as Ctrl-C does, wait for the exit and return the exit code."""
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=_END_SECONDS)
        return self._process.returncode


@contextmanager
def demo(state: Path, days: int, *more: str) -> Iterator[DemoProcess]:
    """Run a demo in a state folder and stop it with Ctrl-C.

    Until then, this process has the environment variables of the demo.
    """
    command = [str(Path(sys.executable).with_name("dualcast")), "demo", "--keep", "--days", str(days), *more]
    with pytest.MonkeyPatch.context() as patch:
        clean_environment(patch, state)
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        running = DemoProcess(process)
        try:
            yield running
        finally:
            status = running.interrupt()
    assert status == 130, f"the exit code after Ctrl-C is {status}, not 130"
