"""The simulated zone: reproducible, realistic, and marked as simulated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import process_time

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import UseCase
from dualcast.observations.columns import Columns
from dualcast.observations.frames import COLUMNS, TIME_DTYPE, SourceError
from dualcast.observations.validation import faults
from streaming.ingest.simulator import open_simulator
from streaming.ingest.simulator.noise import Noise
from streaming.ingest.source import Source

START, END = datetime(2020, 12, 20, tzinfo=UTC), datetime(2022, 12, 31, tzinfo=UTC)


@pytest.fixture(scope="module")
def simulator(use_case: UseCase) -> Source:
    return open_simulator(use_case)


@pytest.fixture(scope="module")
def two_years(simulator: Source) -> pd.DataFrame:
    begun = process_time()
    found = simulator.observations(START, END)
    assert process_time() - begun < 15
    return found


def with_simulation(use_case: UseCase, **parameters: float) -> UseCase:
    entity = use_case.entities[0].model_copy(update={"simulation": {"mean_load_mw": 56000.0} | parameters})
    return use_case.model_copy(update={"entities": (entity,)})


def series(observations: pd.DataFrame, variable: str) -> pd.Series:
    """The newest vintage by valid time, in local time."""
    rows = observations[observations["variable"] == variable]
    newest = rows.drop_duplicates("valid_time", keep="last").set_index("valid_time")["value"].sort_index()
    return newest.set_axis(newest.index.as_unit("ns").tz_convert("Europe/Berlin"))


@pytest.fixture(scope="module")
def load(two_years: pd.DataFrame, use_case: UseCase) -> pd.Series:
    return series(two_years, use_case.target)


def test_every_record_is_marked_as_simulated(two_years: pd.DataFrame, use_case: UseCase) -> None:
    assert two_years["simulated"].all()
    assert set(two_years["source"]) == {"simulator"}
    assert set(two_years["variable"]) == set(use_case.variables)
    assert list(two_years.columns) == list(COLUMNS)
    assert two_years["valid_time"].dtype == two_years["published_at"].dtype == TIME_DTYPE


def test_any_split_into_windows_gives_the_same_values(two_years: pd.DataFrame, use_case: UseCase) -> None:
    first = datetime(2021, 12, 27, 3, 7, tzinfo=UTC)
    cuts = [first + k * timedelta(hours=17, minutes=11) for k in range(12)]
    another = open_simulator(use_case)
    parts = [another.observations(a, b) for a, b in pairwise(cuts)]
    whole = two_years[(two_years["published_at"] >= cuts[0]) & (two_years["published_at"] < cuts[-1])]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole.reset_index(drop=True))


def test_another_seed_or_entity_gives_other_values(use_case: UseCase) -> None:
    day = START, START + timedelta(days=1)
    entity = use_case.entities[0]
    renamed = use_case.model_copy(update={"entities": (entity, entity.model_copy(update={"id": "ZZ"}))})
    one = open_simulator(with_simulation(use_case)).observations(*day)
    other_seed = open_simulator(with_simulation(use_case, seed=2)).observations(*day)
    both = open_simulator(renamed).observations(*day)
    assert not np.allclose(one["value"], other_seed["value"])
    mine, theirs = (both[both["entity_id"] == name]["value"].to_numpy() for name in (entity.id, "ZZ"))
    assert np.array_equal(mine, one["value"])
    assert not np.allclose(mine, theirs)


def test_publication_times_follow_the_catalogue(two_years: pd.DataFrame, use_case: UseCase) -> None:
    row = two_years[two_years["valid_time"] == pd.Timestamp("2021-07-01T10:00Z")].set_index("variable")
    known = row["published_at"].dt.strftime("%m-%dT%H:%M").to_dict()
    assert known == {
        "load": "07-01T10:15",
        "load_forecast_tso": "06-30T08:00",
        "temperature_2m": "06-30T05:00",
        "direct_radiation": "06-30T05:00",
        "wind_speed_100m": "06-30T05:00",
        "price_day_ahead": "06-30T10:45",
    }
    assert row["resolution"].to_dict() == dict.fromkeys(known, "PT1H") | {"load": "PT15M", "load_forecast_tso": "PT15M"}


def test_all_values_are_valid_except_glitches(two_years: pd.DataFrame, use_case: UseCase) -> None:
    texts = {name: two_years[name].to_numpy(dtype=object) for name in ("variable", "resolution", "unit")}
    times = {name: two_years[name].astype("int64").to_numpy() for name in ("valid_time", "published_at")}
    reasons = faults(use_case, Columns(value=two_years["value"].to_numpy(), **texts, **times))
    bad = two_years[reasons != ""]
    assert set(bad["variable"]) <= {use_case.target, use_case.reference}
    assert 0 < len(bad) < 200


def test_load_intervals_are_complete_and_unique(load: pd.Series, two_years: pd.DataFrame) -> None:
    assert (np.diff(load.index.asi8) == 900 * 10**9).all()
    assert not two_years.duplicated(["variable", "valid_time", "published_at"]).any()


def test_load_differs_by_day_type_and_season(load: pd.Series) -> None:
    daily = load["2021":"2022"].resample("D").mean()
    weekday = daily.groupby(daily.index.dayofweek).mean()
    assert weekday[:5].min() > weekday[5] > weekday[6]
    assert 0.75 < weekday[6] / weekday[1] < 0.88
    hourly = load[load.index.dayofweek < 5].groupby(load.index[load.index.dayofweek < 5].hour).mean()
    assert hourly.idxmin() in range(1, 5)
    assert hourly.idxmax() in range(8, 20)
    assert 0.6 < hourly.min() / hourly.max() < 0.75
    assert daily[daily.index.month == 1].mean() > 1.1 * daily[daily.index.month == 6].mean()
    assert daily["2021-05-13"] < 0.9 * daily["2021-05-12"], "Ascension Day, a Thursday"
    assert daily["2021-05-14"] < 0.97 * daily["2021-05-07"], "the bridge day after it"
    assert daily["2021-12-27":"2021-12-30"].mean() < 0.95 * daily["2021-12-13":"2021-12-16"].mean()


def test_load_rises_with_cold_and_heat_and_falls_with_sun(use_case: UseCase) -> None:
    def mean(month: int, **parameters: float) -> float:
        first = datetime(2022, month, 10, tzinfo=UTC)
        found = open_simulator(with_simulation(use_case, **parameters)).observations(first, first + timedelta(days=9))
        return float(series(found, use_case.target).mean())

    assert mean(1) > 1.03 * mean(1, heating_percent_per_kelvin=0.0)
    assert mean(7) == pytest.approx(mean(7, heating_percent_per_kelvin=0.0), rel=0.005)
    hot = {"mean_temperature_celsius": 18.0}
    assert mean(7, **hot) > 1.02 * mean(7, cooling_percent_per_kelvin=0.0, **hot)
    assert mean(7) < 0.995 * mean(7, own_solar_percent=0.0)


def test_weather_is_realistic(two_years: pd.DataFrame) -> None:
    radiation, temperature = series(two_years, "direct_radiation"), series(two_years, "temperature_2m")
    assert radiation[radiation.index.hour.isin([0, 1, 2, 23])].max() == 0
    assert 300 < radiation[(radiation.index.month == 6) & (radiation.index.hour == 13)].mean() < 600
    assert 14 < temperature[temperature.index.month == 7].mean() - temperature[temperature.index.month == 1].mean() < 22
    assert series(two_years, "wind_speed_100m").min() > 0


def test_simulated_forecasts_have_realistic_errors(load: pd.Series, two_years: pd.DataFrame, use_case: UseCase) -> None:
    assert use_case.reference is not None
    operator = series(two_years, use_case.reference)
    ratio = (operator / load).dropna()
    usual = ratio[ratio < 2]
    assert 3.0 < 100 * (usual - 1).abs().mean() < 4.0
    assert 6.0 < ratio[ratio > 2].min() < ratio[ratio > 2].max() < 13, "ten times too high"
    missing = load["2021":"2022"].index.difference(operator.index)
    per_day = pd.Series(1, missing).resample("D").sum()
    assert set(per_day) <= {0, 92, 96, 100}, "whole delivery days"
    assert (per_day > 0).sum() >= 1


def test_naive_forecasts_have_realistic_errors(load: pd.Series) -> None:
    week_before = 100 * (load / load.shift(freq="7D") - 1).abs().dropna().mean()
    assert 3.3 < week_before < 5.5
    quarter_hour = 100 * (load / load.shift() - 1).abs().mean()
    assert 0.8 < quarter_hour < 1.4


def test_a_meter_glitch_is_corrected_the_next_day(use_case: UseCase) -> None:
    often = open_simulator(with_simulation(use_case, load_glitches_per_year=60.0))
    found = often.observations(datetime(2022, 2, 1, tzinfo=UTC), datetime(2022, 4, 1, tzinfo=UTC))
    loads = found[found["variable"] == use_case.target]
    twice = loads[loads.duplicated("valid_time", keep=False)].sort_values(["valid_time", "published_at"])
    first, second = twice.iloc[::2], twice.iloc[1::2]
    assert len(first) == len(second) >= 10
    assert np.allclose(first["value"].to_numpy(), 0.1 * second["value"].to_numpy(), atol=0.1)
    assert (second["published_at"].to_numpy() - first["published_at"].to_numpy() == np.timedelta64(1, "D")).all()


def test_observed_weather_has_no_error_and_forecast_weather_has(use_case: UseCase) -> None:
    temperature = use_case.variables["temperature_2m"]
    observed = temperature.model_copy(update={"kind": "observed"})
    variables = dict(use_case.variables) | {"temperature_observed": observed}
    both = open_simulator(use_case.model_copy(update={"variables": variables})).observations(START, END)
    error = series(both, "temperature_2m") - series(both, "temperature_observed")
    assert 0.6 < error.std() < 1.4
    assert abs(error.mean()) < 0.2


@pytest.mark.parametrize("day", ["2022-03-27", "2022-10-30", "2024-02-29", "2023-12-31"])
def test_delivery_days_are_complete(use_case: UseCase, simulator: Source, day: str) -> None:
    moment = datetime.fromisoformat(f"{day}T12:00+00:00")
    found = simulator.observations(moment - timedelta(days=3), moment + timedelta(days=3))
    temperature = series(found, "temperature_2m")
    expected = len(use_case.delivery_times(use_case.entities[0], moment.date()))
    assert (temperature.index.date == moment.date()).sum() == expected


def test_variables_that_are_not_simulated_are_noted(use_case: UseCase) -> None:
    rain = use_case.variables["temperature_2m"].model_copy(update={"unit": "mm"})
    more = use_case.model_copy(update={"variables": dict(use_case.variables) | {"rain": rain}})
    assert open_simulator(more).notes == ["not simulated: rain (mm)"]


def test_wrong_parameters_and_use_cases_are_refused(use_case: UseCase) -> None:
    with pytest.raises(SourceError, match=r"entity DE: simulation: mean_lod: Extra inputs.*known: mean_load_mw, seed"):
        open_simulator(with_simulation(use_case, mean_lod=1.0))
    with pytest.raises(SourceError, match="noise_percent: Input should be greater"):
        open_simulator(with_simulation(use_case, noise_percent=-1.0))
    without = use_case.entities[0].model_copy(update={"simulation": {}})
    with pytest.raises(SourceError, match=r"de_load has no simulator.*--data"):
        open_simulator(use_case.model_copy(update={"entities": (without,)}))
    with pytest.raises(SourceError, match="a grid that divides the hour"):
        open_simulator(use_case.model_copy(update={"grid": timedelta(days=1)}))


@pytest.mark.parametrize("grid", [timedelta(minutes=5), timedelta(hours=1)])
def test_other_grids_are_simulated(use_case: UseCase, grid: timedelta) -> None:
    found = open_simulator(use_case.model_copy(update={"grid": grid})).observations(START, START + timedelta(days=2))
    load = found[found["variable"] == use_case.target]
    assert (load["valid_time"].diff().dropna() == grid).all()
    assert 35000 < load["value"].mean() < 80000


def test_noise_is_stationary_and_autocorrelated() -> None:
    wander = Noise("X", 1).wander("x", 10**6, 10**6 + 200_000, 20)
    assert abs(wander.std() - 1) < 0.05
    assert abs(np.corrcoef(wander[:-20], wander[20:])[0, 1] - np.exp(-1)) < 0.03
    later = Noise("X", 1).wander("x", 10**6 + 1000, 10**6 + 2000, 20)
    assert np.allclose(later, wander[1000:2000], atol=0.005)
