"""Telemetry through a real MQTT broker to the real topic: no loss, also if broker and listener are killed.

The broker is amqtt, in an environment of its own, since it requires other versions of our dependencies.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from paho.mqtt import publish

from dualcast.adapters.kafka.readers import published
from dualcast.catalogue import read_document
from dualcast.records import Topic
from dualcast.settings import Settings
from infra.local.ports import is_free
from tests.waiting import until

pytestmark = pytest.mark.stack("kafka", "registry")

ROOT = Path(__file__).parents[2]
_BROKER = "amqtt==0.12.1"
_DUALCAST = Path(sys.executable).with_name("dualcast")
_PATIENCE_SECONDS = 60
START = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def uv() -> str:
    found = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    if not Path(found).exists():
        pytest.skip("uv, which installs the MQTT broker, is missing")
    return found


@pytest.fixture
def port() -> int:
    return next(p for p in range(18900, 19000) if is_free(p))


class Broker:
    """A broker that can be killed and started again on its port."""

    def __init__(self, uv: str, port: int, folder: Path) -> None:
        self._config = folder / "broker.yaml"
        # any user name is accepted; the broker keeps sessions only for clients with a name
        plugin = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": False}}
        listener = {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}
        self._config.write_text(yaml.safe_dump({"listeners": listener, "plugins": plugin}))
        self._command = [uv, "tool", "run", "--from", _BROKER, "amqtt", "-c", str(self._config)]
        self._port = port
        self.start()

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet, start_new_session=True)
        until(self._started, _PATIENCE_SECONDS, every=0.2)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        until(lambda: not self._answers(), 10)  # the listening process is a child of the process that has ended

    def _answers(self) -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def _started(self) -> bool:
        assert self._process.poll() is None, "the broker has ended"
        return self._answers()


@pytest.fixture
def broker(uv: str, port: int, tmp_path: Path) -> Iterator[Broker]:
    made = Broker(uv, port, tmp_path)
    yield made
    made.kill()


@pytest.fixture
def environment(stack: Settings, port: int, tmp_path: Path) -> dict[str, str]:
    """The environment of a use case whose load is received over MQTT."""
    definition = read_document(stack.use_cases / "de_load.yaml")
    query = {"topic": "scada/{entity_id}/load", "value": "kw"}
    definition["sources"] = {"mqtt": [{"variable": "load", "unit": "kW", "factor": 0.001, "query": query}]}
    (tmp_path / "de_load.yaml").write_text(yaml.safe_dump(definition))
    return os.environ | {
        "DUALCAST_USE_CASES": str(tmp_path),
        "DUALCAST_MQTT_PORT": str(port),
        "DUALCAST_MQTT_USERNAME": "us",
    }


def listener(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([_DUALCAST, "stream", "mqtt"], cwd=ROOT, env=environment)


def send(port: int, number: int) -> None:
    """Send a message whose value is its number, and wait until the broker has acknowledged it."""
    at = START + number * timedelta(minutes=15)
    text = json.dumps({"kw": number * 1000.0, "time": at.isoformat()})
    _publish(port, text)


def _publish(port: int, text: str) -> None:
    publish.single("scada/DE/load", text, qos=1, hostname="127.0.0.1", port=port, auth={"username": "meter"})


def published_values(settings: Settings) -> list[int]:
    return [int(o["value"]) for record in published(settings, Topic.OBSERVATIONS) for o in record["observations"]]


def dead_letters(settings: Settings) -> set[tuple[str, str, bytes]]:
    found = published(settings, Topic.DEAD_LETTERS)
    return {(r["reason"], r["topic"], r["value"]) for r in found if r["component"] == "ingest-mqtt"}


def _listens(settings: Settings, port: int, number: int) -> bool:
    """Whether a message sent now is published. A restarted broker has no session until the listener reconnects."""
    send(port, number)
    time.sleep(0.5)
    return number in published_values(settings)


def test_no_message_is_lost_when_broker_and_listener_are_killed(
    stack: Settings, broker: Broker, port: int, environment: dict[str, str]
) -> None:
    first = listener(environment)
    try:
        until(lambda: _listens(stack, port, 1), _PATIENCE_SECONDS, every=0.2)
        broker.kill()
        broker.start()
        until(lambda: _listens(stack, port, 2), _PATIENCE_SECONDS, every=0.2)
        _publish(port, "no JSON")
        until(lambda: bool(dead_letters(stack)), _PATIENCE_SECONDS, every=0.2)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        for number in range(10, 20):
            send(port, number)
        assert not set(published_values(stack)) & set(range(10, 20))
        second = listener(environment)
        try:
            until(lambda: set(range(10, 20)) <= set(published_values(stack)), _PATIENCE_SECONDS, every=0.2)
        finally:
            second.terminate()
        assert second.wait(30) == 128 + signal.SIGTERM
    finally:
        first.kill()
    assert len(published_values(stack)) <= 12 + 2
    assert dead_letters(stack) == {("not_json", "mqtt:scada/DE/load", b"no JSON")}
