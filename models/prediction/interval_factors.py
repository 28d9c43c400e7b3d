"""Factors that scale the intervals of curves, from the errors of earlier curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import pandas as pd

from dualcast.arrays import Floats
from dualcast.catalogue import UseCase
from dualcast.lifecycle.registered_model import RegisteredModel
from models.intervals.adaptive import entity_factors, one_an_hour
from models.prediction.curve import raw_model
from models.prediction.model import ForecastModel

# Entity and cutoff, or another moment -> factors of the offsets of its horizons and levels, (H, levels).
Factors = Mapping[tuple[str, datetime], Floats]
# The same for intraday curves: entity -> moment -> factors, which hold until the next moment.
IntradayFactors = Mapping[str, Mapping[datetime, Floats]]


def interval_factors(
    model: RegisteredModel, use_case: UseCase, past: pd.DataFrame, curves: Iterable[tuple[str, datetime]]
) -> Factors:
    """The factors of some curves, each an entity and its cutoff, from the actuals known at the cutoff.

    Intraday, the factors of a moment are used until the next moment: once a day is enough.

    ``past`` are published points of the ``adaptive.record_length`` before: entity_id, issued_at, valid_time, the
    quantiles as published, the feature that is the scale, and actual (NaN where unknown). Entities with a short record
    are left out.
    """
    raw = raw_model(model)
    past = _with_horizon(use_case, raw, past)
    by_cutoff: dict[datetime, list[str]] = {}
    for entity_id, cutoff in curves:
        raw.assembler.add_entity(use_case.entity(entity_id))
        by_cutoff.setdefault(cutoff, []).append(entity_id)
    out: dict[tuple[str, datetime], Floats] = {}
    for cutoff, entities in by_cutoff.items():
        known = past["entity_id"].isin(entities) & (
            past["valid_time"] <= use_case.newest_known(raw.layout.path, cutoff)
        )
        found = entity_factors(raw.intervals, raw.assembler, past[known], raw.layout, cutoff)
        out |= {(entity_id, cutoff): factors for entity_id, factors in found.items()}
    return out


def in_force(
    factors: IntradayFactors | None, entity_id: str, origin: datetime
) -> tuple[datetime | None, Floats | None]:
    """The factors of the newest moment that is not after an origin, and the moment; None where there are none."""
    known = factors.get(entity_id, {}) if factors else {}
    since = max((moment for moment in known if moment <= origin), default=None)
    return (None, None) if since is None else (since, known[since])


def _with_horizon(use_case: UseCase, raw: ForecastModel, past: pd.DataFrame) -> pd.DataFrame:
    """Published points with their place in the curve; intraday, of one curve an hour."""
    if raw.layout.path == "day-ahead":
        return past.assign(horizon=0)
    past, step = one_an_hour(past), pd.Timedelta(use_case.part("intraday").resolution)
    # an origin is issued when its newest value is published, or a little later
    delay = use_case.variables[use_case.target].published.delay or timedelta(0)
    horizon = -((past["issued_at"] - delay - past["valid_time"]) // step)
    return past.assign(horizon=horizon)[horizon.between(0, raw.layout.horizons - 1)]
