"""The local times of the slot calendar equal those of the standard library."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dualcast.catalogue import Entity
from dualcast.features.holidays import SlotCalendar

QUARTER = 900


@pytest.mark.parametrize(
    "zone",
    [
        "UTC",
        "Europe/Madrid",
        "America/New_York",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Pacific/Apia",
    ],
)
@pytest.mark.parametrize("year", [2001, 2011, 2022, 2050])
def test_every_quarter_hour_of_a_year_has_the_offset_of_its_zone(entity: Entity, zone: str, year: int) -> None:
    begin = int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) // QUARTER
    slots = begin + np.arange(366 * 96)
    offsets = SlotCalendar(entity.model_copy(update={"time_zone": zone}), QUARTER).utc_offset(slots)
    tz = ZoneInfo(zone)
    right = [datetime.fromtimestamp(s * QUARTER, tz).utcoffset().total_seconds() for s in slots.tolist()]  # type: ignore[union-attr]
    np.testing.assert_array_equal(offsets, right)
