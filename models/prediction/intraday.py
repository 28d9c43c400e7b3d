"""Intraday curves of many origins at once, from rows of the stream or of Gold and a registered model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from dualcast.arrays import Floats
from dualcast.catalogue import UseCase
from dualcast.curves.forecast import Forecast
from dualcast.features.plan import FeaturePlan
from dualcast.lifecycle.registered_model import RegisteredModel
from dualcast.records import FeatureRow
from models.inputs import ModelInputs
from models.prediction.curve import MISSING, Curve, NoPredictionError, bounded, raw_model, version_reasons
from models.prediction.interval_factors import IntradayFactors, in_force
from models.prediction.model import ForecastModel

STALE_FEATURES = "stale_features"
OTHER_FEATURE_SET = "other_feature_set"


@dataclass(frozen=True)
class _Origin:
    """The beginning of a curve, the time of its newest input, when it is issued, and why it is degraded."""

    entity_id: str
    valid_time: datetime
    as_of: datetime
    issued_at: datetime
    data_version: str
    reasons: Sequence[str] = ()
    factors: Floats | None = None


def intraday_forecast(
    model: RegisteredModel, use_case: UseCase, row: FeatureRow, issued_at: datetime, *, reasons: Sequence[str] = ()
) -> Forecast:
    """The curve from one row of the stream: see ``intraday_curves``. Raises FeatureMismatchError, NoPredictionError."""
    (made,) = intraday_curves(model, use_case, [row], [issued_at], reasons=reasons)
    return _or_raise(made)


def intraday_curves(
    model: RegisteredModel,
    use_case: UseCase,
    rows: Sequence[FeatureRow],
    issued_at: Sequence[datetime],
    *,
    reasons: Sequence[str] = (),
    factors: IntradayFactors | None = None,
) -> list[Forecast | NoPredictionError]:
    """Predict the curve of each row of the stream at once, or return the error why there is none.

    Targets that began before a curve is issued are left out. The data version is the row's feature set and time, and
    the moment of the ``factors`` that scale its intervals, where there are any: see ``intraday_forecasts``.
    ``reasons`` are the caller's reasons why the curves are degraded. Raises FeatureMismatchError.
    """
    if not rows:
        return []
    raw = raw_model(model)
    for entity_id in {row.entity_id for row in rows}:
        raw.assembler.add_entity(use_case.entity(entity_id))
    origins = []
    for row, moment in zip(rows, issued_at, strict=True):
        since, widths = in_force(factors, row.entity_id, row.valid_time)
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
    return list(_intraday(model, use_case, origins, inputs, [*version_reasons(model, use_case, "intraday"), *reasons]))


def intraday_forecasts(
    model: RegisteredModel,
    use_case: UseCase,
    rows: pd.DataFrame,
    data_version: str,
    factors: IntradayFactors | None = None,
) -> Iterator[Forecast]:
    """Predict the curves of many origins at once; each is issued when its row became known.

    Of the ``factors``, which scale the intervals, those of the newest moment not after the origin are used: see
    ``interval_factors``.

    ``rows`` are Gold's: entity_id, valid_time (the origin), event_timestamp and the features of the model's own set.
    Raises FeatureMismatchError, and NoPredictionError for the first curve that cannot be predicted.
    """
    raw = raw_model(model)
    for entity_id in rows["entity_id"].unique():
        raw.assembler.add_entity(use_case.entity(entity_id))
    heads = zip(rows["entity_id"], _moments(rows["valid_time"]), _moments(rows["event_timestamp"]), strict=True)
    origins = [
        _Origin(entity_id, origin, known_at, known_at, data_version, (), in_force(factors, entity_id, origin)[1])
        for entity_id, origin, known_at in heads
    ]
    inputs = raw.assembler.from_frame(rows)
    return map(_or_raise, _intraday(model, use_case, origins, inputs, version_reasons(model, use_case, "intraday")))


def prove_intraday(model: RegisteredModel, use_case: UseCase) -> None:
    """Score a made-up row, so that a model is warm before it serves. Raises whatever a broken model raises.

    The model may have other quantile levels than the catalogue: its curves name those that they lack.
    """
    raw, part, moment = raw_model(model), use_case.part("intraday"), datetime(2024, 1, 1, tzinfo=UTC)
    plan = FeaturePlan.of(use_case, "intraday")
    ones = {n: [1.0] * (part.horizons if n in plan.per_target else 1) for n in plan.names}
    row = FeatureRow(use_case.use_case, use_case.entities[0].id, moment, moment, raw.feature_set, ones)
    made = intraday_forecast(model, use_case, row, moment)
    if len(made.points) != part.horizons or any(len(p.values) != len(raw.levels) for p in made.points):
        raise NoPredictionError(f"{model.name} {model.version} does not make {part.horizons} points")


def _or_raise(made: Forecast | NoPredictionError) -> Forecast:
    if isinstance(made, NoPredictionError):
        raise made
    return made


def _intraday(
    model: RegisteredModel,
    use_case: UseCase,
    origins: Sequence[_Origin],
    inputs: ModelInputs,
    reasons: Sequence[str],
) -> Iterator[Forecast | NoPredictionError]:
    """The curve of each origin, without targets that began before it was issued, or the error why there is none."""
    raw, part = raw_model(model), use_case.part("intraday")
    quantiles = bounded(use_case, raw.quantiles(inputs, _origin_factors(raw, origins)))
    missing = raw.missing(inputs)
    for i, origin in enumerate(origins):
        passed = max(-((origin.valid_time - origin.issued_at) // part.resolution), 0)
        if passed >= part.horizons:
            text = f"the newest features of {origin.entity_id} are of {origin.valid_time.isoformat()}"
            yield NoPredictionError(text)
            continue
        lacking = [f"{MISSING}{v}" for v, where in missing.items() if where[i]]
        stale = [STALE_FEATURES] if origin.issued_at - origin.as_of > part.max_feature_age else []
        curve = Curve(
            entity_id=origin.entity_id,
            issued_at=origin.issued_at,
            newest_input_at=origin.as_of,
            data_version=origin.data_version,
            reasons=[*lacking, *stale, *origin.reasons, *reasons],
            times=[origin.valid_time + k * part.resolution for k in range(passed, part.horizons)],
            quantiles=quantiles[i, passed:],
            simulated=False,
        )
        try:
            yield curve.forecast(model, use_case, "intraday")
        except NoPredictionError as error:
            yield error


def _origin_factors(raw: ForecastModel, origins: Sequence[_Origin]) -> Floats | None:
    """The factors of each origin, (n, H, levels)."""
    if all(origin.factors is None for origin in origins):
        return None
    unscaled = np.ones((raw.layout.horizons, len(raw.levels)))
    return np.array([unscaled if origin.factors is None else origin.factors for origin in origins])


def _moments(times: pd.Series) -> list[datetime]:
    return list(pd.DatetimeIndex(times).to_pydatetime())
