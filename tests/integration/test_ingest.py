"""From a source through the commands to the real topic: complete and in order, also if the replay is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from dualcast.adapters.kafka.consumer import GroupConsumer
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.catalogue import UseCase
from dualcast.records import ObservationBatch, Topic
from dualcast.settings import Settings
from streaming.ingest.simulator import open_simulator
from tests.waiting import until

pytestmark = pytest.mark.stack("kafka", "registry")

ROOT = Path(__file__).parents[2]
START = datetime(2022, 3, 26, 9, tzinfo=UTC)
UNTIL = START + timedelta(hours=36)
HISTORY = START - timedelta(days=20)
KEYS = ["entity_id", "variable", "valid_time", "published_at", "value", "unit", "resolution", "source", "simulated"]


def command(*arguments: str, clock: str = "{}") -> subprocess.Popen[str]:
    code = "from streaming.commands import app; app()"
    environment = os.environ | {"DUALCAST_CLOCK": clock}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )


def published(settings: Settings) -> pd.DataFrame:
    """Every observation on the topic, in the order of the topic."""
    rows: list[dict[str, object]] = []
    with GroupConsumer(
        settings, Topic.OBSERVATIONS, Decoder.record, group=f"test-{time.time_ns()}", from_beginning=True
    ) as consumer:
        quiet = 0
        while quiet < 3:
            got = consumer.poll(2.0)
            quiet = 0 if got or not rows else quiet + 1
            for message, record in got:
                batch = ObservationBatch.from_record(record)
                headers = dict(message.headers() or [])
                assert headers["ce_specversion"] == b"1.0"
                assert message.key() == batch.entity_id.encode()
                rows += [
                    {"entity_id": batch.entity_id} | {k: getattr(o, k) for k in KEYS[1:]} for o in batch.observations
                ]
    return pd.DataFrame(rows)


def test_history_and_a_killed_and_resumed_replay_publish_all_observations(stack: Settings, use_case: UseCase) -> None:
    history = command("history", "--start", HISTORY.isoformat(), "--until", START.isoformat())
    _, text = history.communicate(timeout=120)
    assert history.returncode == 0, text

    epoch = datetime.now(UTC) + timedelta(seconds=8)
    clock = {"start": START.isoformat(), "epoch": epoch.isoformat(), "speed": 7200, "until": UNTIL.isoformat()}
    killed = command("replay", clock=json.dumps(clock))
    memory = Path(stack.names.file(str(stack.state_dir / f"replay-{use_case.use_case}.json")))

    def some_hours_are_published() -> bool:
        assert killed.poll() is None, killed.communicate()[1]
        return datetime.fromisoformat(json.loads(memory.read_text())["until"]) >= START + timedelta(hours=4)

    until(some_hours_are_published, 60)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)

    resumed = command("replay", clock=json.dumps(clock))
    _, text = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, text

    expected = open_simulator(use_case).observations(HISTORY, UNTIL + timedelta(microseconds=1))
    found = published(stack)
    once = found.drop_duplicates()
    assert len(found) - len(once) <= 500, "at most one step is published twice"
    for column in ("valid_time", "published_at"):
        once = once.assign(**{column: pd.to_datetime(once[column], utc=True).dt.as_unit("us")})
    pd.testing.assert_frame_equal(once[KEYS].reset_index(drop=True), expected[KEYS])


def test_a_replay_ends_soon_after_sigterm(stack: Settings) -> None:
    clock = {"start": START.isoformat(), "epoch": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    waiting = command("replay", clock=json.dumps(clock))
    assert waiting.stderr is not None
    while "replay" not in (line := waiting.stderr.readline()):
        assert line, "the replay has ended"
    begun = time.monotonic()
    waiting.terminate()
    waiting.communicate(timeout=15)
    assert time.monotonic() - begun < 5
    assert waiting.returncode == 128 + signal.SIGTERM
