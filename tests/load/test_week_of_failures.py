"""A replayed week in which each component is killed once: no data is lost or doubled, forecasts stay available.

Takes a quarter of an hour: ``make test ARGS="-m soak tests/load"``.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx2
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.adapters.kafka.readers import published, published_forecasts
from dualcast.catalogue import UseCase
from dualcast.features.as_of import intraday_features
from dualcast.features.plan import FeaturePlan
from dualcast.records import ObservationBatch, Topic
from dualcast.settings import Settings, load_settings
from infra.local.state import Phase, StateDir
from tests.demo_process import READY, demo
from tests.feature_job import published_rows
from tests.waiting import until

pytestmark = [pytest.mark.stack(own=True), pytest.mark.soak, pytest.mark.timeout(1800)]

DAYS = 7
# At this speed a day takes 72 s, so that Spark keeps up with the days while components are killed.
SPEED = 1200
# How far ahead a day-ahead curve must reach, as the fallback of id-svc.
AHEAD = timedelta(hours=12)
VICTIMS = ("redis", "features", "id-svc", "day-ahead", "kafka", "registry", "da-svc", "mlflow")
RECOVERY_SECONDS = 30.0
CALM_SECONDS = 6.0
ENTITY = "DE"
NEVER = datetime.min.replace(tzinfo=UTC)
ASKED = {"da-svc": "forecasts/day-ahead", "id-svc": "forecasts/intraday"}


@dataclass
class AvailabilityMonitor:
    """Requests forecasts from both services twice a second, and records the longest time without one."""

    state: StateDir
    silent_since: dict[str, float] = field(default_factory=dict)
    longest: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    answers: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send requests until the test is done."""
        while not self.done.wait(0.5):
            for service, path in ASKED.items():
                self._ask(service, path)

    def _ask(self, service: str, path: str) -> None:
        now = time.monotonic()
        address = self.state.live_status().components[service].address
        try:
            good = httpx2.get(f"{address}/api/v1/{path}/{ENTITY}", timeout=5).status_code == 200
        except httpx2.HTTPError:
            good = False
        self.answers[service] += good
        if good:
            self.silent_since.pop(service, None)
        elif self.answers.get(service):  # outages count from the first forecast on
            begin = self.silent_since.setdefault(service, now)
            self.longest[service] = max(self.longest[service], time.monotonic() - begin)


@dataclass(frozen=True)
class WeekResults:
    """The results of the week: topics to be read, and the measured times."""

    settings: Settings
    watch: AvailabilityMonitor
    recovered: dict[str, float]


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory, use_case: UseCase) -> Iterator[WeekResults]:
    root = tmp_path_factory.mktemp("week") / "state"
    with demo(root, DAYS, "--speed", str(SPEED)) as running:
        running.read_until("replay at")
        settings, state = load_settings(), StateDir(root)
        until(lambda: _day_ahead_reaches(settings) > settings.clock.now() + AHEAD, 180, every=1.0)
        watch = AvailabilityMonitor(state)
        asking = threading.Thread(target=watch.run)
        asking.start()
        online = OnlineFeatures(settings, use_case.use_case)
        recovered = {victim: _kill(settings, state, online, victim) for victim in VICTIMS}
        running.read_until(READY)
        watch.done.set()
        asking.join()
        yield WeekResults(load_settings(), watch, recovered)


def _day_ahead_reaches(settings: Settings) -> datetime:
    """The last interval of all published day-ahead curves."""
    curves = published_forecasts(settings, Topic.FORECASTS_DAY_AHEAD)
    return max((curve.points[-1].valid_time for curve in curves), default=NEVER)


def _kill(settings: Settings, state: StateDir, online: OnlineFeatures, victim: str) -> float:
    """Kill a component with all its processes; return the seconds until it is healthy and works again."""
    pid = state.live_status().components[victim].pid
    assert pid is not None, f"{victim} does not run"
    os.killpg(pid, signal.SIGKILL)
    killed_at = settings.clock.now()

    def is_back() -> bool:
        now = state.live_status().components[victim]
        healthy = now.phase == Phase.HEALTHY and now.pid != pid
        return healthy and (victim != "features" or _made_at(online) > killed_at)

    seconds = until(is_back, 4 * RECOVERY_SECONDS)
    time.sleep(CALM_SECONDS)
    return seconds


def _made_at(online: OnlineFeatures) -> datetime:
    """The time at which the newest features were made. The job's process runs long before it makes any."""
    return max((row.as_of for row in online.read([ENTITY]).values() if row), default=NEVER)


def _observations(settings: Settings) -> pd.DataFrame:
    """All accepted observations, in the order of the topic."""
    found = map(ObservationBatch.from_record, published(settings, Topic.OBSERVATIONS))
    rows = [observation for batch in found for observation in batch.observations]
    frame = pd.DataFrame([(o.variable, o.valid_time, o.published_at, o.value, o.unit, o.resolution) for o in rows])
    frame.columns = pd.Index(["variable", "valid_time", "published_at", "value", "unit", "resolution"])
    for name in ("valid_time", "published_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True).dt.as_unit("us")
    return frame


def test_killed_components_recover_within_the_limit(week: WeekResults) -> None:
    Console(stderr=True).print("seconds to recover:", week.recovered, "longest silence:", dict(week.watch.longest))
    assert max(week.recovered.values()) < RECOVERY_SECONDS


def test_no_outage_of_forecasts_exceeds_the_limit(week: WeekResults) -> None:
    for service in ASKED:
        assert week.watch.answers[service] > 0
        assert week.watch.longest[service] < RECOVERY_SECONDS, service


def test_each_feature_row_is_published_once_and_equals_the_batch_result(week: WeekResults, use_case: UseCase) -> None:
    entity, start = use_case.entities[0], week.settings.clock.start
    assert start is not None
    observations = _observations(week.settings)
    plan = FeaturePlan.of(use_case, "intraday")
    seen = timedelta(seconds=plan.lookback * plan.step) + timedelta(days=2)
    recent = observations[observations["valid_time"] >= start - seen]
    expected = intraday_features(use_case, entity, recent, start)
    rows = [row for row in published_rows(week.settings)[entity.id] if row.as_of >= start]
    keys = [(row.valid_time, row.as_of) for row in rows]
    assert len(keys) == len(set(keys)), "a row was published twice"
    assert keys == list(zip(expected["valid_time"], expected["as_of"], strict=True))
    for name in plan.names:
        ours = np.array([row.features[name] for row in rows])
        theirs = np.array([np.atleast_1d(cell) for cell in expected[name]])
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_each_curve_is_published_once(week: WeekResults, use_case: UseCase) -> None:
    entity = use_case.entities[0]
    for topic in (Topic.FORECASTS_DAY_AHEAD, Topic.FORECASTS_INTRADAY):
        keys = [curve.key for curve in published_forecasts(week.settings, topic)]
        assert len(keys) == len(set(keys)), topic
    days = {curve.points[0].valid_time for curve in published_forecasts(week.settings, Topic.FORECASTS_DAY_AHEAD)}
    clock = week.settings.clock
    assert clock.start is not None
    wanted = [clock.start.date() + timedelta(days=n + 1) for n in range(DAYS)]
    assert {use_case.delivery_times(entity, day)[0] for day in wanted} <= days
