"""How wide the intervals of a curve are to be, by how often earlier ones held."""

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

# Entity and cutoff, or another moment -> what the offsets of its horizons and levels are multiplied with, (H, levels).
Factors = Mapping[tuple[str, datetime], Floats]
# The same of intraday curves: entity -> the moment from which on, until the next one, its factors hold.
IntradayFactors = Mapping[str, Mapping[datetime, Floats]]


def interval_factors(
    model: RegisteredModel, use_case: UseCase, past: pd.DataFrame, curves: Iterable[tuple[str, datetime]]
) -> Factors:
    """How wide the intervals of some curves are to be, by what was known of earlier ones at the cutoff of each.

    Intraday the factors of a moment hold until the next is worked out: once a day is enough.

    ``past`` are published points of the last ``adaptive.memory``: entity_id, issued_at, valid_time, the quantiles as
    published, the feature that is the scale, and actual (NaN where unknown). Curves of a short record are left out.
    """
    raw = raw_model(model)
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


def in_force(
    factors: IntradayFactors | None, entity_id: str, origin: datetime
) -> tuple[datetime | None, Floats | None]:
    """The factors of the newest moment that is not after an origin, and the moment; None where there are none."""
    known = factors.get(entity_id, {}) if factors else {}
    since = max((moment for moment in known if moment <= origin), default=None)
    return (None, None) if since is None else (since, known[since])


def _with_horizon(use_case: UseCase, raw: ForecastModel, past: pd.DataFrame) -> pd.DataFrame:
    """Published points with the place in their curve; intraday of one curve an hour."""
    if raw.layout.path == "day-ahead":
        return past.assign(horizon=0)
    past, step = one_an_hour(past), pd.Timedelta(use_case.part("intraday").resolution)
    # an origin is issued when its newest value is published, or a little later
    delay = use_case.variables[use_case.target].published.delay or timedelta(0)
    horizon = -((past["issued_at"] - delay - past["valid_time"]) // step)
    return past.assign(horizon=horizon)[horizon.between(0, raw.layout.horizons - 1)]
