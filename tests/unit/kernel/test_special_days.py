"""Every kind of day has its code: named holidays, the days around them, and periods."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from dualcast.catalogue import HolidayCalendar
from dualcast.features.holidays import holiday_shares, school_holiday_shares, special_day_codes
from dualcast.features.special_days import (
    BRIDGE,
    DAY_AFTER,
    DAY_BEFORE,
    FIRST_NAMED,
    ORDINARY,
    OTHER_HOLIDAY,
    PERIOD_WEEKEND,
    SATURDAY_AFTER,
)
from dualcast.timegrid import day_number

KINDS = ("Easter Monday", "Ascension Day", "12-24", "12-27..12-30", "Reformation Day")
GERMANY = HolidayCalendar(country="DE", subdivisions={"BY": 0.6, "NI": 0.4}, kinds=KINDS)


def code(day: date, calendar: HolidayCalendar = GERMANY) -> int:
    return int(special_day_codes(calendar)[day_number(day) - day_number(date(2000, 1, 1))])


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2022, 4, 18), FIRST_NAMED),
        (date(2022, 4, 19), DAY_AFTER),
        (date(2022, 5, 25), DAY_BEFORE),
        (date(2022, 5, 26), FIRST_NAMED + 1),
        (date(2022, 5, 27), BRIDGE),
        (date(2022, 5, 28), ORDINARY),
        (date(2022, 10, 3), OTHER_HOLIDAY),
        (date(2022, 4, 16), SATURDAY_AFTER),
        (date(2022, 12, 24), FIRST_NAMED + 2),
        (date(2022, 12, 28), FIRST_NAMED + 3),
        (date(2020, 12, 27), PERIOD_WEEKEND),
        (date(2022, 10, 31), FIRST_NAMED + 4),
        (date(2022, 2, 16), ORDINARY),
        (date(2022, 2, 20), ORDINARY),
    ],
)
def test_a_day_has_the_code_of_its_kind(day: date, expected: int) -> None:
    assert code(day) == expected


def test_a_holiday_of_few_people_is_an_ordinary_day() -> None:
    kinds = ("Corpus Christi",)
    few = HolidayCalendar(country="DE", subdivisions={"BY": 0.05, "NI": 0.95}, kinds=kinds)
    many = HolidayCalendar(country="DE", subdivisions={"BY": 0.15, "NI": 0.85}, kinds=kinds)
    assert code(date(2022, 6, 16), few) == ORDINARY
    assert code(date(2022, 6, 16), many) == FIRST_NAMED


def test_appended_kinds_do_not_change_other_codes() -> None:
    more = GERMANY.model_copy(update={"kinds": (*KINDS, "Good Friday")})
    old, new = special_day_codes(GERMANY), special_day_codes(more)
    assert set(new[old != new]) == {FIRST_NAMED + len(KINDS)}
    assert len(old) == len(holiday_shares(GERMANY))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'Festivus' is neither a holiday"):
        special_day_codes(GERMANY.model_copy(update={"kinds": ("Festivus",)}))


def test_codes_are_shared_and_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        special_day_codes(GERMANY)[0] = 1
    assert np.issubdtype(special_day_codes(GERMANY).dtype, np.integer)


@pytest.mark.parametrize(
    ("day", "share"),
    [(date(2022, 7, 4), 0.0), (date(2022, 7, 20), 0.4), (date(2022, 8, 10), 1.0), (date(2022, 9, 5), 0.6)],
)
def test_school_holidays_are_weighted_by_the_population_of_each_state(day: date, share: float) -> None:
    assert school_holiday_shares(GERMANY)[day_number(day) - day_number(date(2000, 1, 1))] == pytest.approx(share)


def test_school_holidays_that_are_not_published_yet_are_unknown() -> None:
    assert np.isnan(school_holiday_shares(GERMANY)[-366:]).all()
    assert np.isnan(school_holiday_shares(HolidayCalendar(country="ES"))).all()
