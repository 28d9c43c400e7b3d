"""Intraday factors are valid from the local midnight of each entity."""

from __future__ import annotations

from datetime import UTC, datetime

from batch.forecasts.interval_factors import entities_by_midnight
from dualcast.catalogue import UseCase


def test_each_entity_has_its_own_midnight_also_on_switch_days(use_case: UseCase) -> None:
    berlin = use_case.entities[0]
    others = {"LIS": "Europe/Lisbon", "FIJ": "Pacific/Fiji"}
    more = [berlin.model_copy(update={"id": name, "time_zone": zone}) for name, zone in others.items()]
    case = use_case.model_copy(update={"entities": (berlin, *more)})
    # the evening of the day of 23 hours
    found = entities_by_midnight(case, datetime(2022, 3, 27, 22, 30, tzinfo=UTC))
    assert found == {
        datetime(2022, 3, 27, 22, tzinfo=UTC): [berlin.id],
        datetime(2022, 3, 27, 0, tzinfo=UTC): ["LIS"],
        datetime(2022, 3, 27, 12, tzinfo=UTC): ["FIJ"],
    }
