"""The quality gates: the facts of a curve, the refused entities with their reasons, and the report page."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from batch.quality.curve_facts import ARROW_FACTS, curve_facts, with_width_ratio
from batch.quality.page import write_page
from batch.quality.suites import judge, none_of, sound_curves
from batch.quality.verdicts import Verdict, newest_verdicts, store_verdict
from dualcast.adapters.lake import lake_paths
from dualcast.catalogue import CatalogueError, CurveQuality, UseCase, parse_use_case
from dualcast.curves.arrow import encoded_curves
from dualcast.curves.forecast import Forecast, Point
from dualcast.curves.frames import forecast_frame
from dualcast.settings import Settings
from tests.conftest import ROOT

# a day of 25 hours, so that no expected number is right by chance
DAY = date(2022, 10, 30)
KEY = ["entity_id", "delivery_day"]
QUALITY = CurveQuality(level=(0.6, 1.6), ramp=(0.25, 4), width=(0.2, 5))
SOUND = {
    "rows": 25,
    "expected_rows": 25,
    "quantiles_cross": 0,
    "level_ratio": 1.0,
    "ramp_ratio": 1.0,
    "width_ratio": 1.0,
}


def curve(use_case: UseCase, middle: list[float], half_width: float = 100.0) -> Forecast:
    """A curve of DAY with these medians."""
    entity = use_case.entities[0]
    points = [
        Point(time, [m - half_width, m, m + half_width])
        for time, m in zip(use_case.delivery_times(entity, DAY), middle, strict=False)
    ]
    return Forecast(
        use_case=use_case.use_case,
        path="day_ahead",
        entity_id=entity.id,
        issued_at=use_case.cutoff(entity, DAY),
        target=use_case.target,
        unit=use_case.unit,
        resolution="PT1H",
        model_name="model",
        model_version="1",
        code_version="abc",
        data_version="silver@4",
        newest_input_at=use_case.cutoff(entity, DAY),
        degraded=False,
        degraded_reasons=[],
        quantile_levels=[0.1, 0.5, 0.9],
        points=points,
    )


def gold(use_case: UseCase, week_before: list[float]) -> pd.DataFrame:
    """The columns of the rows of DAY that the gate reads."""
    entity = use_case.entities[0]
    times = pd.DatetimeIndex(use_case.delivery_times(entity, DAY))
    return pd.DataFrame(
        {
            "entity_id": entity.id,
            "cutoff": pd.Timestamp(use_case.cutoff(entity, DAY)),
            "valid_time": times,
            "delivery_day": DAY,
            "actual_week_before": week_before,
        }
    ).iloc[::-1]


def test_a_curve_is_compared_with_the_actuals_a_week_before(use_case: UseCase) -> None:
    middle = [1000.0 + 20 * h for h in range(25)]
    before = [2000.0 + 10 * h for h in range(25)]
    (facts,) = curve_facts(use_case, encoded_curves([curve(use_case, middle)]), gold(use_case, before)).to_dict(
        "records"
    )
    assert (facts["rows"], facts["expected_rows"], facts["quantiles_cross"]) == (25, 25, 0)
    assert facts["level_ratio"] == pytest.approx(np.mean(middle) / np.mean(before))
    assert (facts["ramp_ratio"], facts["width"]) == (pytest.approx(2.0), pytest.approx(200.0))


def test_a_curve_is_not_compared_if_an_actual_a_week_before_is_unknown(use_case: UseCase) -> None:
    before = [math.nan, *[2000.0] * 24]
    (facts,) = curve_facts(use_case, encoded_curves([curve(use_case, [1000.0] * 25)]), gold(use_case, before)).to_dict(
        "records"
    )
    assert math.isnan(facts["level_ratio"])
    assert math.isnan(facts["ramp_ratio"])


def test_missing_hours_and_crossing_quantiles_are_counted(use_case: UseCase) -> None:
    short = curve(use_case, [1000.0] * 23)
    crossing = replace(short, points=[Point(p.valid_time, [3.0, 2.0, 4.0]) for p in short.points])
    (facts,) = curve_facts(use_case, encoded_curves([crossing]), gold(use_case, [1000.0] * 25)).to_dict("records")
    assert (facts["rows"], facts["expected_rows"], facts["quantiles_cross"]) == (23, 25, 23)


def test_facts_of_no_curves_are_empty_with_the_same_types(use_case: UseCase) -> None:
    facts = curve_facts(use_case, encoded_curves([]), gold(use_case, [1000.0] * 25))
    assert pa.RecordBatch.from_pandas(facts, ARROW_FACTS).num_rows == 0


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"rows": 24}, "incomplete_day"),
        ({"quantiles_cross": 1}, "quantiles_cross"),
        ({"level_ratio": 0.5}, "implausible_level"),
        ({"ramp_ratio": 4.5}, "implausible_ramp"),
        ({"width_ratio": 0.1}, "implausible_width"),
    ],
)
def test_one_entity_is_refused_and_the_others_pass(wrong: dict[str, float], reason: str) -> None:
    others = [{"entity_id": name, "delivery_day": DAY, **SOUND} for name in ("a", "c")]
    unknown = dict.fromkeys(("level_ratio", "ramp_ratio", "width_ratio"), math.nan)
    newcomer = {"entity_id": "d", "delivery_day": DAY, **SOUND, **unknown}
    facts = pd.DataFrame([*others, newcomer, {"entity_id": "b", "delivery_day": DAY, **SOUND, **wrong}])
    verdict = judge("curves", facts, KEY, sound_curves(QUALITY))
    assert verdict.refused == {("b", DAY): (reason,)}
    assert not verdict.success
    assert str(verdict) == "4 of 5 expectations met, 1 of 4 refused"


def test_ratios_without_bounds_are_not_judged() -> None:
    facts = pd.DataFrame([{"entity_id": "a", "delivery_day": DAY, **SOUND, "level_ratio": 9.0}])
    assert judge("curves", facts, KEY, sound_curves(CurveQuality())).success


def test_no_rows_pass_a_suite() -> None:
    facts = pd.DataFrame({"entity_id": [], "missing_value": []})
    assert judge("silver", facts, ["entity_id"], [none_of("missing_value")]).success


def test_reversed_bounds_are_refused_with_their_line(use_case: UseCase) -> None:
    file = ROOT / "use_cases" / "de_load.yaml"
    text = file.read_text(encoding="utf-8").replace("level: [0.6, 1.6]", "level: [1.6, 0.6]")
    line = 1 + text[: text.index("level: [1.6")].count("\n")
    with pytest.raises(CatalogueError, match=rf"de_load\.yaml:{line}: day_ahead\.quality\.level.*the lower bound"):
        parse_use_case(text, str(file))


@pytest.mark.parametrize(("stored", "ratio"), [(7, 0.25), (6, math.nan)])
def test_a_width_is_compared_with_the_median_of_the_stored_curves(
    tmp_path: Path, use_case: UseCase, stored: int, ratio: float
) -> None:
    settings = Settings(state_dir=tmp_path)
    newest = curve(use_case, [1000.0] * 25)
    for back in range(stored):
        issued = newest.issued_at - timedelta(days=back + 1)
        rows = forecast_frame([replace(newest, issued_at=issued)])
        # one of them is very wide, which does not change the median
        rows[["q10", "q90"]] = [0.0, 1e6 if back == 0 else 800.0]
        folder = Path(lake_paths(settings).forecasts("day-ahead", use_case.use_case)) / f"issue_date={issued.date()}"
        folder.mkdir(parents=True)
        rows.to_parquet(folder / "rows.parquet")
    facts = curve_facts(use_case, encoded_curves([newest]), gold(use_case, [1000.0] * 25)).assign(
        entity_id=newest.entity_id, issued_at=pd.Timestamp(newest.issued_at)
    )
    found = with_width_ratio(facts, settings, use_case)["width_ratio"].tolist()
    assert found == pytest.approx([ratio], nan_ok=True)


def test_the_page_lists_verdicts_newest_first_with_refusals(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    begin = datetime(2022, 3, 1, tzinfo=UTC)
    facts = pd.DataFrame({"entity_id": ["a", "<b>"], "missing_value": [0, 2]})
    verdict = judge("silver", facts, ["entity_id"], [none_of("missing_value")])
    store_verdict(settings, "other", Verdict("gold", 5, (), {}), begin)
    store_verdict(settings, "de_load", verdict, begin + timedelta(hours=1))
    assert [found["suite"] for found in newest_verdicts(settings, 5)] == ["silver", "gold"]
    assert [found["suite"] for found in newest_verdicts(settings, 1)] == ["silver"]
    page = Path(write_page(settings)).read_text(encoding="utf-8")
    assert page.index("2022-03-01 01:00:00") < page.index("2022-03-01 00:00:00")
    assert "no row refused as missing value" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "http" not in page.replace("<!doctype html>", ""), "it needs no network"
