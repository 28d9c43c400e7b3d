"""A process whose JVM is killed ends at once, and records progress only while the JVM answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.local.java import artifacts
from tests.stacks import ROOT
from tests.waiting import until

_PROGRAM = """
import time
from batch.engine.jvm_watch import jvm_watched
from batch.engine.session import spark_session
from dualcast.settings import load_settings
with jvm_watched(spark_session(load_settings())):
    print("started", flush=True)
    time.sleep(600)
"""
_PATIENCE_SECONDS = 15.0


@pytest.fixture
def heartbeat(tmp_path: Path) -> Path:
    return tmp_path / "heartbeat"


def jvm_of(process: subprocess.Popen[str]) -> psutil.Process:
    (jvm,) = [child for child in psutil.Process(process.pid).children(recursive=True) if child.name() == "java"]
    return jvm


def changed(file: Path) -> int:
    return file.stat().st_mtime_ns


def test_the_process_ends_with_its_jvm_and_makes_no_progress_while_it_hangs(tmp_path: Path, heartbeat: Path) -> None:
    environment = {
        **os.environ,
        "DUALCAST_STATE_DIR": str(tmp_path / "state"),
        "DUALCAST_HEARTBEAT": str(heartbeat),
        "DUALCAST_JAVA_HOME": str(artifacts.java_home(tmp_path / "java")),
    }
    command = [sys.executable, "-c", _PROGRAM]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            until(heartbeat.exists, _PATIENCE_SECONDS)
            jvm = jvm_of(process)

            jvm.suspend()
            hung_since = changed(heartbeat)
            with pytest.raises(AssertionError, match="did not hold"):
                until(lambda: changed(heartbeat) > hung_since + 2 * 10**9, 4.0)
            jvm.resume()
            until(lambda: changed(heartbeat) > hung_since + 2 * 10**9, _PATIENCE_SECONDS)

            jvm.kill()
            assert process.wait(_PATIENCE_SECONDS) == 1
        finally:
            process.kill()
