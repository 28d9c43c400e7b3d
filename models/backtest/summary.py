"""The summary of a backtest: scores by group, calibration by quarter, and the worst days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dualcast.catalogue import Entity, Path_, UseCase
from dualcast.curves.quantiles import quantile_columns
from dualcast.features.holidays import SATURDAY, SUNDAY, WORKDAY, SlotCalendar
from dualcast.lifecycle.registered_model import CHAMPION
from dualcast.metrics import coverage
from models.evaluation.joining import horizons, join_actuals
from models.evaluation.scoring import POINT, Errors, Score, by_group, score

_HOUR = 3600
_DAY_TYPES = ("workday", "bridge day", "Saturday", "Sunday or holiday")
_WORST = 12


@dataclass(frozen=True)
class Calibration:
    """How often the actual lay below each quantile, in %, and within the interval; its mean width."""

    n: int
    below: dict[str, float]
    inside: float
    width: float


@dataclass(frozen=True)
class WorstDay:
    """One of the days with the largest mean absolute error: the wall clock (local) and values of its points.

    Day-ahead, the points are those of one curve, which is known by its first day, and may hold several; intraday, those
    of the longest horizon.
    """

    entity_id: str
    day: str
    day_type: str
    mae: float
    points: pd.DataFrame


@dataclass(frozen=True)
class Summary:
    """All figures of the report.

    unscored: the number of forecasts without a valid actual
    comparison: errors of our, the reference and the naive forecast, each where it is known, and of ours where the
        reference is known
    groups: heading -> name of the group -> score
    answers: champion or fallback -> score, where fallbacks were scored
    """

    overall: Score
    unscored: int
    comparison: dict[str, Errors]
    calibration: dict[str, Calibration]
    groups: dict[str, dict[str, Score]]
    worst: list[WorstDay]
    answers: dict[str, Score] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "overall": self.overall.as_dict(),
            "unscored": self.unscored,
            "coverage_by_quarter": {k: round(c.inside, 4) for k, c in self.calibration.items()},
            **{heading: {k: s.as_dict() for k, s in found.items()} for heading, found in self.groups.items()},
            **({"answer": {k: s.as_dict() for k, s in self.answers.items()}} if self.answers else {}),
            "worst_days": {f"{w.entity_id} {w.day}": round(w.mae, 4) for w in self.worst},
        }


def summarise(
    use_case: UseCase,
    path: Path_,
    forecasts: pd.DataFrame,
    actuals: pd.DataFrame,
    fallbacks: Mapping[str, pd.DataFrame] | None = None,
) -> Summary:
    """Score forecasts by all groups, and the forecasts of the ``fallbacks`` beside them.

    Raises FaultyForecastsError where no forecast has an actual.
    """
    met = join_actuals(use_case, path, forecasts, actuals)
    met = met.assign(day_type=_day_types(use_case, met))
    # an intraday forecast is grouped by the day it was issued on
    made_for = met["local"] if path == "day-ahead" else met["local"] - (met["valid_time"] - met["issued_at"])
    quarters = made_for.dt.year.astype(str) + " Q" + made_for.dt.quarter.astype(str)
    groups = {
        "horizon": horizons(met) if path == "intraday" else None,
        "days ahead": _days_ahead(use_case, met) if path == "day-ahead" else None,
        "month": made_for.dt.strftime("%Y-%m"),
        "local hour": met["local"].dt.strftime("%H:00"),
        "day type": met["day_type"],
        "entity": met["entity_id"],
    }
    single = {"days ahead", "local hour", "entity"}  # a single group would repeat the overall score
    found = {h: by_group(met, k) for h, k in groups.items() if k is not None and (h not in single or k.nunique() > 1)}
    found["day type"] = {name: found["day type"][name] for name in _DAY_TYPES if name in found["day type"]}
    overall = score(met)
    others = {name: score(join_actuals(use_case, path, frame, actuals)) for name, frame in (fallbacks or {}).items()}
    return Summary(
        overall=overall,
        unscored=len(forecasts) - len(met),
        comparison=_comparison(met),
        calibration={str(key): _calibration(part) for key, part in met.groupby(quarters, sort=True)},
        groups=found,
        worst=_worst(met, path),
        answers={CHAMPION: overall, **others} if others else {},
    )


def _comparison(met: pd.DataFrame) -> dict[str, Errors]:
    columns = {c: met[c].to_numpy(dtype=np.float64) for c in ("actual", POINT, "reference", "naive")}
    where_known = np.where(np.isfinite(columns["reference"]), columns[POINT], np.nan)
    found = {
        "forecast": Errors.of(columns["actual"], columns[POINT]),
        "forecast, where the reference is known": Errors.of(columns["actual"], where_known),
        "reference": Errors.of(columns["actual"], columns["reference"]),
        "naive (last week)": Errors.of(columns["actual"], columns["naive"]),
    }
    if np.isfinite(columns["reference"]).all():
        del found["forecast, where the reference is known"]
    return {name: errors for name, errors in found.items() if errors is not None}


def _calibration(met: pd.DataFrame) -> Calibration:
    actual = met["actual"].to_numpy(dtype=np.float64)
    low, high = (met[c].to_numpy(dtype=np.float64) for c in ("low", "high"))
    return Calibration(
        n=len(met),
        below={c: _share(actual < met[c].to_numpy(dtype=np.float64)) for c in quantile_columns(met)},
        inside=coverage(actual, low, high),
        width=float(np.mean(high - low)),
    )


def _share(holds: NDArray[np.bool_]) -> float:
    return float(100 * np.mean(holds))


def _days_ahead(use_case: UseCase, met: pd.DataFrame) -> pd.Series:
    """The local days between issue and target of each forecast, as text that sorts."""
    ahead = pd.Series("", index=met.index)
    for entity_id, mine in met.groupby("entity_id"):
        zone = use_case.entity(str(entity_id)).time_zone
        issued = mine["issued_at"].dt.tz_convert(zone).dt.tz_localize(None).dt.normalize()
        ahead[mine.index] = (mine["local"].dt.normalize() - issued).dt.days.map("{:02d}".format)
    return ahead


def _day_types(use_case: UseCase, met: pd.DataFrame) -> pd.Series:
    """The kind of each forecast's local day; a bridge day is a workday between two days off."""
    kinds = pd.Series("", index=met.index)
    for entity_id, local in met.groupby("entity_id")["local"]:
        days = local.dt.normalize()
        names = {day: _day_type(use_case.entity(str(entity_id)), day) for day in days.unique()}
        kinds[days.index] = days.map(names)
    return kinds


def _day_type(entity: Entity, day: pd.Timestamp) -> str:
    noon = day.tz_localize(entity.time_zone) + pd.Timedelta(hours=12)
    slots = np.array([noon.timestamp() // _HOUR + 24 * step for step in (-1, 0, 1)], dtype=np.int64)
    before, kind, after = SlotCalendar(entity, _HOUR).day_type(slots).tolist()
    if kind == WORKDAY and WORKDAY not in (before, after):
        return "bridge day"
    return {WORKDAY: "workday", SATURDAY: "Saturday", SUNDAY: "Sunday or holiday"}[kind]


def _worst(met: pd.DataFrame, path: Path_) -> list[WorstDay]:
    if path == "intraday":
        ahead = met["valid_time"] - met["issued_at"]
        met = met[ahead == ahead.max()]
    error = (met[POINT] - met["actual"]).abs()
    keys = [met["entity_id"], met["local"].dt.normalize() if path == "intraday" else met["issued_at"]]
    days = dict(list(met.groupby(keys)))
    return [
        _worst_day(str(key[0]), float(mae), days[key].sort_values("valid_time", ignore_index=True))
        for key, mae in error.groupby(keys).mean().nlargest(_WORST).items()
    ]


def _worst_day(entity_id: str, mae: float, rows: pd.DataFrame) -> WorstDay:
    first = rows.iloc[0]
    points = rows[["local", "low", POINT, "high", "actual", "reference"]]
    return WorstDay(entity_id, f"{first['local']:%Y-%m-%d}", first["day_type"], mae, points)
