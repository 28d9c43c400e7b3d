"""From feature rows and a registered model to forecasts: what the batch job and the services call."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from dualcast import __version__
from dualcast.adapters.model_registry import PREVIOUS, RegisteredModel
from dualcast.catalogue import Path_, UseCase
from dualcast.features.plan import FeaturePlan
from dualcast.records import FeatureRow, Forecast, Point
from dualcast.timegrid import iso_duration
from models.adaptive import entity_factors, one_an_hour
from models.inputs import FeatureMismatchError, Floats, Inputs, Ints
from models.model import Model

STALE_FEATURES = "stale_features"
OTHER_FEATURE_SET = "other_feature_set"
PREVIOUS_VERSION = "fallback: previous_version"
MISSING = "missing:"

# Entity and cutoff, or another moment -> what the offsets of its horizons and levels are multiplied with, (H, levels).
Factors = Mapping[tuple[str, datetime], Floats]
# The same of intraday curves: entity -> the moment from which on, until the next one, its factors hold.
IntradayFactors = Mapping[str, Mapping[datetime, Floats]]

__all__ = [
    "DayAheadCurves",
    "Factors",
    "FeatureMismatchError",
    "IntradayFactors",
    "NoForecastError",
    "code_version",
    "day_ahead_curves",
    "day_ahead_forecast",
    "day_ahead_forecasts",
    "interval_factors",
    "intraday_curves",
    "intraday_forecast",
    "intraday_forecasts",
    "prove_intraday",
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


@dataclass(frozen=True)
class DayAheadCurves:
    """Curves of many entities and delivery days as columns, one behind the other; ``forecasts`` are the same curves.

    What each curve says once has n entries: entity_id, issued_at and newest_input_at (UTC), why it is degraded, and in
    ``ends`` the row behind its last point. valid_time (points,) is UTC, quantiles are (points, levels).
    """

    model: RegisteredModel
    use_case: UseCase
    data_version: str
    simulated: bool
    entity_id: Sequence[str]
    issued_at: Sequence[datetime]
    newest_input_at: Sequence[datetime]
    reasons: Sequence[Sequence[str]]
    ends: Ints
    valid_time: pd.DatetimeIndex
    quantiles: Floats

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantile levels, rising."""
        return _raw(self.model).levels

    @property
    def code_version(self) -> str:
        """The commit that made them."""
        return code_version()

    def __len__(self) -> int:
        return len(self.entity_id)

    def forecasts(self) -> Iterator[Forecast]:
        """One object for each curve, in order."""
        times, begin = self.valid_time.to_pydatetime().tolist(), 0
        for i, end in enumerate(self.ends.tolist()):
            curve = _Curve(
                issued_at=self.issued_at[i],
                newest_input_at=self.newest_input_at[i],
                data_version=self.data_version,
                reasons=self.reasons[i],
                times=times[begin:end],
                quantiles=self.quantiles[begin:end],
                simulated=self.simulated,
            )
            yield _forecast(self.model, self.use_case, "day-ahead", self.entity_id[i], curve)
            begin = end


@dataclass(frozen=True)
class _Origin:
    """Where an intraday curve begins, what it knew, when it is issued, and why it is degraded."""

    entity_id: str
    valid_time: datetime
    as_of: datetime
    issued_at: datetime
    data_version: str
    reasons: Sequence[str] = ()
    factors: Floats | None = None


def day_ahead_forecasts(
    model: RegisteredModel,
    use_case: UseCase,
    rows: pd.DataFrame,
    data_version: str,
    *,
    simulated: bool = False,
    reasons: Sequence[str] = (),
    factors: Factors | None = None,
) -> Iterator[Forecast]:
    """The curves of ``day_ahead_curves`` as objects. Raises as it does."""
    return day_ahead_curves(
        model, use_case, rows, data_version, simulated=simulated, reasons=reasons, factors=factors
    ).forecasts()


def day_ahead_curves(
    model: RegisteredModel,
    use_case: UseCase,
    rows: pd.DataFrame,
    data_version: str,
    *,
    simulated: bool = False,
    reasons: Sequence[str] = (),
    factors: Factors | None = None,
) -> DayAheadCurves:
    """The curves of many entities and delivery days, each issued at its cutoff; predicted at once.

    ``factors`` widen or narrow the intervals of each curve: see ``interval_factors``.

    ``rows`` are Gold's: entity_id, delivery_day, valid_time, the features and, where known, newest_input_at.
    ``reasons`` say why the caller thinks that the curves are degraded. Raises FeatureMismatchError, and NoForecastError
    for the first curve of which nothing can be said or whose rows are not all of its intervals.
    """
    raw = _raw(model)
    for entity_id in rows["entity_id"].unique():
        raw.assembler.enter(use_case.entity(entity_id))
    rows = rows.sort_values(["entity_id", "delivery_day", "valid_time"], kind="stable", ignore_index=True)
    inputs = raw.assembler.from_frame(rows)
    times, heads = pd.DatetimeIndex(rows["valid_time"]), _heads(rows)
    cutoffs = _cutoffs(use_case, times, heads)
    widths = _row_factors(raw, heads, cutoffs, factors)
    quantiles = _bounded(use_case, raw.quantiles(inputs, widths)[:, 0])
    unsaid = np.flatnonzero(~np.isfinite(quantiles).all(axis=1))
    if len(unsaid):
        raise _no_level(model, rows["entity_id"].iloc[unsaid[0]])
    begins = heads["begin"].to_numpy()
    missing = {v: np.logical_or.reduceat(where, begins) for v, where in raw.missing(inputs).items() if len(begins)}
    why = [*_version_reasons(model), *reasons]
    return DayAheadCurves(
        model=model,
        use_case=use_case,
        data_version=data_version,
        simulated=simulated,
        entity_id=heads["entity_id"].tolist(),
        issued_at=cutoffs,
        newest_input_at=_newest_inputs(rows, begins) or cutoffs,
        reasons=[_distinct([*(f"{MISSING}{v}" for v in missing if missing[v][i]), *why]) for i in range(len(heads))],
        ends=heads["end"].to_numpy(),
        valid_time=times,
        quantiles=quantiles,
    )


def interval_factors(
    model: RegisteredModel, use_case: UseCase, past: pd.DataFrame, curves: Iterable[tuple[str, datetime]]
) -> Factors:
    """How wide the intervals of some curves are to be, by what was known of earlier ones at the cutoff of each.

    Intraday the factors of a moment hold until the next is worked out: once a day is enough.

    ``past`` are published points of the last ``adaptive.memory``: entity_id, issued_at, valid_time, the quantiles as
    published, the feature that is the scale, and actual (NaN where unknown). Curves of a short record are left out.
    """
    raw = _raw(model)
    past = _with_horizon(use_case, raw, past)
    by_cutoff: dict[datetime, list[str]] = {}
    for entity_id, cutoff in curves:
        raw.assembler.enter(use_case.entity(entity_id))
        by_cutoff.setdefault(cutoff, []).append(entity_id)
    out: dict[tuple[str, datetime], Floats] = {}
    for cutoff, entities in by_cutoff.items():
        known = past["entity_id"].isin(entities) & (
            past["valid_time"] <= use_case.newest_known(raw.layout.path, cutoff)
        )
        found = entity_factors(raw.intervals, raw.assembler, past[known], raw.layout, cutoff)
        out |= {(entity_id, cutoff): factors for entity_id, factors in found.items()}
    return out


def _with_horizon(use_case: UseCase, raw: Model, past: pd.DataFrame) -> pd.DataFrame:
    """Published points with the place in their curve; intraday of one curve an hour."""
    if raw.layout.path == "day-ahead":
        return past.assign(horizon=0)
    past, step = one_an_hour(past), pd.Timedelta(use_case.part("intraday").resolution)
    # an origin is issued when its newest value is published, or a little later
    delay = use_case.variables[use_case.target].published.delay or timedelta(0)
    horizon = -((past["issued_at"] - delay - past["valid_time"]) // step)
    return past.assign(horizon=horizon)[horizon.between(0, raw.layout.horizons - 1)]


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
    model: RegisteredModel, use_case: UseCase, row: FeatureRow, issued_at: datetime, *, reasons: Sequence[str] = ()
) -> Forecast:
    """The curve from one row of the stream: see ``intraday_curves``. Raises FeatureMismatchError, NoForecastError."""
    (made,) = intraday_curves(model, use_case, [row], [issued_at], reasons=reasons)
    return _said(made)


def intraday_curves(
    model: RegisteredModel,
    use_case: UseCase,
    rows: Sequence[FeatureRow],
    issued_at: Sequence[datetime],
    *,
    reasons: Sequence[str] = (),
    factors: IntradayFactors | None = None,
) -> list[Forecast | NoForecastError]:
    """The curve from each row of the stream, or why there is none; predicted at once.

    Targets that began before a curve is issued are left out. The data version is the row's feature set and time, and
    the moment of the ``factors`` that its intervals have, where there are any: see ``intraday_forecasts``.
    ``reasons`` say why the caller thinks that the curves are degraded. Raises FeatureMismatchError.
    """
    if not rows:
        return []
    raw = _raw(model)
    for entity_id in {row.entity_id for row in rows}:
        raw.assembler.enter(use_case.entity(entity_id))
    origins = []
    for row, moment in zip(rows, issued_at, strict=True):
        since, widths = _in_force(factors, row.entity_id, row.valid_time)
        data_version = f"{row.feature_set}@{row.as_of.isoformat()}"
        origins.append(
            _Origin(
                row.entity_id,
                row.valid_time,
                row.as_of,
                moment,
                data_version if since is None else f"{data_version} intervals@{since.isoformat()}",
                [OTHER_FEATURE_SET] if row.feature_set != raw.feature_set else [],
                widths,
            )
        )
    inputs = raw.assembler.from_rows(rows)
    return list(_intraday(model, use_case, origins, inputs, [*_version_reasons(model), *reasons]))


def prove_intraday(model: RegisteredModel, use_case: UseCase) -> None:
    """Score a made-up row, so that a model is warm before it serves. Raises whatever a broken model raises."""
    raw, part, moment = _raw(model), use_case.part("intraday"), datetime(2024, 1, 1, tzinfo=UTC)
    plan = FeaturePlan.of(use_case, "intraday")
    ones = {n: [1.0] * (part.horizons if n in plan.per_target else 1) for n in plan.names}
    row = FeatureRow(use_case.use_case, use_case.entities[0].id, moment, moment, raw.feature_set, ones)
    made = intraday_forecast(model, use_case, row, moment)
    levels = len(part.quantiles)
    if len(made.points) != part.horizons or any(len(p.values) != levels for p in made.points):
        raise NoForecastError(f"{model.name} {model.version} does not make {part.horizons} points of {levels} levels")


def intraday_forecasts(
    model: RegisteredModel,
    use_case: UseCase,
    rows: pd.DataFrame,
    data_version: str,
    factors: IntradayFactors | None = None,
) -> Iterator[Forecast]:
    """The curves of many origins, each issued when its row became known; predicted at once.

    ``factors`` widen or narrow the intervals, those of the newest moment that is not after the origin: see
    ``interval_factors``.

    ``rows`` are Gold's: entity_id, valid_time (the origin), event_timestamp and the features of the model's own set.
    Raises FeatureMismatchError, and NoForecastError for the first curve of which nothing can be said.
    """
    raw = _raw(model)
    for entity_id in rows["entity_id"].unique():
        raw.assembler.enter(use_case.entity(entity_id))
    heads = zip(rows["entity_id"], _moments(rows["valid_time"]), _moments(rows["event_timestamp"]), strict=True)
    origins = [
        _Origin(entity_id, origin, known_at, known_at, data_version, (), _in_force(factors, entity_id, origin)[1])
        for entity_id, origin, known_at in heads
    ]
    inputs = raw.assembler.from_frame(rows)
    return map(_said, _intraday(model, use_case, origins, inputs, _version_reasons(model)))


def _in_force(
    factors: IntradayFactors | None, entity_id: str, origin: datetime
) -> tuple[datetime | None, Floats | None]:
    """The factors of the newest moment that is not after an origin, and the moment; None where there are none."""
    known = factors.get(entity_id, {}) if factors else {}
    since = max((moment for moment in known if moment <= origin), default=None)
    return (None, None) if since is None else (since, known[since])


def _said(made: Forecast | NoForecastError) -> Forecast:
    if isinstance(made, NoForecastError):
        raise made
    return made


def _intraday(
    model: RegisteredModel,
    use_case: UseCase,
    origins: Sequence[_Origin],
    inputs: Inputs,
    reasons: Sequence[str],
) -> Iterator[Forecast | NoForecastError]:
    """The curve of each origin, without the targets that began before it was issued, or why there is none."""
    raw, part = _raw(model), use_case.part("intraday")
    quantiles = _bounded(use_case, raw.quantiles(inputs, _origin_factors(raw, origins)))
    missing = raw.missing(inputs)
    for i, origin in enumerate(origins):
        passed = max(-((origin.valid_time - origin.issued_at) // part.resolution), 0)
        if passed >= part.horizons:
            text = f"the newest features of {origin.entity_id} are of {origin.valid_time.isoformat()}"
            yield NoForecastError(text)
            continue
        lacking = [f"{MISSING}{v}" for v, where in missing.items() if where[i]]
        stale = [STALE_FEATURES] if origin.issued_at - origin.as_of > part.max_feature_age else []
        curve = _Curve(
            issued_at=origin.issued_at,
            newest_input_at=origin.as_of,
            data_version=origin.data_version,
            reasons=[*lacking, *stale, *origin.reasons, *reasons],
            times=[origin.valid_time + k * part.resolution for k in range(passed, part.horizons)],
            quantiles=quantiles[i, passed:],
            simulated=False,
        )
        try:
            yield _forecast(model, use_case, "intraday", origin.entity_id, curve)
        except NoForecastError as error:
            yield error


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


def _heads(rows: pd.DataFrame) -> pd.DataFrame:
    """entity_id, delivery_day, begin and end of each curve, where rows are in order."""
    entity, day = pd.factorize(rows["entity_id"])[0], pd.factorize(rows["delivery_day"])[0]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (np.diff(entity) != 0) | (np.diff(day) != 0)
    begins = np.flatnonzero(first)
    heads = rows[["entity_id", "delivery_day"]].iloc[begins].reset_index(drop=True)
    return heads.assign(begin=begins, end=np.append(begins[1:], len(rows))[: len(begins)])


def _cutoffs(use_case: UseCase, times: pd.DatetimeIndex, heads: pd.DataFrame) -> list[datetime]:
    """When each curve is issued, worked out once for all entities of a zone.

    Raises NoForecastError for the first curve whose rows are not all of its intervals.
    """
    known: dict[tuple[str, date], tuple[datetime, Ints]] = {}
    micros, cutoffs = times.as_unit("us").asi8, []
    for entity_id, day, begin, end in heads.itertuples(index=False, name=None):
        entity = use_case.entity(entity_id)
        key = entity.time_zone, day
        if key not in known:
            expected = use_case.delivery_slots(entity, day).as_unit("us").asi8
            known[key] = use_case.cutoff(entity, day), expected
        cutoff, expected = known[key]
        if not np.array_equal(micros[begin:end], expected):
            raise NoForecastError(f"the rows of {entity_id} are not those of all intervals of {day}")
        cutoffs.append(cutoff)
    return cutoffs


def _row_factors(
    raw: Model, heads: pd.DataFrame, cutoffs: Sequence[datetime], factors: Factors | None
) -> Floats | None:
    """The factors of each row, (n, H, levels)."""
    if not factors:
        return None
    usual = np.ones((raw.layout.horizons, len(raw.levels)))
    of_curves = [factors.get(key, usual) for key in zip(heads["entity_id"], cutoffs, strict=True)]
    return np.repeat(np.array(of_curves), heads["end"] - heads["begin"], axis=0)


def _origin_factors(raw: Model, origins: Sequence[_Origin]) -> Floats | None:
    """The factors of each origin, (n, H, levels)."""
    if all(origin.factors is None for origin in origins):
        return None
    usual = np.ones((raw.layout.horizons, len(raw.levels)))
    return np.array([usual if origin.factors is None else origin.factors for origin in origins])


def _moments(times: pd.Series | pd.DatetimeIndex) -> list[datetime]:
    return list(pd.DatetimeIndex(times).to_pydatetime())


def _newest_inputs(rows: pd.DataFrame, begins: Ints) -> list[datetime] | None:
    """published_at of the newest value that each curve knew, where that is given."""
    if "newest_input_at" not in rows or rows.empty:
        return None
    known = pd.DatetimeIndex(rows["newest_input_at"]).as_unit("us").asi8
    return _moments(pd.to_datetime(np.maximum.reduceat(known, begins), unit="us", utc=True))


def _bounded(use_case: UseCase, quantiles: Floats) -> Floats:
    """Quantiles within what the target can be."""
    bounds = use_case.variables[use_case.target].bounds
    return np.clip(quantiles, bounds.min, bounds.max) if (bounds.min, bounds.max) != (None, None) else quantiles


def _version_reasons(model: RegisteredModel) -> list[str]:
    return [PREVIOUS_VERSION] if model.alias == PREVIOUS else []


def _no_level(model: RegisteredModel, entity_id: str) -> NoForecastError:
    return NoForecastError(f"{model.name} {model.version} cannot forecast {entity_id}: its level is unknown")


def _distinct(reasons: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(reasons))


def _forecast(
    model: RegisteredModel,
    use_case: UseCase,
    path: Path_,
    entity_id: str,
    curve: _Curve,
) -> Forecast:
    if not np.isfinite(curve.quantiles).all():
        raise _no_level(model, entity_id)
    part = use_case.part(path)
    reasons = _distinct(curve.reasons)
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
