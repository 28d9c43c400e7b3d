"""Special days: named holidays, the days around them, and periods such as the turn of the year.

Each kind of day has a code, so that a model can fit a level for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache

import holidays as holidays_library
import numpy as np

from dualcast.arrays import Floats, Slots

Shares = tuple[tuple[str, float], ...]
ORDINARY, OTHER_HOLIDAY, BRIDGE, DAY_AFTER, DAY_BEFORE, SATURDAY_AFTER, PERIOD_WEEKEND = range(7)
# The kinds that the catalogue names follow those that every calendar has.
FIRST_NAMED = 7
# Shares of the population: a holiday of fewer than _NOTICED is ignored; one of _OFF or more makes a day off.
_NOTICED, _OFF = 0.1, 0.5
_LANGUAGE = "en_US"


def special_days(country: str, subdivisions: Shares, kinds: Sequence[str], shares: Floats, first: date) -> Slots:
    """The code of each day from ``first`` on, a first of January; ``shares`` (days,): who has a holiday.

    Raises ValueError where a kind is neither a holiday of the country nor a date.
    """
    weekday = (np.arange(len(shares)) + first.weekday()) % 7
    code = _unnamed_kinds(weekday, shares)
    named = _named_days(country, subdivisions, first.year, len(shares))
    for number, kind in enumerate(kinds, FIRST_NAMED):
        if kind in named:
            code[named[kind]] = number
        else:
            _mark_dates(code, kind, number, weekday, first)
    return code


def _unnamed_kinds(weekday: Slots, shares: Floats) -> Slots:
    """The codes that every calendar has: holidays, and days around holidays and weekends."""
    off = (weekday >= 5) | (shares >= _OFF)
    # the day before the first and the one after the last count as working days
    before, after = np.append(False, off[:-1]), np.append(off[1:], False)
    holiday = (shares >= _OFF) & (weekday < 5)
    holiday_before, holiday_after = np.append(False, holiday[:-1]), np.append(holiday[1:], False)
    code: Slots = np.select(
        [
            shares >= _OFF,
            (weekday == 5) & holiday_before,
            off,
            before & after,
            holiday_before,
            holiday_after,
        ],
        [OTHER_HOLIDAY, SATURDAY_AFTER, ORDINARY, BRIDGE, DAY_AFTER, DAY_BEFORE],
        default=ORDINARY,
    )
    return code


def _mark_dates(code: Slots, kind: str, number: int, weekday: Slots, first: date) -> None:
    """Set the code of a date (MM-DD) or a period (MM-DD..MM-DD) in every year; of a period, except on holidays."""
    begin, _, end = kind.partition("..")
    try:
        spans = [
            (_of_year(year, begin) - first, _of_year(year, end or begin) - first)
            for year in range(first.year, first.year + len(code) // 365)
        ]
    except ValueError as error:
        raise ValueError(f"{kind!r} is neither a holiday of the country nor MM-DD nor MM-DD..MM-DD") from error
    for since, until in spans:
        days = np.arange(since.days, until.days + 1)
        if not end:
            code[days] = number
            continue
        days = days[np.isin(code[days], (ORDINARY, BRIDGE, DAY_AFTER, DAY_BEFORE, SATURDAY_AFTER))]
        code[days] = np.where(weekday[days] >= 5, PERIOD_WEEKEND, number)


def _of_year(year: int, text: str) -> date:
    month, day = map(int, text.split("-"))
    return date(year, month, day)


@lru_cache(maxsize=64)
def _named_days(country: str, subdivisions: Shares, first_year: int, days: int) -> dict[str, Slots]:
    """English name of a holiday -> its days, counted from the start of ``first_year``; not those of small regions."""
    first = date(first_year, 1, 1)
    years = range(first_year, (first + timedelta(days=days - 1)).year + 1)
    shares: dict[str, dict[int, float]] = {}
    for subdivision, share in subdivisions or ((None, 1.0),):
        found = holidays_library.country_holidays(country, subdiv=subdivision, years=years, language=_LANGUAGE)
        for day, names in found.items():
            # several holidays may fall on one day
            for name in names.split("; "):
                of_name = shares.setdefault(name, {})
                of_name[(day - first).days] = of_name.get((day - first).days, 0.0) + share
    return {
        name: np.array(sorted(day for day, share in on.items() if share >= _NOTICED), dtype=np.int64)
        for name, on in shares.items()
    }
