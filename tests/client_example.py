"""Run the example from the client's README."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.conftest import ROOT


def run_client_example(da_svc: str, id_svc: str) -> str:
    """Run the example against two services and return its output."""
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "services/client/README.md").read_text(), re.DOTALL)
    environment = {"DUALCAST_DA_SVC": da_svc, "DUALCAST_ID_SVC": id_svc, "PATH": ""}
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
