"""From feature rows and a registered model to forecasts: what the batch job and the services call."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from dualcast import __version__
from dualcast.adapters.model_registry import PREVIOUS, RegisteredModel
from dualcast.catalogue import Entity, Path_, UseCase
from dualcast.records import FeatureRow, Forecast, Point
from dualcast.timegrid import iso_duration
from models.inputs import FeatureMismatchError, Floats
from models.model import Model

STALE_FEATURES = "stale_features"
OTHER_FEATURE_SET = "other_feature_set"
PREVIOUS_VERSION = "fallback: previous_version"
MISSING = "missing:"

__all__ = [
    "FeatureMismatchError",
    "NoForecastError",
    "code_version",
    "day_ahead_forecast",
    "day_ahead_forecasts",
    "intraday_forecast",
]


class NoForecastError(ValueError):
    """The model has nothing to say: the level of the series is unknown, or every target has passed."""


@dataclass(frozen=True)
class _Curve:
    """What distinguishes one curve: quantiles are (points, levels)."""

    issued_at: datetime
    newest_input_at: datetime
    data_version: str
    reasons: Sequence[str]
    times: list[datetime]
    quantiles: Floats
    simulated: bool


def day_ahead_forecasts(
    model: RegisteredModel,
    use_case: UseCase,
    rows: pd.DataFrame,
    data_version: str,
    *,
    simulated: bool = False,
    reasons: Sequence[str] = (),
) -> Iterator[Forecast]:
    """The curves of many entities and delivery days, each issued at its cutoff; predicted at once.

    ``rows`` are Gold's: entity_id, delivery_day, valid_time, the features and, where known, newest_input_at.
    ``reasons`` say why the caller thinks that the curves are degraded. Raises FeatureMismatchError, and NoForecastError
    for the first curve of which nothing can be said or whose rows are not all of its intervals.
    """
    raw = _raw(model)
    for entity_id in rows["entity_id"].unique():
        raw.assembler.enter(use_case.entity(entity_id))
    rows = rows.sort_values(["entity_id", "delivery_day", "valid_time"], kind="stable", ignore_index=True)
    inputs = raw.assembler.from_frame(rows)
    quantiles = _bounded(use_case, raw.quantiles(inputs)[:, 0])
    missing = raw.missing(inputs)
    times, newest = _moments(rows["valid_time"]), _newest_inputs(rows)
    runs = _Runs(use_case)
    for entity_id, day, part in _curves(rows):
        cutoff, expected = runs.of(use_case.entity(entity_id), day)
        if times[part] != expected:
            raise NoForecastError(f"the rows of {entity_id} are not those of all intervals of {day}")
        curve = _Curve(
            issued_at=cutoff,
            newest_input_at=cutoff if newest is None else max(newest[part]),
            data_version=data_version,
            reasons=[
                *(f"{MISSING}{v}" for v, where in missing.items() if where[part].any()),
                *_version_reasons(model),
                *reasons,
            ],
            times=expected,
            quantiles=quantiles[part],
            simulated=simulated,
        )
        yield _forecast(model, use_case, "day-ahead", entity_id, curve)


def day_ahead_forecast(
    model: RegisteredModel,
    use_case: UseCase,
    rows: pd.DataFrame,
    issued_at: datetime,
    data_version: str,
    *,
    simulated: bool = False,
    reasons: Sequence[str] = (),
) -> Forecast:
    """The curve of one entity and delivery day; see ``day_ahead_forecasts``.

    Raises ValueError also where ``rows`` belong to another cutoff than ``issued_at`` or to several curves.
    """
    curves = list(
        day_ahead_forecasts(model, use_case, rows, data_version, simulated=simulated, reasons=reasons),
    )
    if [c.issued_at for c in curves] != [issued_at]:
        raise ValueError(
            f"rows are of cutoffs {[c.issued_at.isoformat() for c in curves]}, not {issued_at.isoformat()}"
        )
    return curves[0]


def intraday_forecast(
    model: RegisteredModel,
    use_case: UseCase,
    row: FeatureRow,
    issued_at: datetime,
    *,
    data_version: str = "",
    simulated: bool = False,
    reasons: Sequence[str] = (),
) -> Forecast:
    """The curve from one row of the stream; targets that began before ``issued_at`` are left out.

    ``data_version`` is the row's feature set and time unless given. Raises FeatureMismatchError, NoForecastError.
    """
    raw = _raw(model)
    part = use_case.part("intraday")
    passed = max(-((row.valid_time - issued_at) // part.resolution), 0)
    if passed >= part.horizons:
        raise NoForecastError(f"the newest features of {row.entity_id} are of {row.valid_time.isoformat()}")
    raw.assembler.enter(use_case.entity(row.entity_id))
    inputs = raw.assembler.from_row(row)
    quantiles = _bounded(use_case, raw.quantiles(inputs)[0])
    lacking = [f"{MISSING}{v}" for v, where in raw.missing(inputs).items() if where[0]]
    stale = [STALE_FEATURES] if issued_at - row.as_of > part.max_feature_age else []
    other = [OTHER_FEATURE_SET] if row.feature_set != raw.feature_set else []
    curve = _Curve(
        issued_at=issued_at,
        newest_input_at=row.as_of,
        data_version=data_version or f"{row.feature_set}@{row.as_of.isoformat()}",
        reasons=[*lacking, *stale, *other, *_version_reasons(model), *reasons],
        times=[row.valid_time + k * part.resolution for k in range(passed, part.horizons)],
        quantiles=quantiles[passed:],
        simulated=simulated,
    )
    return _forecast(model, use_case, "intraday", row.entity_id, curve)


@cache
def code_version() -> str:
    """The commit that runs: DUALCAST_CODE_VERSION where set, else git's, else the package's version."""
    given = os.environ.get("DUALCAST_CODE_VERSION")
    if given:
        return given
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__


def _raw(model: RegisteredModel) -> Model:
    return cast("Model", model.raw)


class _Runs:
    """The cutoff and the valid times of each delivery day, worked out once for all entities of a zone."""

    def __init__(self, use_case: UseCase) -> None:
        self._use_case = use_case
        self._known: dict[tuple[str, date], tuple[datetime, list[datetime]]] = {}

    def of(self, entity: Entity, day: date) -> tuple[datetime, list[datetime]]:
        key = entity.time_zone, day
        if key not in self._known:
            self._known[key] = self._use_case.cutoff(entity, day), self._use_case.delivery_times(entity, day)
        return self._known[key]


def _curves(rows: pd.DataFrame) -> Iterator[tuple[str, date, slice]]:
    """Entity, delivery day and rows of each curve, where rows are in order."""
    if rows.empty:
        return
    entity, day = pd.factorize(rows["entity_id"])[0], pd.factorize(rows["delivery_day"])[0]
    begins = np.flatnonzero(np.concatenate(([True], (np.diff(entity) != 0) | (np.diff(day) != 0)))).tolist()
    heads = rows[["entity_id", "delivery_day"]].iloc[begins]
    ends = [*begins[1:], len(rows)]
    for entity_id, delivery_day, begin, end in zip(*(heads[c] for c in heads), begins, ends, strict=True):
        yield entity_id, delivery_day, slice(begin, end)


def _moments(times: pd.Series) -> list[datetime]:
    return list(pd.DatetimeIndex(times).to_pydatetime())


def _newest_inputs(rows: pd.DataFrame) -> list[datetime] | None:
    """published_at of the newest value that each row knew, where that is given."""
    return _moments(rows["newest_input_at"]) if "newest_input_at" in rows else None


def _bounded(use_case: UseCase, quantiles: Floats) -> Floats:
    """Quantiles within what the target can be."""
    bounds = use_case.variables[use_case.target].bounds
    return np.clip(quantiles, bounds.min, bounds.max) if (bounds.min, bounds.max) != (None, None) else quantiles


def _version_reasons(model: RegisteredModel) -> list[str]:
    return [PREVIOUS_VERSION] if model.alias == PREVIOUS else []


def _forecast(
    model: RegisteredModel,
    use_case: UseCase,
    path: Path_,
    entity_id: str,
    curve: _Curve,
) -> Forecast:
    if not np.isfinite(curve.quantiles).all():
        raise NoForecastError(f"{model.name} {model.version} cannot forecast {entity_id}: its level is unknown")
    part = use_case.part(path)
    reasons = list(dict.fromkeys(curve.reasons))
    return Forecast(
        use_case=use_case.use_case,
        path=path.replace("-", "_"),
        entity_id=entity_id,
        issued_at=curve.issued_at,
        target=use_case.target,
        unit=use_case.unit,
        resolution=iso_duration(part.resolution),
        model_name=model.name,
        model_version=model.version,
        code_version=code_version(),
        data_version=curve.data_version,
        newest_input_at=curve.newest_input_at,
        degraded=bool(reasons),
        degraded_reasons=reasons,
        quantile_levels=list(_raw(model).levels),
        points=[Point(t, v) for t, v in zip(curve.times, curve.quantiles.tolist(), strict=True)],
        simulated=curve.simulated,
    )
