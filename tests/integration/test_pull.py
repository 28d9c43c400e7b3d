"""From a source's server to the real topic by the command: each value once, also if pulls overlap or are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from dualcast.adapters.kafka.readers import published
from dualcast.records import Topic
from dualcast.settings import Settings
from tests.waiting import until

pytestmark = pytest.mark.stack("kafka", "registry")

ROOT = Path(__file__).parents[2]
_DUALCAST = Path(sys.executable).with_name("dualcast")
QUARTER, DAY = timedelta(minutes=15), timedelta(days=1)
WEEK = datetime(2022, 3, 20, 23, tzinfo=UTC)


class Smard:
    """A server with a series of Germany's load; ``faults`` are its next responses."""

    def __init__(self, server: HTTPServer) -> None:
        self.values: dict[datetime, float] = {}
        self.faults: list[Response] = []
        self.asked = 0
        server.expect_request("/410/DE/index_quarterhour.json").respond_with_handler(self._index)
        server.expect_request(f"/410/DE/410_DE_quarterhour_{self._number(WEEK)}.json").respond_with_handler(self._week)
        server.expect_request("/411/DE/index_quarterhour.json").respond_with_json({"timestamps": []})
        server.expect_request("/4169/DE/index_hour.json").respond_with_json({"timestamps": []})

    def _index(self, _: Request) -> Response:
        self.asked += 1
        return self.faults.pop() if self.faults else self._json({"timestamps": [self._number(WEEK)]})

    def _week(self, _: Request) -> Response:
        return self._json({"series": [[self._number(t), value] for t, value in sorted(self.values.items())]})

    def _json(self, body: dict[str, Any]) -> Response:
        return Response(json.dumps(body), content_type="application/json")

    def _number(self, moment: datetime) -> int:
        return int(moment.timestamp() * 1000)


@pytest.fixture
def smard(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Smard:
    monkeypatch.setenv("DUALCAST_SMARD_URL", httpserver.url_for("/"))
    return Smard(httpserver)


def pull(*arguments: str, now: datetime) -> subprocess.Popen[str]:
    clock = json.dumps({"start": now.isoformat(), "until": now.isoformat()})
    return subprocess.Popen(
        [_DUALCAST, "stream", "pull", "smard", *arguments],
        cwd=ROOT,
        env=os.environ | {"DUALCAST_CLOCK": clock},
        stderr=subprocess.PIPE,
        text=True,
    )


def pulled(*arguments: str, now: datetime) -> str:
    done = pull(*arguments, now=now)
    _, text = done.communicate(timeout=120)
    assert done.returncode == 0, text
    return text


def on_the_topic(settings: Settings) -> list[tuple[datetime, float, datetime]]:
    """valid_time, value and published_at of all observations, in the order of the topic."""
    return [
        (o["valid_time"], o["value"], o["published_at"])
        for record in published(settings, Topic.OBSERVATIONS)
        for o in record["observations"]
    ]


def _wait_for(settings: Settings, count: int) -> None:
    until(lambda: len(on_the_topic(settings)) >= count, 60)


def test_overlapping_and_killed_pulls_publish_each_vintage_once(stack: Settings, smard: Smard) -> None:
    now = WEEK + 2 * DAY
    smard.values = {WEEK + i * QUARTER: 10000.0 + i for i in range(192)}
    smard.faults = [Response("", 503), Response('{"timest')]
    assert "retrying" in pulled("--from", WEEK.isoformat(), now=now)
    first = on_the_topic(stack)
    assert first == [(t, 4 * value, t + QUARTER) for t, value in smard.values.items()]

    later = now + timedelta(hours=1)
    gap, corrected = now + QUARTER, WEEK + 5 * QUARTER
    smard.values |= {gap: 11000.0, corrected: 9000.0}
    pulled(now=later)
    pulled("--from", WEEK.isoformat(), now=later)
    assert sorted(on_the_topic(stack)[192:]) == [(corrected, 36000.0, later), (gap, 44000.0, later)]

    following = pull("--follow", "--every", "PT0.5S", now=later)
    smard.values[now] = 12000.0
    _wait_for(stack, 195)
    following.send_signal(signal.SIGKILL)
    following.communicate(timeout=30)

    resumed = pull("--follow", "--every", "PT0.5S", now=later)
    smard.values[now + 2 * QUARTER] = 13000.0
    _wait_for(stack, 196)
    asked = smard.asked
    until(lambda: smard.asked >= asked + 6, 60)  # two more complete pulls
    resumed.terminate()
    _, text = resumed.communicate(timeout=30)
    assert resumed.returncode == 128 + signal.SIGTERM, text
    assert sorted(on_the_topic(stack)[194:]) == [(now, 48000.0, later), (now + 2 * QUARTER, 52000.0, later)]


def test_a_failed_source_exits_with_1_and_names_the_failed_series(stack: Settings, smard: Smard) -> None:
    smard.faults = [Response("gone", 410)]
    failing = pull("--from", WEEK.isoformat(), now=WEEK + DAY)
    _, text = failing.communicate(timeout=120)
    assert failing.returncode == 1
    assert "410" in text
    assert "load of DE" in text
