"""Observations in memory: how far they reach, over clock changes too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dualcast.catalogue import load_use_case
from dualcast.records import Observation, ObservationBatch
from dualcast.timegrid import Clock, interval_end
from services.book.series import SeriesBook
from tests import services_world as world


@pytest.mark.parametrize(("day", "hours"), [("2024-03-31", 23), ("2024-10-27", 25), ("2024-05-01", 24)])
def test_a_measured_day_ends_at_local_midnight(day: str, hours: int) -> None:
    use_case = load_use_case("warehouses", world.USE_CASES)
    entity = use_case.entities[0]
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(entity.time_zone)).astimezone(UTC)
    end = start + timedelta(hours=hours)
    assert interval_end(start, use_case.grid, entity.time_zone) == end
    series = SeriesBook({use_case.use_case: use_case}, Clock(start=end + timedelta(hours=12), speed=1e-9))
    orders = Observation("orders", start, "P1D", 100.0, use_case.unit, end, "test", simulated=True)
    series.add_record(ObservationBatch(entity.id, [orders]).to_record())
    assert series.newest_end(use_case, entity.id) == end
    assert series.known_until(use_case, entity.id, "orders") == end
