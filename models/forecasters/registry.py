"""What a forecaster is, and how one is found by name.

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

# Part of a forecaster -> how much it counts; empty where there is nothing to weigh.
Weights = Mapping[str, float]


class ForecasterError(ValueError):
    """There is no such forecaster, or its parameters are wrong."""


class Forecaster(Protocol):
    """Predicts the target divided by the scale: one value for each row and horizon, (n, H)."""

    def fit(self, inputs: ModelInputs, target: Floats, threads: int, weights: Weights | None = None) -> None:
        """Learn from inputs and targets (n, H), NaN where unknown; ``weights`` are those of a twin, see ``weigh``."""

    def weigh(self, inputs: ModelInputs, target: Floats) -> Weights:
        """How much each part should count, judged on rows that ``fit`` never saw; used from now on."""

    def predict(self, inputs: ModelInputs) -> Floats:
        """(n, H) predictions; NaN where nothing can be said."""

    def save(self, folder: Path) -> None:
        """Write all that was learned into a folder."""

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote."""


Maker = Callable[[Layout, dict[str, Any]], Forecaster]
_MAKERS: dict[str, Maker] = {}


def forecaster(name: str) -> Callable[[Maker], Maker]:
    """Enter a forecaster under the name of its file."""

    def enter(maker: Maker) -> Maker:
        _MAKERS[name] = maker
        return maker

    return enter


def make_forecaster(name: str, layout: Layout, params: dict[str, Any]) -> Forecaster:
    """A forecaster that has learned nothing yet. Raises ForecasterError."""
    if name not in _MAKERS:
        if not name.isidentifier():
            raise ForecasterError(f"{name!r} is no name of a forecaster")
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
