"""The schedule of the daemon: cutoffs in order, and the first day after an interruption."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from types import SimpleNamespace
from typing import Self, cast

import pytest

from batch.forecasts.published_curves import CurveKey
from batch.runs.daemon import cutoffs, first_day, follow
from batch.runs.day_ahead import DayAheadJob
from batch.runs.outcome import Outcome
from dualcast.catalogue import Entity, UseCase
from dualcast.settings import Settings
from dualcast.timegrid import Clock


def test_each_delivery_day_has_the_cutoff_of_each_zone_in_order(use_case: UseCase, entity: Entity) -> None:
    east = entity.model_copy(update={"id": "EE", "time_zone": "Europe/Tallinn"})
    case = use_case.model_copy(update={"entities": (entity, east)})
    found = list(islice(cutoffs(case, date(2022, 3, 27)), 4))
    # the clocks change on the 27th: Berlin's 11:00 is 10:00 UTC on the 26th and 9:00 UTC on the 27th
    assert found == [
        (datetime(2022, 3, 26, 9, tzinfo=UTC), date(2022, 3, 27), ["EE"]),
        (datetime(2022, 3, 26, 10, tzinfo=UTC), date(2022, 3, 27), [entity.id]),
        (datetime(2022, 3, 27, 8, tzinfo=UTC), date(2022, 3, 28), ["EE"]),
        (datetime(2022, 3, 27, 9, tzinfo=UTC), date(2022, 3, 28), [entity.id]),
    ]


def test_without_curves_the_daemon_starts_with_tomorrow(use_case: UseCase) -> None:
    # 22:30 UTC is already the next day in Berlin
    assert first_day(use_case, datetime(2022, 6, 1, 22, 30, tzinfo=UTC), []) == date(2022, 6, 3)


@pytest.mark.parametrize(
    ("newest", "first"),
    [
        (date(2022, 6, 11), date(2022, 6, 11)),  # up to date: tomorrow again, whose curve is already published
        (date(2022, 6, 8), date(2022, 6, 9)),  # two days were missed
        (date(2022, 5, 1), date(2022, 6, 11)),  # another replay, long ago
    ],
)
def test_after_an_interruption_the_daemon_resumes_after_the_newest_curve(
    use_case: UseCase, entity: Entity, newest: date, first: date
) -> None:
    published = [(entity.id, use_case.cutoff(entity, newest), "1")]
    assert first_day(use_case, datetime(2022, 6, 10, 12, tzinfo=UTC), published) == first


def test_the_daemon_starts_with_the_first_day_that_an_entity_missed(use_case: UseCase, entity: Entity) -> None:
    other = entity.model_copy(update={"id": "other"})
    case = use_case.model_copy(update={"entities": (entity, other)})
    newest = {entity.id: date(2022, 6, 11), other.id: date(2022, 6, 9)}
    published = [(name, use_case.cutoff(entity, day), "1") for name, day in newest.items()]
    assert first_day(case, datetime(2022, 6, 10, 12, tzinfo=UTC), published) == date(2022, 6, 10)


class NoWaiting:
    """A fake that waits for no observations."""

    def __init__(self, *_: object) -> None: ...
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...
    def wait_for(self, moment: datetime) -> None: ...


@dataclass
class FakeJob:
    """A fake that records the requested days; ``there`` are the curves published before."""

    settings: Settings
    use_case: UseCase
    there: set[CurveKey]
    requested: list[date] = field(default_factory=list)
    spark: None = None

    @property
    def published(self) -> SimpleNamespace:
        return SimpleNamespace(keys=lambda: self.there)

    @property
    def steps(self) -> SimpleNamespace:
        return SimpleNamespace(note=lambda text: None)

    def ingest(self) -> None: ...

    def curves(self, days: list[date]) -> Outcome:
        self.requested += days
        return Outcome(self.use_case.use_case, days, "1", 1, 0, [], "")


def test_a_cutoff_is_skipped_only_if_every_entity_has_its_curve(
    use_case: UseCase, entity: Entity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batch.runs.daemon.Arrivals", NoWaiting)
    monkeypatch.setattr("batch.runs.daemon.jvm_watched", lambda _: nullcontext())
    other = entity.model_copy(update={"id": "other"})
    case = use_case.model_copy(update={"entities": (entity, other)})
    days = [date(2022, 6, day) for day in (9, 10, 11)]
    clock = Clock(start=use_case.cutoff(entity, days[0]), until=use_case.cutoff(entity, days[-1]))
    there = {(name, use_case.cutoff(entity, days[0]), "1") for name in (entity.id, other.id)}
    there.add((entity.id, use_case.cutoff(entity, days[1]), "1"))
    job = FakeJob(Settings(clock=clock), case, there)
    follow(cast("DayAheadJob", job))
    assert job.requested == days[1:]
