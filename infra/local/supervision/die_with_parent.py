"""Run a command that is killed when its parent ends: ``python die_with_parent.py PARENT_PID COMMAND...``.

On Linux, PR_SET_PDEATHSIG makes the kernel kill this process when its parent ends; exec keeps that setting. This is a
separate program because a multi-threaded process cannot safely run Python code between fork and exec.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Set the parent death signal and exec the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)  # the parent ended before prctl took effect
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
