"""The vectorised publication rules equal the scalar rules of the catalogue, also over clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualcast.catalogue import Publication
from dualcast.observations.publication import published_at, valid_range

ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
STEPS = st.sampled_from([timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)])
AROUND_SWITCHES = st.one_of(
    st.integers(-300, 300).map(lambda k: datetime(2022, 3, 27, 1, tzinfo=UTC) + k * timedelta(minutes=15)),
    st.integers(-300, 300).map(lambda k: datetime(2022, 10, 30, 1, tzinfo=UTC) + k * timedelta(minutes=15)),
    st.integers(0, 4 * 24 * 1461).map(lambda k: datetime(2020, 1, 1, tzinfo=UTC) + k * timedelta(minutes=15)),
)
RULES = st.one_of(
    st.integers(0, 2880).map(lambda minutes: Publication(delay=timedelta(minutes=minutes))),
    st.builds(
        lambda days, minute: Publication(days_before=days, at=time(minute // 60, minute % 60)),
        st.integers(0, 14),
        st.integers(0, 1439),
    ),
)


@given(RULES, st.lists(AROUND_SWITCHES, min_size=1, max_size=20), STEPS, ZONES)
def test_the_vectorised_rule_equals_the_scalar_rule(
    rule: Publication, times: list[datetime], step: timedelta, zone: str
) -> None:
    found = published_at(rule, pd.DatetimeIndex(times), step, zone)
    assert list(found) == [rule.published_at(moment, step, zone) for moment in times]


@given(RULES, AROUND_SWITCHES, STEPS, ZONES)
def test_the_range_of_valid_times_contains_all_publications(
    rule: Publication, moment: datetime, step: timedelta, zone: str
) -> None:
    known = rule.published_at(moment, step, zone)
    first, last = valid_range(rule, known, known + timedelta(microseconds=1), step)
    assert first <= moment < last


@pytest.mark.parametrize(("day", "utc"), [("2022-03-27", "2022-03-26T09:00Z"), ("2022-03-28", "2022-03-27T08:00Z")])
def test_a_wall_clock_time_moves_with_the_clock_change(day: str, utc: str) -> None:
    rule = Publication(days_before=1, at=time(10))
    valid = pd.DatetimeIndex([f"{day} 12:00"]).tz_localize("Europe/Berlin")
    assert published_at(rule, valid, timedelta(hours=1), "Europe/Berlin")[0] == pd.Timestamp(utc)


def test_naive_times_are_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        published_at(Publication(delay=timedelta(0)), pd.DatetimeIndex(["2022-01-01"]), timedelta(hours=1), "UTC")
