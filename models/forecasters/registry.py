"""The interface of a forecaster, and the registry of forecasters by name.

To add one: write ``models/forecasters/<name>.py`` with a class under ``@forecaster``, and name it in the YAML.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from dualcast.arrays import Floats
from models.inputs import Layout, ModelInputs

# Member of a forecaster -> its weight; empty where weights are not fitted.
Weights = Mapping[str, float]


class ForecasterError(ValueError):
    """There is no such forecaster, or its parameters are wrong."""


class Forecaster(Protocol):
    """Predicts the target divided by the scale: one value for each row and horizon, (n, H)."""

    def fit(self, inputs: ModelInputs, target: Floats, threads: int, weights: Weights | None = None) -> None:
        """Fit on inputs and targets (n, H), NaN where unknown; ``weights`` were found by ``weigh`` of another fit."""

    def weigh(self, inputs: ModelInputs, target: Floats) -> Weights:
        """Fit the weights of the members on rows that ``fit`` was not given; use and return them."""

    def predict(self, inputs: ModelInputs) -> Floats:
        """(n, H) predictions; NaN where too little is known."""

    def save(self, folder: Path) -> None:
        """Write the fitted state into a folder."""

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote."""


Maker = Callable[[Layout, dict[str, Any]], Forecaster]
_MAKERS: dict[str, Maker] = {}


def forecaster(name: str) -> Callable[[Maker], Maker]:
    """Register a forecaster under the name of its file."""

    def register(maker: Maker) -> Maker:
        _MAKERS[name] = maker
        return maker

    return register


def make_forecaster(name: str, layout: Layout, params: dict[str, Any]) -> Forecaster:
    """A new forecaster, not fitted. Raises ForecasterError."""
    if name not in _MAKERS:
        if not name.isidentifier():
            raise ForecasterError(f"{name!r} is not a name of a forecaster")
        try:
            importlib.import_module(f"models.forecasters.{name}")
        except ModuleNotFoundError as error:
            raise ForecasterError(f"there is no models/forecasters/{name}.py: {error}") from error
    if name not in _MAKERS:
        raise ForecasterError(f"models/forecasters/{name}.py has no @forecaster({name!r})")
    try:
        return _MAKERS[name](layout, params)
    except ValidationError as error:
        raise ForecasterError(f"forecaster {name!r}: {error}") from error
