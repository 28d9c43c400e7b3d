"""Intraday features from late, revised, missing and repeated values, and rows made by timers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dualcast.arrays import Floats
from dualcast.catalogue import Entity, UseCase
from dualcast.features.as_of import intraday_features, intraday_features_at
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.features.intraday.state import IntradayState, Rows
from tests.histories import as_update, history, in_canonical_order

STEP = 15 * 60 * 1_000_000
SLOT, MOMENT = pd.Timedelta(minutes=15), pd.Timedelta(minutes=1)


@dataclass(frozen=True)
class MadeRow:
    """One row."""

    origin: int
    as_of: int
    features: dict[str, list[float]]


class Stream:
    """The state of an entity and the observations applied to it."""

    def __init__(self, use_case: UseCase, plan: IntradayPlan) -> None:
        self.use_case, self.plan, self.state = use_case, plan, IntradayState(plan)
        self.sent: list[pd.DataFrame] = []

    def send(self, frame: pd.DataFrame) -> list[MadeRow]:
        self.sent.append(frame)
        rows, refused = self.state.apply(as_update(self.use_case, self.plan, frame))
        assert not refused
        return [made for r in rows for made in made_rows(r, self.plan)]

    def clock(self, moment: pd.Timestamp) -> list[MadeRow]:
        row = self.state.overdue(int(moment.value) // 1000 // STEP, STEP)
        return made_rows(row, self.plan) if row is not None else []


def made_rows(rows: Rows, plan: IntradayPlan) -> list[MadeRow]:
    def cell(values: Floats, i: int, name: str) -> list[float]:
        width = 1 if name in plan.features.per_origin else plan.horizons
        found: list[float] = np.broadcast_to(values, (len(rows), width))[i].tolist()
        return found

    return [
        MadeRow(int(rows.origin[i]), int(rows.as_of[i]), {n: cell(v, i, n) for n, v in rows.features.items()})
        for i in range(len(rows))
    ]


def assert_as_known(use_case: UseCase, entity: Entity, sent: list[pd.DataFrame], rows: list[MadeRow]) -> None:
    """Check that each row equals the result of the plain function for the values published by its as_of."""
    keys = pd.DataFrame(
        {
            "valid_time": pd.to_datetime([r.origin * STEP for r in rows], unit="us", utc=True),
            "as_of": pd.to_datetime([r.as_of for r in rows], unit="us", utc=True),
        }
    )
    plain = intraday_features_at(use_case, entity, pd.concat(sent), keys)
    ordered = sorted(rows, key=lambda r: (r.as_of, r.origin))
    for name in ordered[0].features:
        expected = np.stack([np.atleast_1d(cell) for cell in plain[name]])
        np.testing.assert_array_equal(np.array([r.features[name] for r in ordered]), expected, err_msg=name)


@pytest.fixture(scope="module")
def plan(use_case: UseCase, entity: Entity) -> IntradayPlan:
    return IntradayPlan(use_case, entity)


@pytest.fixture(scope="module")
def past(use_case: UseCase, entity: Entity) -> pd.DataFrame:
    return history(use_case, entity, "2022-03-15", 10)


Begin = Callable[[], Stream]


@pytest.fixture(scope="module")
def stored_state(use_case: UseCase, plan: IntradayPlan, past: pd.DataFrame) -> tuple[bytes, MadeRow]:
    """The stored state after the past, and the last row."""
    stream = Stream(use_case, plan)
    rows = stream.send(past)
    return stream.state.to_bytes(), rows[-1]


@pytest.fixture
def begin(use_case: UseCase, plan: IntradayPlan, past: pd.DataFrame, stored_state: tuple[bytes, MadeRow]) -> Begin:
    """A function that makes streams whose state contains the past."""

    def made() -> Stream:
        stream = Stream(use_case, plan)
        stream.sent.append(past)
        stream.state = IntradayState.from_bytes(plan, stored_state[0])
        return stream

    return made


@pytest.fixture
def stream(begin: Begin) -> Stream:
    return begin()


def end_of(use_case: UseCase, past: pd.DataFrame) -> pd.Timestamp:
    """The publication time of the newest target value, which is the origin of the newest row."""
    return past.loc[past["variable"] == use_case.target, "published_at"].max()


def one(
    past: pd.DataFrame, variable: str, valid_time: pd.Timestamp, published_at: pd.Timestamp, value: float
) -> pd.DataFrame:
    like = past[past["variable"] == variable].tail(1)
    return like.assign(valid_time=valid_time, published_at=published_at, value=value)


def test_a_revision_recomputes_the_newest_row_only_if_the_row_reads_it(
    use_case: UseCase, entity: Entity, stream: Stream, past: pd.DataFrame
) -> None:
    now = end_of(use_case, past)
    cases = [
        ("load", now - SLOT, True),
        ("load", now - 9 * pd.Timedelta(days=1), False),  # before the lookback
        ("load_forecast_tso", now + SLOT, True),
        ("load_forecast_tso", now + pd.Timedelta(hours=12), False),  # beyond the horizons
        ("load_forecast_tso", now - 3 * pd.Timedelta(days=1) + SLOT, True),
        ("price_day_ahead", now, False),  # no feature reads it
    ]
    for i, (variable, valid_time, changes) in enumerate(cases, 1):
        rows = stream.send(one(past, variable, valid_time, now + i * MOMENT, 51234.0 if "load" in variable else 12.0))
        assert [r.origin for r in rows] == [int(now.value) // 1000 // STEP] * changes, (variable, valid_time)
        if rows:
            assert_as_known(use_case, entity, stream.sent, rows)


def test_a_revision_to_the_same_value_makes_no_row(use_case: UseCase, stream: Stream, past: pd.DataFrame) -> None:
    last = past[past["variable"] == use_case.target].tail(1)
    assert stream.send(last.assign(published_at=last["published_at"] + MOMENT)) == []


def test_a_late_value_of_an_old_publication_still_makes_a_newer_row(
    use_case: UseCase, plan: IntradayPlan, past: pd.DataFrame
) -> None:
    """The online store keeps the row with the newest as_of, whatever the order in which the values arrive."""
    target = past[past["variable"] == use_case.target]
    stream = Stream(use_case, plan)
    before = stream.send(past.drop(target.index[-3]))[-1]
    (after,) = stream.send(target.iloc[[-3]])
    assert after.as_of == before.as_of + 1
    assert after.features["load_back_3"] == [target["value"].iloc[-3]]


def test_values_published_at_one_moment_make_rows_with_increasing_as_of(
    use_case: UseCase, entity: Entity, plan: IntradayPlan, past: pd.DataFrame
) -> None:
    """A source that publishes hourly: the rows from one message, from several and from the plain function are equal."""
    some = past[past["valid_time"] >= end_of(use_case, past) - pd.Timedelta(days=2)]
    hourly = in_canonical_order(use_case, some.assign(published_at=some["published_at"].dt.ceil("h")))
    whole = Stream(use_case, plan).send(hourly)
    singly = Stream(use_case, plan)
    edge = len(hourly) - 20
    parts = [hourly.iloc[:edge], *(hourly.iloc[[i]] for i in range(edge, len(hourly)))]
    np.testing.assert_equal([vars(r) for part in parts for r in singly.send(part)], [vars(r) for r in whole])
    as_of = [r.as_of for r in whole]
    assert all(a < b for a, b in pairwise(as_of))
    plain = intraday_features(use_case, entity, hourly)
    assert as_of == plain["as_of"].astype("int64").tolist()


def test_a_timer_makes_the_row_of_a_missing_value(
    use_case: UseCase, entity: Entity, stream: Stream, past: pd.DataFrame
) -> None:
    now = end_of(use_case, past)
    assert stream.clock(now) == []
    (first,) = stream.clock(now + SLOT)
    assert stream.clock(now + SLOT) == []
    (second,) = stream.clock(now + 3 * SLOT)
    assert first.as_of == (now + SLOT).value // 1000 - 1
    assert np.isnan(first.features["load_newest"]).all()
    assert np.isnan(second.features["load_back_3"]).all()
    assert np.isfinite(second.features["load_back_4"]).all()
    assert_as_known(use_case, entity, stream.sent, [first, second])


def test_a_late_value_makes_its_row_and_recomputes_the_timer_row(
    use_case: UseCase, entity: Entity, stream: Stream, past: pd.DataFrame
) -> None:
    now = end_of(use_case, past)
    (clocked,) = stream.clock(now + 3 * SLOT)
    own, shown = stream.send(one(past, "load", now, now + SLOT, 50001.0))
    assert (own.origin, own.as_of) == (clocked.origin - 2, (now + SLOT).value // 1000)
    assert shown.origin == clocked.origin
    assert shown.as_of > clocked.as_of
    assert shown.features["load_back_3"] == [50001.0]
    assert_as_known(use_case, entity, stream.sent, [own, shown])


def test_a_timer_makes_no_row_without_known_values(use_case: UseCase, plan: IntradayPlan, stream: Stream) -> None:
    assert Stream(use_case, plan).clock(pd.Timestamp("2022-03-20T00:00Z")) == []
    assert stream.clock(pd.Timestamp("2022-05-20T00:00Z")) == []


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_contain_the_values_known_at_their_as_of_in_any_order_of_arrival(
    use_case: UseCase,
    entity: Entity,
    plan: IntradayPlan,
    past: pd.DataFrame,
    begin: Begin,
    stored_state: tuple[bytes, MadeRow],
    data: st.DataObject,
) -> None:
    """Late, revised, repeated and missing values, with and without the clock, and with restarts."""
    clocked, alone = begin(), begin()
    rows, own = [stored_state[1]], [stored_state[1]]
    now = end_of(use_case, past)
    for i in range(data.draw(st.integers(1, 12))):
        now += data.draw(st.sampled_from([MOMENT, SLOT, 3 * SLOT]))
        rows += clocked.clock(now.floor(SLOT))
        if data.draw(st.booleans()):
            clocked.state = IntradayState.from_bytes(plan, clocked.state.to_bytes())
        variable = data.draw(st.sampled_from(["load", "load", "load_forecast_tso"]))
        back = data.draw(st.integers(1, 40) if variable == "load" else st.integers(-60, 20))
        frame = one(past, variable, now.floor(SLOT) - back * SLOT, now + i * pd.Timedelta(milliseconds=1), 50000.0 + i)
        times = 1 + data.draw(st.booleans())
        for _ in range(times):
            rows += clocked.send(frame)
            own += alone.send(frame)
    assert_as_known(use_case, entity, clocked.sent, rows)
    keys = [(r.origin, r.as_of) for r in rows]
    assert [(r.origin, r.as_of) for r in own if (r.origin, r.as_of) not in keys] == []
    as_of = [r.as_of for r in rows]
    assert rows[-1].as_of == max(as_of)
    assert rows[-1].origin == max(r.origin for r in rows)
