"""The watchdog: when the supervisor ends and its pipe closes, stops the remaining processes of the supervisor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from infra.local.state import StateDir, Status
from infra.local.supervision.processes import sweep


def start(state: StateDir, token: str) -> subprocess.Popen[bytes]:
    """Start the watchdog. It stops the remaining processes and exits when its standard input closes."""
    command = [sys.executable, "-m", "infra.local.supervision.watchdog", str(state.root), token]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    last = StateDir(Path(sys.argv[1])).status()
    # The next supervisor may have written a new status already; its processes must keep running.
    sweep(last if last.token == sys.argv[2] else Status(token=sys.argv[2]))
