"""Day-ahead curves of many entities and delivery days at once, from Gold rows and a registered model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pandas as pd

from dualcast.arrays import Floats, Ints
from dualcast.catalogue import UseCase
from dualcast.curves.forecast import Forecast
from dualcast.lifecycle.registered_model import RegisteredModel
from models.prediction.code_version import code_version
from models.prediction.curve import (
    MISSING,
    Curve,
    NoPredictionError,
    bounded,
    distinct,
    no_level,
    raw_model,
    version_reasons,
)
from models.prediction.interval_factors import Factors
from models.prediction.model import ForecastModel


@dataclass(frozen=True)
class DayAheadCurves:
    """n curves as columns, concatenated; ``forecasts`` returns the same curves as objects.

    One entry a curve: entity_id, issued_at and newest_input_at (UTC), reasons why it is degraded, and ``ends``, the row
    after its last point. One row a point: valid_time (points,), UTC, and quantiles (points, levels).
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
        """The quantile levels, ascending."""
        return raw_model(self.model).levels

    @property
    def code_version(self) -> str:
        """The commit of the code that made them."""
        return code_version()

    def __len__(self) -> int:
        return len(self.entity_id)

    def forecasts(self) -> Iterator[Forecast]:
        """The curves as objects, in order."""
        times, begin = self.valid_time.to_pydatetime().tolist(), 0
        for i, end in enumerate(self.ends.tolist()):
            curve = Curve(
                entity_id=self.entity_id[i],
                issued_at=self.issued_at[i],
                newest_input_at=self.newest_input_at[i],
                data_version=self.data_version,
                reasons=self.reasons[i],
                times=times[begin:end],
                quantiles=self.quantiles[begin:end],
                simulated=self.simulated,
            )
            yield curve.forecast(self.model, self.use_case, "day-ahead")
            begin = end


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
    """Predict the curves of many entities and delivery days at once; each is issued at its cutoff.

    ``factors`` scale the intervals of each curve: see ``interval_factors``.

    ``rows`` are Gold's: entity_id, delivery_day, valid_time, the features and, where known, newest_input_at.
    ``reasons`` are the caller's reasons why the curves are degraded. Raises FeatureMismatchError, and NoPredictionError
    for the first curve that cannot be predicted or whose rows are not all of its intervals.
    """
    raw = raw_model(model)
    for entity_id in rows["entity_id"].unique():
        raw.assembler.add_entity(use_case.entity(entity_id))
    rows = rows.sort_values(["entity_id", "delivery_day", "valid_time"], kind="stable", ignore_index=True)
    inputs = raw.assembler.from_frame(rows)
    times, heads = pd.DatetimeIndex(rows["valid_time"]), _heads(rows)
    cutoffs = _cutoffs(use_case, times, heads)
    widths = _row_factors(raw, heads, cutoffs, factors)
    quantiles = bounded(use_case, raw.quantiles(inputs, widths)[:, 0])
    unknown = np.flatnonzero(~np.isfinite(quantiles).all(axis=1))
    if len(unknown):
        raise no_level(model, rows["entity_id"].iloc[unknown[0]])
    begins = heads["begin"].to_numpy()
    missing = {v: np.logical_or.reduceat(where, begins) for v, where in raw.missing(inputs).items() if len(begins)}
    why = [*version_reasons(model, use_case, "day-ahead"), *reasons]
    return DayAheadCurves(
        model=model,
        use_case=use_case,
        data_version=data_version,
        simulated=simulated,
        entity_id=heads["entity_id"].tolist(),
        issued_at=cutoffs,
        newest_input_at=_newest_inputs(rows, begins) or cutoffs,
        reasons=[distinct([*(f"{MISSING}{v}" for v in missing if missing[v][i]), *why]) for i in range(len(heads))],
        ends=heads["end"].to_numpy(),
        valid_time=times,
        quantiles=quantiles,
    )


def _heads(rows: pd.DataFrame) -> pd.DataFrame:
    """entity_id, delivery_day, begin and end of each curve, where rows are in order."""
    entity, day = pd.factorize(rows["entity_id"])[0], pd.factorize(rows["delivery_day"])[0]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (np.diff(entity) != 0) | (np.diff(day) != 0)
    begins = np.flatnonzero(first)
    heads = rows[["entity_id", "delivery_day"]].iloc[begins].reset_index(drop=True)
    return heads.assign(begin=begins, end=np.append(begins[1:], len(rows))[: len(begins)])


def _cutoffs(use_case: UseCase, times: pd.DatetimeIndex, heads: pd.DataFrame) -> list[datetime]:
    """When each curve is issued, computed once for all entities of a time zone.

    Raises NoPredictionError for the first curve whose rows are not all of its intervals.
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
            raise NoPredictionError(f"the rows of {entity_id} are not those of all intervals of {day}")
        cutoffs.append(cutoff)
    return cutoffs


def _row_factors(
    raw: ForecastModel, heads: pd.DataFrame, cutoffs: Sequence[datetime], factors: Factors | None
) -> Floats | None:
    """The factors of each row, (n, H, levels)."""
    if not factors:
        return None
    unscaled = np.ones((raw.layout.horizons, len(raw.levels)))
    of_curves = [factors.get(key, unscaled) for key in zip(heads["entity_id"], cutoffs, strict=True)]
    return np.repeat(np.array(of_curves), heads["end"] - heads["begin"], axis=0)


def _newest_inputs(rows: pd.DataFrame, begins: Ints) -> list[datetime] | None:
    """published_at of the newest input of each curve; None where the rows do not have it."""
    if "newest_input_at" not in rows or rows.empty:
        return None
    known = pd.DatetimeIndex(rows["newest_input_at"]).as_unit("us").asi8
    newest = pd.to_datetime(np.maximum.reduceat(known, begins), unit="us", utc=True)
    return list(newest.to_pydatetime())
