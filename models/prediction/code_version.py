"""The commit of the running code, which every model and forecast records."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from dualcast import __version__


@cache
def code_version() -> str:
    """The commit of the running code: DUALCAST_CODE_VERSION where set, else git's, else the package's version."""
    given = os.environ.get("DUALCAST_CODE_VERSION")
    if given:
        return given
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__
