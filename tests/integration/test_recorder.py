"""The recorder with a real broker: after being killed it resumes at its position and stores each curve once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.store.engine import open_store
from dualcast.adapters.store.forecasts import Span, read_curves
from dualcast.adapters.store.migrate import migrate
from dualcast.curves.forecast import Forecast
from dualcast.records import Topic
from dualcast.settings import Settings
from tests import services_world as world
from tests.waiting import until

pytestmark = pytest.mark.stack("kafka", "registry")
COUNT = 3_000
_PATIENCE_SECONDS = 60
_RECOVERY_SECONDS = 30


@contextmanager
def recorder(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = str(Path(sys.executable).with_name("dualcast"))
    with log.open("ab") as out:
        process = subprocess.Popen([program, "store", "record"], env=dict(os.environ), stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def recorded(settings: Settings, enough: Callable[[int], bool]) -> list[Forecast]:
    """Wait until the store has ``enough`` curves, and return them."""
    engine = open_store(settings)

    def curves() -> list[Forecast]:
        return list(read_curves(engine, Span("de_load", "intraday")))

    try:
        until(lambda: enough(len(curves())), _PATIENCE_SECONDS)
        return curves()
    finally:
        engine.dispose()


def test_a_killed_recorder_stores_each_curve_once(stack: Settings, tmp_path: Path) -> None:
    curves = [world.intraday(world.NOW + timedelta(minutes=i)) for i in range(COUNT)]
    with RecordProducer(stack, "test") as producer:
        for curve in [*curves, *curves[:100]]:
            producer.send(Topic.FORECASTS_INTRADAY, "DE", curve, curve.issued_at)
    migrate(open_store(stack))
    with recorder(tmp_path / "first.log") as process:
        part = recorded(stack, lambda count: count >= 500)
        os.kill(process.pid, signal.SIGKILL)
    assert len(part) < COUNT, "the recorder had finished before it was killed"
    killed = time.monotonic()
    with recorder(tmp_path / "second.log") as process:
        recorded(stack, lambda count: count > len(part))
        assert time.monotonic() - killed < _RECOVERY_SECONDS
        assert recorded(stack, lambda count: count >= COUNT) == curves
        process.terminate()
        assert process.wait(15) == 0, (tmp_path / "second.log").read_text()
