"""A trained model: from feature rows to quantiles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dualcast.arrays import Floats
from dualcast.catalogue import Entity
from dualcast.curves.quantiles import quantile_column
from models.forecasters.registry import Forecaster
from models.inputs import Assembler, Layout, ModelInputs, idle
from models.intervals.conformal import ConformalIntervals


@dataclass(frozen=True)
class ForecastModel:
    """A fitted forecaster with its prediction intervals.

    known: the features that were known in some training row
    feature_set: fingerprint of the definitions of the features
    """

    layout: Layout
    entities: tuple[Entity, ...]
    name: str
    params: dict[str, Any]
    forecaster: Forecaster
    intervals: ConformalIntervals
    known: tuple[str, ...]
    feature_set: str
    assembler: Assembler = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "assembler", Assembler(self.layout, self.entities))

    @property
    def features(self) -> tuple[str, ...]:
        """The features that a row must have, in order."""
        return self.layout.features

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantile levels, ascending."""
        return self.intervals.levels

    def quantiles(self, inputs: ModelInputs, factors: Floats | None = None) -> Floats:
        """Quantiles (n, H, levels) in the unit of the target; 0 where the target is 0 by plan, NaN where unknown.

        ``factors`` (n, 1 or H, levels) widen or narrow the intervals: see ``adaptive``.
        """
        point = self.forecaster.predict(inputs) * inputs.scale[:, np.newaxis]
        quantiles = self.intervals.apply(point, inputs.scale, inputs.clock, factors)
        quantiles[idle(self.layout, inputs)] = 0.0
        return quantiles

    def missing(self, inputs: ModelInputs) -> dict[str, NDArray[np.bool_]]:
        """Optional variable, or the reference -> the rows (n,) that lack it at some target though training knew it."""
        watched = dict.fromkeys(v for v in (self.layout.reference, *self.layout.optional) if v is not None)
        out = {}
        for variable in watched:
            names = [n for n in self.layout.at_target[variable] or self.layout.readers[variable] if n in self.known]
            if names:
                out[variable] = np.isnan(inputs.values[:, :, self.layout.columns(names)]).any(axis=(1, 2))
        return out

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Quantile columns (q10, q50, ...) for rows with entity_id, valid_time and the features.

        Values are numbers for a day-ahead model and arrays of (horizons,) for an intraday one.
        """
        quantiles = self.quantiles(self.assembler.from_frame(rows))
        single = self.layout.path == "day-ahead"
        columns = {
            quantile_column(level): quantiles[:, 0, i] if single else quantiles[:, :, i].tolist()
            for i, level in enumerate(self.levels)
        }
        return pd.DataFrame(columns, index=rows.index)
