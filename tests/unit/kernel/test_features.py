"""Features from history: correct values and local times, and no later publications."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import Entity, UseCase
from dualcast.features.as_of import day_ahead_features, intraday_features
from dualcast.features.plan import FeaturePlan
from dualcast.observations.actuals import target_values
from tests.histories import corrupt_from, history

DAYS = [date(2022, 3, 26), date(2022, 3, 27), date(2022, 3, 28)]


@pytest.fixture(scope="module")
def observations(use_case: UseCase, entity: Entity) -> pd.DataFrame:
    return history(use_case, entity, "2022-02-15", 50)


def test_day_ahead_rows_cover_the_delivery_day(use_case: UseCase, entity: Entity, observations: pd.DataFrame) -> None:
    rows = day_ahead_features(use_case, entity, observations, DAYS)
    assert rows.groupby("delivery_day").size().tolist() == [24, 23, 24]
    assert (rows["newest_input_at"] < rows["cutoff"]).all()


def test_a_lag_keeps_the_local_time_over_a_clock_change(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame
) -> None:
    rows = day_ahead_features(use_case, entity, observations, [DAYS[2]]).set_index("valid_time")
    actual = target_values(use_case, observations, timedelta(hours=1))
    noon = pd.Timestamp("2022-03-28 12:00", tz=entity.time_zone)
    week_before = pd.Timestamp("2022-03-21 12:00", tz=entity.time_zone)
    assert rows.loc[noon, "load_lag_7d"] == actual[week_before]


def test_values_measured_after_the_cutoff_are_unknown(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame
) -> None:
    rows = day_ahead_features(use_case, entity, observations, [DAYS[0]])
    actual = target_values(use_case, observations, timedelta(hours=1))
    newest_known = rows["cutoff"].iloc[0] - pd.Timedelta(hours=2)
    assert rows["load_newest"].iloc[0] == actual[newest_known]
    assert rows["load_mean_1d"].iloc[0] == pytest.approx(actual[:newest_known].tail(24).mean(), abs=1e-3)


@pytest.mark.parametrize("day", DAYS)
def test_day_ahead_features_ignore_later_publications(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame, day: date
) -> None:
    cutoff = pd.Timestamp(use_case.cutoff(entity, day))
    clean = day_ahead_features(use_case, entity, observations, [day])
    spoiled = day_ahead_features(use_case, entity, corrupt_from(observations, cutoff), [day])
    pd.testing.assert_frame_equal(clean, spoiled, check_exact=True)


def test_day_ahead_features_use_publications_before_the_cutoff(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame
) -> None:
    cutoff = pd.Timestamp(use_case.cutoff(entity, DAYS[0]))
    clean = day_ahead_features(use_case, entity, observations, DAYS[:1])
    spoiled = day_ahead_features(use_case, entity, corrupt_from(observations, cutoff - pd.Timedelta("1s")), DAYS[:1])
    assert not clean["load_newest"].equals(spoiled["load_newest"])


def test_intraday_features_ignore_later_publications(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame
) -> None:
    moment = pd.Timestamp("2022-03-27T03:00Z")
    since = (moment - pd.Timedelta(hours=3)).to_pydatetime()
    # rows of later publications are not compared, and their computation would take most of the time
    until_next_day = observations[observations["published_at"] < moment + pd.Timedelta(days=1)]
    clean, spoiled = (
        rows[rows["as_of"] < moment]
        for rows in (
            intraday_features(use_case, entity, frame, since)
            for frame in (until_next_day, corrupt_from(until_next_day, moment))
        )
    )
    assert len(clean) == 12
    pd.testing.assert_frame_equal(clean, spoiled, check_exact=True)


def test_a_correction_is_used_from_its_publication_on(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame
) -> None:
    cutoff = pd.Timestamp(use_case.cutoff(entity, DAYS[0]))
    hour = cutoff - pd.Timedelta(hours=2)
    mask = (observations["variable"] == use_case.target) & observations["valid_time"].between(
        hour, hour + pd.Timedelta(minutes=45)
    )
    correction = observations[mask].assign(value=40000.0, published_at=cutoff - pd.Timedelta(seconds=1))
    rows = day_ahead_features(use_case, entity, pd.concat([observations, correction]), DAYS[:1])
    assert (rows["load_newest"] == 40000.0).all()


def test_a_gap_yields_missing_features_not_stale_ones(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame
) -> None:
    cutoff = pd.Timestamp(use_case.cutoff(entity, DAYS[0]))
    silent = observations[
        (observations["variable"] != use_case.target) | (observations["valid_time"] < cutoff - pd.Timedelta(days=2))
    ]
    rows = day_ahead_features(use_case, entity, silent, DAYS[:1])
    assert rows[["load_newest", "load_mean_1d", "load_lag_2d"]].isna().all(axis=None)
    assert rows["load_lag_7d"].notna().all()


def test_holidays_count_as_sundays_and_by_population(use_case: UseCase, entity: Entity) -> None:
    observations = history(use_case, entity, "2022-01-01", 12)
    rows = day_ahead_features(use_case, entity, observations, [date(2022, 1, 5), date(2022, 1, 6), date(2022, 1, 9)])
    by_day = rows.groupby("delivery_day")[["holiday", "day_type"]].first()
    assert by_day["day_type"].tolist() == [0, 0, 2]
    epiphany = by_day["holiday"].iloc[1]
    assert 0.25 < epiphany < 0.5  # three states of sixteen, with about a third of the population


def test_levels_are_the_features_in_the_targets_unit(use_case: UseCase) -> None:
    plan = FeaturePlan.of(use_case, "day-ahead")
    assert {"tso", "load_lag_7d", "tso_error_7d"} <= set(plan.levels)
    assert not {"temperature", "local_hour", "holiday"} & set(plan.levels)
    assert np.isin(plan.per_origin + plan.per_target, plan.names).all()
