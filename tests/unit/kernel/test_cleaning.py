"""Cleaning: the observations that are kept or refused, for any order and repetition."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualcast.catalogue import Entity, UseCase
from dualcast.observations.cleaning import clean
from tests.histories import history

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STORED = ["entity_id", "variable", "valid_time", "published_at", "value"]


def as_bronze(entity_id: str, observations: pd.DataFrame) -> pd.DataFrame:
    """Observations in the format of Bronze."""
    return observations.assign(
        entity_id=entity_id, source="test", simulated=False, partition=0, offset=0, position=range(len(observations))
    )


def nothing() -> pd.DataFrame:
    """Silver before the first run."""
    empty = pd.DataFrame(columns=STORED).astype({"value": float})
    return empty.astype({"valid_time": "datetime64[us, UTC]", "published_at": "datetime64[us, UTC]"})


@pytest.fixture
def bronze(use_case: UseCase, entity: Entity) -> pd.DataFrame:
    return as_bronze(entity.id, history(use_case, entity, "2022-03-01", 16))


def test_valid_observations_are_kept_unchanged(use_case: UseCase, bronze: pd.DataFrame) -> None:
    kept = clean(use_case, bronze, nothing(), (), NOW)
    assert (kept["reason"] == "").all()
    pd.testing.assert_frame_equal(kept[STORED].reset_index(drop=True), bronze[STORED].reset_index(drop=True))


def test_a_second_run_keeps_nothing_new(use_case: UseCase, bronze: pd.DataFrame) -> None:
    kept = clean(use_case, bronze, nothing(), (), NOW)
    assert clean(use_case, bronze, kept[STORED], (), NOW).empty


def test_a_correction_is_kept_beside_what_it_corrects(use_case: UseCase, bronze: pd.DataFrame) -> None:
    target = bronze[bronze["variable"] == use_case.target].tail(1)
    later = target.assign(published_at=target["published_at"] + pd.Timedelta(hours=5), value=target["value"] + 1)
    kept = clean(use_case, later, bronze[STORED], (), NOW)
    assert kept["value"].tolist() == later["value"].tolist()
    assert kept["reason"].tolist() == [""]


def test_the_first_of_two_equal_vintages_counts(use_case: UseCase, bronze: pd.DataFrame) -> None:
    target = bronze[bronze["variable"] == use_case.target].head(1)
    twin = target.assign(value=target["value"] + 7, offset=1)
    kept = clean(use_case, pd.concat([twin, target]), nothing(), (), NOW)
    assert kept["value"].tolist() == target["value"].tolist()


def test_a_coarse_mean_holds_for_each_of_its_slots(use_case: UseCase, bronze: pd.DataFrame) -> None:
    mean = bronze[bronze["variable"] == "temperature_2m"].head(1).assign(resolution="PT1H")
    kept = clean(use_case, mean, nothing(), (), NOW)
    assert (kept["valid_time"] - mean["valid_time"].iloc[0]).tolist() == [
        pd.Timedelta(minutes=m) for m in (0, 15, 30, 45)
    ]
    assert kept["value"].tolist() == mean["value"].tolist() * 4


def test_the_sum_of_a_coarse_interval_is_divided_among_its_slots(use_case: UseCase, bronze: pd.DataFrame) -> None:
    summed = use_case.variables["temperature_2m"].model_copy(update={"aggregate": "sum"})
    case = use_case.model_copy(update={"variables": {**use_case.variables, "temperature_2m": summed}})
    hour = bronze[bronze["variable"] == "temperature_2m"].head(1).assign(resolution="PT1H", value=8.0)
    assert clean(case, hour, nothing(), (), NOW)["value"].tolist() == [2.0] * 4


def test_a_tenfold_value_is_refused_and_not_compared_with_the_next_week(
    use_case: UseCase, bronze: pd.DataFrame
) -> None:
    target = bronze[bronze["variable"] == use_case.target].reset_index(drop=True)
    week = 7 * 96
    target.loc[week + 10, "value"] *= 2.5
    judged = clean(use_case, target, nothing(), (), NOW).set_index("valid_time")["reason"]
    assert judged.loc[target["valid_time"][week + 10]] == "implausible"
    assert judged.loc[target["valid_time"][2 * week + 10]] == ""
    assert (judged != "").sum() == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"entity_id": "stranger"}, "unknown_entity"),
        ({"variable": "pressure"}, "unknown_variable"),
        ({"unit": "kW"}, "wrong_unit"),
        ({"resolution": "PT7M"}, "bad_resolution"),
        ({"value": float("nan")}, "not_finite"),
        ({"value": -1.0}, "out_of_bounds"),
    ],
)
def test_each_fault_is_reported_with_its_reason(
    use_case: UseCase, bronze: pd.DataFrame, change: dict[str, object], reason: str
) -> None:
    one = bronze[bronze["variable"] == use_case.target].head(1).assign(**change)
    assert clean(use_case, one, nothing(), (), NOW)["reason"].tolist() == [reason]


def test_variables_of_other_use_cases_are_neither_kept_nor_refused(use_case: UseCase, bronze: pd.DataFrame) -> None:
    assert clean(use_case, bronze.head(1).assign(variable="pressure"), nothing(), {"pressure"}, NOW).empty


@settings(max_examples=40, deadline=None)
@given(factors=st.lists(st.sampled_from([1.0, 1.0, 1.7, 0.45, 1.3]), min_size=6, max_size=6), cut=st.integers(0, 6))
def test_verdicts_equal_those_of_validating_one_value_at_a_time(
    use_case: UseCase, factors: list[float], cut: int
) -> None:
    """Six weeks of one slot: each value is compared with the newest accepted one a week before, for any cut."""
    times = pd.date_range("2022-03-01", periods=6, freq="7D", tz="UTC").as_unit("us")
    values = 50000 * np.cumprod(factors)
    rows = as_bronze(
        use_case.entities[0].id,
        pd.DataFrame(
            {
                "variable": use_case.target,
                "valid_time": times,
                "published_at": times + pd.Timedelta(minutes=15),
                "value": values,
                "unit": use_case.unit,
                "resolution": "PT15M",
            }
        ),
    )
    accepted: list[float] = []
    for i, value in enumerate(values):
        before = accepted[i - 1] if i else np.nan
        outside = not 5000 <= value <= 150000
        strays = np.isfinite(before) and not 0.5 * before <= value <= 2.0 * before
        accepted.append(np.nan if outside or strays else float(value))
    first = clean(use_case, rows.head(cut), nothing(), (), NOW)
    second = clean(use_case, rows.tail(6 - cut), first.loc[first["reason"] == "", STORED], (), NOW)
    judged = pd.concat([part for part in (first, second) if len(part)]).sort_values("valid_time")
    np.testing.assert_array_equal(judged["value"].where(judged["reason"] == ""), accepted)
