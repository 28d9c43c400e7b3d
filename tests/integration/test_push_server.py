"""Observations over HTTP to the real topic: accepted once the broker acknowledges, refused while it is unavailable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from rich.console import Console

from dualcast.adapters.kafka.readers import published
from dualcast.records import Topic
from dualcast.settings import Settings
from infra.local import stack as embedded
from infra.local.ports import is_free
from infra.local.state import StateDir
from tests.waiting import until

pytestmark = pytest.mark.stack("kafka", "registry", own=True)

_DUALCAST = Path(sys.executable).with_name("dualcast")
KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def server(stack: Settings) -> Iterator[str]:
    """The address of a running server."""
    port = next(p for p in range(18800, 18900) if is_free(p))
    address = f"http://127.0.0.1:{port}"
    environment = os.environ | {"DUALCAST_PUSH_KEY": KEY}
    process = subprocess.Popen([_DUALCAST, "stream", "push-server", "--port", str(port)], env=environment)

    def healthy() -> bool:
        assert process.poll() is None
        try:
            return httpx2.get(f"{address}/health", timeout=5).is_success
        except httpx2.HTTPError:
            return False

    until(healthy, 60)
    yield address
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM


def post(address: str, value: float) -> httpx2.Response:
    body: dict[str, Any] = {
        "entity_id": "DE",
        "variable": "load",
        "valid_time": "2024-05-01T10:30:00Z",
        "resolution": "PT15M",
        "value": value,
        "unit": "MW",
    }
    return httpx2.post(
        f"{address}/api/v1/observations", json={"observations": [body]}, headers={"X-API-Key": KEY}, timeout=60
    )


def values(settings: Settings) -> list[float]:
    return [o["value"] for record in published(settings, Topic.OBSERVATIONS) for o in record["observations"]]


def test_accepted_observations_are_on_the_topic_after_an_outage_of_the_broker(stack: Settings, server: str) -> None:
    assert post(server, 50001.0).status_code == 202
    assert values(stack) == [50001.0]
    embedded.stop(StateDir(stack.state_dir), ("kafka",))
    refused = post(server, 50002.0)
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    embedded.start(StateDir(stack.state_dir), ("kafka",), console=Console(quiet=True))
    until(lambda: post(server, 50003.0).status_code == 202, 60)
    assert {50001.0, 50003.0} <= set(values(stack)) <= {50001.0, 50002.0, 50003.0}


def test_the_server_does_not_start_without_a_key(stack: Settings) -> None:
    command = [str(_DUALCAST), "stream", "push-server"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "DUALCAST_PUSH_KEY" in done.stderr
