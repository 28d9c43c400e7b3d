"""Outlives the supervisor by a moment: when the pipe from it closes, ends whatever it has left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from infra.local.state import StateDir, Status
from infra.local.supervision.processes import sweep


def start(state: StateDir, token: str) -> subprocess.Popen[bytes]:
    """Start the watchdog; closing its standard input lets it sweep and end."""
    command = [sys.executable, "-m", "infra.local.supervision.watchdog", str(state.root), token]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    last = StateDir(Path(sys.argv[1])).status()
    # the next supervisor may be at work already: what it wrote down is not ours to end
    sweep(last if last.token == sys.argv[2] else Status(token=sys.argv[2]))
