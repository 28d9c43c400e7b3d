"""Day-ahead runs that are killed, repeated, concurrent or late: each curve once, and all rows right."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from dualcast.adapters.lake import forecast_rows, lake_paths
from dualcast.catalogue import Entity, UseCase
from dualcast.settings import Settings
from dualcast.timegrid import Clock
from services.da_svc.app import build_app
from services.da_svc.main import dependencies
from tests import batch_runs as runs
from tests.feature_job import publish
from tests.histories import history

pytestmark = pytest.mark.stack

# two periods of data: one up to the day of 23 hours, one up to the day of 25 hours
SPRING, AUTUMN = date(2022, 3, 27), date(2022, 10, 30)
FIRST_DATA = "2022-02-25"
LEARNED_UNTIL = "2022-10-28T12:00:00Z"


@pytest.fixture(scope="module")
def settings(stack: Settings, use_case: UseCase, entity: Entity, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake with features until the day before the last cutoff, a champion, and the later observations on Kafka."""
    log = tmp_path_factory.mktemp("runs") / "history"
    observations = pd.concat([history(use_case, entity, FIRST_DATA, 31), history(use_case, entity, "2022-07-05", 118)])
    early = observations["published_at"] < pd.Timestamp(LEARNED_UNTIL)
    due = observations["published_at"] < pd.Timestamp(use_case.cutoff(entity, AUTUMN))
    publish(stack, entity.id, observations[early], 2000)
    runs.finish(runs.start("history", "--until", LEARNED_UNTIL, log=log), log)
    subprocess.run([runs.DUALCAST, "train", "day-ahead", "--until", LEARNED_UNTIL[:-1]], check=True, timeout=300)
    publish(stack, entity.id, observations[due & ~early], 500)
    return stack


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.mark.timeout(1200)
def test_a_run_killed_in_each_step_gives_the_same_result_as_an_uninterrupted_run(
    settings: Settings, use_case: UseCase, log: Path
) -> None:
    day = ("day-ahead", "--delivery-date", AUTUMN.isoformat())
    with runs.lake_restored(settings):
        runs.finish(runs.start(*day, log=log), log)
        rows, (curve,) = runs.lake_rows(settings, use_case.use_case), runs.curves_on_topic(settings)
    with runs.lake_restored(settings):
        for step in partial_output_conditions(settings, use_case):
            runs.kill_when(step(), runs.start(*day, log=log), log)
        runs.finish(runs.start(*day, log=log), log)
        (again,) = runs.curves_on_topic(settings)
        assert again.points == curve.points
        for name, found in runs.lake_rows(settings, use_case.use_case).items():
            pd.testing.assert_frame_equal(found, rows[name], check_exact=True, obj=name)


def partial_output_conditions(settings: Settings, use_case: UseCase) -> list[Callable[[], Callable[[], bool]]]:
    """Conditions that hold when a step of a run has written part of its output, one for each step."""
    lake = lake_paths(settings)
    gold, curves = lake.gold_of("day-ahead", use_case.use_case), lake.forecasts("day-ahead", use_case.use_case)

    def grows(folder: str, pattern: str) -> Callable[[], Callable[[], bool]]:
        def watch() -> Callable[[], bool]:
            before = set(Path(folder).glob(pattern))
            return lambda: not before.issuperset(Path(folder).glob(pattern))

        return watch

    return [
        grows(f"{lake.bronze}/_delta_log", "*.json"),  # committed, but not in the checkpoint
        grows(lake.silver, "*/*.parquet"),  # rows are written but not committed
        grows(gold, "_unfinished/**/*.parquet"),
        grows(curves, "issue_date=*/*.parquet"),  # stored but not published
    ]


def test_concurrent_runs_publish_each_curve_once(
    settings: Settings, use_case: UseCase, entity: Entity, tmp_path: Path
) -> None:
    wanted = [AUTUMN, AUTUMN]
    with runs.lake_restored(settings):
        logs = [tmp_path / str(number) for number in range(len(wanted))]
        started = [
            runs.start("day-ahead", "--delivery-date", day.isoformat(), "--json", log=log)
            for day, log in zip(wanted, logs, strict=True)
        ]
        said = [json.loads(runs.finish(process, log)) for process, log in zip(started, logs, strict=True)]
        assert sorted(summary["published"] for summary in said) == [0, 1]
        curves = runs.curves_on_topic(settings)
        assert [c.issued_at for c in curves] == [use_case.cutoff(entity, AUTUMN)]
        stored = forecast_rows(settings, use_case.use_case, "day-ahead").sort_values("valid_time")
        assert stored["q50"].tolist() == [point.values[1] for curve in curves for point in curve.points]


def test_a_range_of_missed_days_is_run_and_days_without_data_are_listed(
    settings: Settings, use_case: UseCase, entity: Entity, log: Path
) -> None:
    with runs.lake_restored(settings):
        runs.finish(runs.start("day-ahead", "--delivery-date", AUTUMN.isoformat(), log=log), log)
        done = runs.summary("--from", "2022-02-24", "--to", SPRING.isoformat(), log=log, status=3)
        days = [date(2022, 2, 24) + timedelta(days=n) for n in range(32)]
        missing = [date.fromisoformat(curve["delivery_day"]) for curve in done["missing"]]
        assert missing == days[: len(missing)], "only days before the level of the series is known are missing"
        assert 2 <= len(missing) <= 7
        assert done["published"] == len(days) - len(missing)
        assert "2022-03, 2 of 2" in log.read_text()
        published = {curve.issued_at: curve for curve in runs.curves_on_topic(settings)}
        assert len(published) == done["published"] + 1
        for day, hours in ((SPRING, 23), (days[-2], 24), (AUTUMN, 25)):
            curve = published[use_case.cutoff(entity, day)]
            times = use_case.delivery_times(entity, day)
            assert len(times) == hours
            assert [point.valid_time for point in curve.points] == times
            stored = forecast_rows(settings, use_case.use_case, "day-ahead", curve.issued_at.date())
            assert stored.sort_values("valid_time")["valid_time"].tolist() == times
            assert served_times(settings, entity, day) == [t.isoformat().replace("+00:00", "Z") for t in times]


def served_times(settings: Settings, entity: Entity, day: date) -> list[str]:
    """The valid times of the curve that da-svc returns for a delivery day, read from the real topic."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) - timedelta(days=1)
    app = build_app(dependencies(settings.model_copy(update={"clock": Clock(start=noon, until=noon)})))
    deadline = monotonic() + 30
    with TestClient(app) as client:
        while True:
            answer = client.get(f"/api/v1/forecasts/day-ahead/{entity.id}", params={"delivery_date": day.isoformat()})
            if answer.status_code == 200:
                return [point["valid_time"] for point in answer.json()["points"]]
            assert monotonic() < deadline, answer.text
            sleep(0.1)


def test_a_run_before_the_cutoff_fails_without_starting_spark(settings: Settings, log: Path) -> None:
    far = (datetime.now(UTC) + timedelta(days=9)).date()
    before = monotonic()
    runs.finish(runs.start("day-ahead", "--delivery-date", far.isoformat(), log=log), log, status=1)
    assert f"the cutoff of delivery day {far}" in log.read_text().replace("\n", " ")
    assert monotonic() - before < 30, "the run does not start Spark before this check"
