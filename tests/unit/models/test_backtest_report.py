"""The report of a backtest: scores by day type and quarter, and the worst days, with numbers that are easy to check."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import UseCase
from models.backtest.report.charts import columns, day, lines, number
from models.backtest.report.page import Subject, render
from models.backtest.summary import summarise

FIRST, LAST = pd.Timestamp("2022-05-20", tz="Europe/Berlin"), pd.Timestamp("2022-07-11", tz="Europe/Berlin")
SUBJECT = Subject("Demand of <Somewhere>", "all of it", "MW", "load_forecast_tso", (0.1, 0.9), {"features": "a & b"})


@pytest.fixture
def actuals() -> pd.DataFrame:
    times = pd.date_range(FIRST - pd.Timedelta(days=8), LAST, freq="h", inclusive="left").tz_convert("UTC")
    return pd.DataFrame({"entity_id": "DE", "valid_time": times, "load": 50000.0, "load_forecast_tso": 51000.0})


@pytest.fixture
def forecasts() -> pd.DataFrame:
    """Exact forecasts, except on the Friday after Ascension (4,000 MW too high) and a Saturday (2,000 MW too low)."""
    local = pd.date_range(FIRST, LAST, freq="h", inclusive="left")
    point = np.full(len(local), 50000.0)
    point[local.normalize() == pd.Timestamp("2022-05-27", tz="Europe/Berlin")] += 4000
    point[local.normalize() == pd.Timestamp("2022-07-09", tz="Europe/Berlin")] -= 2000
    issued = (local.normalize() - pd.Timedelta(hours=13)).tz_convert("UTC")
    frame = pd.DataFrame({"entity_id": "DE", "issued_at": issued, "valid_time": local.tz_convert("UTC"), "q50": point})
    return frame.assign(q10=point - 500, q90=point + 500)


def test_scores_by_day_type(use_case: UseCase, forecasts: pd.DataFrame, actuals: pd.DataFrame) -> None:
    kinds = summarise(use_case, "day-ahead", forecasts, actuals).groups["day type"]
    assert list(kinds) == ["workday", "bridge day", "Saturday", "Sunday or holiday"]
    # the Fridays after Ascension and after Corpus Christi
    assert kinds["bridge day"].n == 48
    assert kinds["bridge day"].mae == 2000
    assert kinds["Saturday"].mae == pytest.approx(2000 / 8)
    assert kinds["Sunday or holiday"].n == 24 * (8 + 3)
    assert kinds["workday"].mae == 0


def test_scores_by_quarter_and_month_and_the_worst_days(
    use_case: UseCase, forecasts: pd.DataFrame, actuals: pd.DataFrame
) -> None:
    found = summarise(use_case, "day-ahead", forecasts, actuals)
    assert {k: round(c.inside, 2) for k, c in found.calibration.items()} == {
        "2022 Q2": round(100 * 41 / 42, 2),
        "2022 Q3": 90.0,
    }
    assert found.calibration["2022 Q3"].below["q90"] == 90.0
    assert found.calibration["2022 Q2"].width == 1000
    assert list(found.groups["month"]) == ["2022-05", "2022-06", "2022-07"]
    assert [(w.day, w.mae, w.day_type) for w in found.worst[:2]] == [
        ("2022-05-27", 4000.0, "bridge day"),
        ("2022-07-09", 2000.0, "Saturday"),
    ]
    assert found.worst[0].points["local"].dt.hour.tolist() == list(range(24))


def test_scores_of_curves_of_a_week_are_by_days_ahead(use_case: UseCase) -> None:
    days = pd.date_range("2022-03-07", "2022-04-18", freq="D", tz="Europe/Berlin", inclusive="left")
    curves = [
        pd.DataFrame({"issued_at": day - pd.Timedelta(hours=13), "valid_time": pd.date_range(day, periods=7, freq="D")})
        for day in days[7:21]
    ]
    forecasts = pd.concat(curves).assign(entity_id="DE", q10=90.0, q50=100.0, q90=110.0)
    for name in ("issued_at", "valid_time"):
        forecasts[name] = forecasts[name].dt.tz_convert("UTC")
    actuals = pd.DataFrame({"entity_id": "DE", "valid_time": days.tz_convert("UTC"), "load": 100.0})
    actuals.loc[actuals["valid_time"] == days[24].tz_convert("UTC"), "load"] = 170.0
    daily = use_case.day_ahead.model_copy(update={"resolution": pd.Timedelta("1D").to_pytimedelta()})
    found = summarise(
        use_case.model_copy(update={"day_ahead": daily, "reference": None}), "day-ahead", forecasts, actuals
    )
    assert {k: s.n for k, s in found.groups["days ahead"].items()} == {f"{d:02d}": 14 for d in range(1, 8)}
    assert found.overall.naive_mae == pytest.approx(70 * 3 / (14 * 7))
    assert "local hour" not in found.groups
    assert found.worst[0].mae == pytest.approx(10)
    assert len(found.worst[0].points) == 7


def test_forecasts_without_an_actual_are_counted(
    use_case: UseCase, forecasts: pd.DataFrame, actuals: pd.DataFrame
) -> None:
    found = summarise(use_case, "day-ahead", forecasts, actuals[:-6])
    assert found.unscored == 6
    assert "6 forecasts have no sound actual" in render(SUBJECT, found)


def test_forecasts_are_compared_with_the_reference_only_where_it_is_known(
    use_case: UseCase, forecasts: pd.DataFrame, actuals: pd.DataFrame
) -> None:
    bad_day = actuals["valid_time"].dt.tz_convert("Europe/Berlin").dt.strftime("%m-%d") == "05-27"
    actuals.loc[bad_day, "load_forecast_tso"] = np.nan
    found = summarise(use_case, "day-ahead", forecasts, actuals).comparison
    assert found["reference"].mae == 1000
    assert found["reference"].n == found["forecast"].n - 24
    assert found["forecast, where the reference is known"].mae == pytest.approx(2000 * 24 / (24 * 51))


class Tags(HTMLParser):
    """Parses a page and records the addresses that it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elsewhere += [str(v) for k, v in attrs if k in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_has_all_sections_and_loads_nothing(
    use_case: UseCase, forecasts: pd.DataFrame, actuals: pd.DataFrame
) -> None:
    page = render(SUBJECT, summarise(use_case, "day-ahead", forecasts, actuals))
    tags = Tags()
    tags.feed(page)
    assert tags.elsewhere == []
    assert "url(" not in page
    assert "Demand of <Somewhere>" in tags.text
    assert "a & b" in tags.text
    for heading in ("Overall", "Calibration by quarter", "By month", "By local hour", "By day type", "Worst days"):
        assert heading in tags.text
    assert "nan" not in re.sub(r"<style>.*</style>", "", page, flags=re.DOTALL).lower()


def test_a_report_without_reference_has_no_comparison(
    use_case: UseCase, forecasts: pd.DataFrame, actuals: pd.DataFrame
) -> None:
    alone = use_case.model_copy(update={"reference": None})
    page = render(SUBJECT, summarise(alone, "day-ahead", forecasts, actuals.drop(columns="load_forecast_tso")))
    assert "than the reference" not in page
    assert "nan" not in re.sub(r"<style>.*</style>", "", page, flags=re.DOTALL).lower()


def heights(svg: str, tag: str, attribute: str) -> list[float]:
    return [float(v) for v in re.findall(rf'<{tag} class="forecast"[^>]* {attribute}="([\d.]+)"', svg)]


def test_plots_are_to_scale() -> None:
    line = heights(lines("t", ["a", "b", "c"], {"forecast": [0.0, 50.0, 100.0]}, "MW"), "circle", "cy")
    assert line[0] - line[1] == pytest.approx(line[1] - line[2], abs=0.2)
    column = heights(columns("t", ["a", "b"], {"forecast": [25.0, 100.0]}, "MW"), "rect", "height")
    assert column[1] == pytest.approx(4 * column[0], rel=0.01)
    broken = day("t", ["a"] * 4, {"actual": np.array([1.0, np.nan, 2.0, 3.0])}, np.zeros(4), np.ones(4))
    assert re.findall(r'<path class="line actual" d="(M[^M]*)(M[^M]*)"', broken)


@pytest.mark.parametrize(
    ("value", "text"), [(1265.75, "1,266"), (12.345, "12.3"), (0.0312, "0.031"), (0.0, "0"), (-2.5, "-2.50")]
)
def test_numbers_are_rounded_by_their_size(value: float, text: str) -> None:
    assert number(value) == text
