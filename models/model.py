"""A trained model: layout, forecaster and intervals, as one folder of plain files, and as an MLflow pyfunc.

The folder holds JSON, NumPy arrays and LightGBM's text; loading it runs no stored code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dualcast.catalogue import Entity
from dualcast.curves.quantiles import quantile_column
from models.forecasters.registry import Forecaster, make_forecaster
from models.inputs import Assembler, Floats, Inputs, Layout, idle
from models.intervals.conformal import Intervals

_LEARNED = "forecaster"


@dataclass(frozen=True)
class Model:
    """What serves: from inputs to quantiles.

    known: the features that training rows ever knew; feature_set: fingerprint of the definitions they were made by
    """

    layout: Layout
    entities: tuple[Entity, ...]
    name: str
    params: dict[str, Any]
    forecaster: Forecaster
    intervals: Intervals
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
        """The quantile levels, rising."""
        return self.intervals.levels

    def quantiles(self, inputs: Inputs, factors: Floats | None = None) -> Floats:
        """(n, H, levels) in the unit of the target; 0 where nothing can happen, NaN where nothing can be said.

        ``factors`` (n, 1 or H, levels) widen or narrow the intervals: see ``adaptive``.
        """
        point = self.forecaster.predict(inputs) * inputs.scale[:, np.newaxis]
        quantiles = self.intervals.apply(point, inputs.scale, inputs.clock, factors)
        quantiles[idle(self.layout, inputs)] = 0.0
        return quantiles

    def missing(self, inputs: Inputs) -> dict[str, NDArray[np.bool_]]:
        """Optional variable, or the reference -> which rows (n,) lack it at a target though training had it."""
        watched = dict.fromkeys(v for v in (self.layout.reference, *self.layout.optional) if v is not None)
        out = {}
        for variable in watched:
            names = [n for n in self.layout.at_target[variable] or self.layout.readers[variable] if n in self.known]
            if names:
                out[variable] = np.isnan(inputs.values[:, :, self.layout.columns(names)]).any(axis=(1, 2))
        return out

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The pyfunc interface: rows with entity_id, valid_time and features as q10, q50, ...

        Numbers for a day-ahead model, arrays of (horizons,) for an intraday one. ``params`` is MLflow's and not used.
        """
        del params
        quantiles = self.quantiles(self.assembler.from_frame(model_input))
        single = self.layout.path == "day-ahead"
        columns = {
            quantile_column(level): quantiles[:, 0, i] if single else quantiles[:, :, i].tolist()
            for i, level in enumerate(self.levels)
        }
        return pd.DataFrame(columns, index=model_input.index)

    def save(self, folder: Path) -> None:
        """Write the model into a folder, which must not exist yet."""
        (folder / _LEARNED).mkdir(parents=True)
        facts = {
            "layout": self.layout.model_dump(mode="json"),
            "entities": [e.model_dump(mode="json") for e in self.entities],
            "name": self.name,
            "params": self.params,
            "known": self.known,
            "feature_set": self.feature_set,
        }
        (folder / "model.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        self.intervals.save(folder / "intervals.npz")
        self.forecaster.save(folder / _LEARNED)


def load_model(folder: Path) -> Model:
    """Read what ``Model.save`` wrote."""
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    layout = Layout.model_validate(facts["layout"])
    learned = make_forecaster(facts["name"], layout, facts["params"])
    learned.load(folder / _LEARNED)
    return Model(
        layout=layout,
        entities=tuple(Entity.model_validate(e) for e in facts["entities"]),
        name=facts["name"],
        params=facts["params"],
        forecaster=learned,
        intervals=Intervals.load(folder / "intervals.npz"),
        known=tuple(facts["known"]),
        feature_set=facts["feature_set"],
    )


def _load_pyfunc(path: str) -> Model:
    """MLflow's hook: called with the folder that was logged."""
    return load_model(Path(path))
