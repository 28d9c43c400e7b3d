"""Runs a command that shall not outlive its parent: ``python die_with_parent.py PARENT_PID COMMAND...``.

On Linux the kernel is asked to kill this process when its parent ends, however that ends; then the command takes this
process over. A program of its own, since between fork and exec of a threaded process little may be done.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)  # the parent ended before we could be tied to it
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
