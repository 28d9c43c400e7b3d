"""Intraday features from a stream: equal to those from history, for any cuts, with late and revised values."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualcast.arrays import Floats
from dualcast.catalogue import Entity, UseCase, load_use_case
from dualcast.features.as_of import intraday_features
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.features.intraday.state import IntradayState, Rows
from tests.conftest import ROOT
from tests.histories import as_update, history, in_canonical_order


@pytest.fixture(scope="module")
def observations(use_case: UseCase, entity: Entity) -> pd.DataFrame:
    return history(use_case, entity, "2022-03-15", 15)


@pytest.fixture(scope="module")
def plan(use_case: UseCase, entity: Entity) -> IntradayPlan:
    return IntradayPlan(use_case, entity)


def run(use_case: UseCase, plan: IntradayPlan, frames: list[pd.DataFrame]) -> tuple[dict[str, Floats], IntradayState]:
    state = IntradayState(plan)
    rows: list[Rows] = []
    for frame in frames:
        rows += state.apply(as_update(use_case, plan, frame))[0]
    columns = {name: np.concatenate([r.features[name] for r in rows]) for name in plan.features.names}
    return columns | {"origin": np.concatenate([r.origin for r in rows])}, state


def equal(a: dict[str, Floats], b: dict[str, Floats]) -> bool:
    return all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)


def test_the_stream_equals_history(
    use_case: UseCase, entity: Entity, plan: IntradayPlan, observations: pd.DataFrame
) -> None:
    since = pd.Timestamp("2022-03-26T12:00Z").to_pydatetime()
    plain = intraday_features(use_case, entity, observations, since)
    streamed, _ = run(use_case, plan, [observations])
    tail = {name: values[-len(plain) :] for name, values in streamed.items()}
    assert len(plain) > 200
    for name in plan.features.names:
        expected = np.stack([np.atleast_1d(cell) for cell in plain[name]])
        np.testing.assert_array_equal(tail[name], expected, err_msg=name)


def test_the_stream_equals_history_on_an_hourly_grid() -> None:
    spain = load_use_case("es_load", ROOT / "use_cases")
    (entity,) = spain.entities
    observations = history(spain, entity, "2022-03-15", 15)
    plain = intraday_features(spain, entity, observations, pd.Timestamp("2022-03-26T12:00Z").to_pydatetime())
    streamed, _ = run(spain, IntradayPlan(spain, entity), [observations])
    assert len(plain) > 60
    assert streamed["tso"].shape[1] == 6
    for name in spain.part("intraday").features:
        expected = np.stack([np.atleast_1d(cell) for cell in plain[name]])
        np.testing.assert_array_equal(streamed[name][-len(plain) :], expected, err_msg=name)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 8000), max_size=40))
def test_rows_do_not_depend_on_the_split_into_messages(
    use_case: UseCase, plan: IntradayPlan, observations: pd.DataFrame, cuts: list[int]
) -> None:
    whole, _ = run(use_case, plan, [observations])
    edges = sorted({0, len(observations), *(c for c in cuts if c < len(observations))})
    pieces = [observations.iloc[a:b] for a, b in pairwise(edges)]
    assert equal(whole, run(use_case, plan, pieces)[0])


def test_duplicates_have_no_effect(use_case: UseCase, plan: IntradayPlan, observations: pd.DataFrame) -> None:
    state = IntradayState(plan)
    state.apply(as_update(use_case, plan, observations))
    rows, refused = state.apply(as_update(use_case, plan, observations.tail(500)))
    assert rows == []
    assert refused == []


def test_a_late_value_recomputes_the_newest_row(
    use_case: UseCase, plan: IntradayPlan, observations: pd.DataFrame
) -> None:
    target = observations[observations["variable"] == use_case.target]
    missing = target.iloc[[-3]]
    state = IntradayState(plan)
    state.apply(as_update(use_case, plan, observations.drop(missing.index)))
    late = missing.assign(published_at=target["published_at"].max() + pd.Timedelta(minutes=1))
    [row], _ = state.apply(as_update(use_case, plan, late))
    in_order, _ = run(use_case, plan, [observations])
    assert row.origin[-1] == in_order["origin"][-1]
    for name in plan.features.names:
        np.testing.assert_array_equal(row.features[name][-1], in_order[name][-1], err_msg=name)


def test_an_older_vintage_does_not_replace_a_newer_one(
    use_case: UseCase, plan: IntradayPlan, observations: pd.DataFrame
) -> None:
    newest = observations[observations["variable"] == use_case.target].tail(1)
    stale = newest.assign(value=1.5 * newest["value"], published_at=newest["published_at"] - pd.Timedelta(hours=1))
    state = IntradayState(plan)
    state.apply(as_update(use_case, plan, observations))
    assert state.apply(as_update(use_case, plan, stale)) == ([], [])


def test_a_value_ten_times_too_high_is_refused(
    use_case: UseCase, plan: IntradayPlan, observations: pd.DataFrame
) -> None:
    state = IntradayState(plan)
    state.apply(as_update(use_case, plan, observations))
    last = observations[observations["variable"] == use_case.target].tail(1)
    after = pd.Timedelta(minutes=15)
    glitch = last.assign(
        value=10 * last["value"], valid_time=last["valid_time"] + after, published_at=last["published_at"] + after
    )
    rows, refused = state.apply(as_update(use_case, plan, glitch))
    assert rows == []
    assert refused == [(0, "implausible")]


def test_a_value_ten_times_too_high_is_refused_among_weeks_of_others(
    use_case: UseCase, plan: IntradayPlan, observations: pd.DataFrame
) -> None:
    wrong = observations.index[observations["variable"] == use_case.target][-100]
    glitch = observations.assign(value=observations["value"].where(observations.index != wrong, 1e6))
    whole = IntradayState(plan).apply(as_update(use_case, plan, glitch))
    assert [reason for _, reason in whole[1]] == ["implausible"]
    assert equal(*(run(use_case, plan, frames)[0] for frames in ([glitch], [observations.drop(wrong)])))


def test_a_gap_yields_missing_features(use_case: UseCase, plan: IntradayPlan, observations: pd.DataFrame) -> None:
    moved = observations.tail(1000).assign(
        valid_time=lambda f: f["valid_time"] + pd.Timedelta(days=40),
        published_at=lambda f: f["published_at"] + pd.Timedelta(days=40),
    )
    columns, _ = run(use_case, plan, [observations, in_canonical_order(use_case, moved)])
    first_after = np.flatnonzero(np.diff(columns["origin"]) > 1)[-1] + 1
    assert np.isnan(columns["load_mean_1d"][first_after]).all()
    assert np.isnan(columns["load_lag_7d"][first_after]).all()
    assert np.isfinite(columns["load_newest"][first_after]).all()


def test_the_state_is_restored_from_bytes(use_case: UseCase, plan: IntradayPlan, observations: pd.DataFrame) -> None:
    half = len(observations) // 2
    state = IntradayState(plan)
    state.apply(as_update(use_case, plan, observations[:half]))
    stored = state.to_bytes()
    restored = IntradayState.from_bytes(plan, stored)
    rest = as_update(use_case, plan, observations[half:])
    for a, b in zip(state.apply(rest)[0], restored.apply(rest)[0], strict=True):
        assert equal(a.features, b.features)
    assert len(stored) < 200_000
    with pytest.raises(ValueError, match="other features"):
        IntradayState.from_bytes(plan, stored[:-8])
