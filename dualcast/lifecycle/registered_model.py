"""A version of a registered model in memory, its aliases and its name, whichever registry keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import pandas as pd

from dualcast.catalogue import Path_

Alias = Literal["champion", "previous", "challenger"]

CHAMPION: Alias = "champion"
PREVIOUS: Alias = "previous"
CHALLENGER: Alias = "challenger"
ALIASES: tuple[Alias, ...] = (CHAMPION, PREVIOUS, CHALLENGER)

_PREFIX: dict[Path_, str] = {"day-ahead": "model_da", "intraday": "model_id"}


def model_name(use_case: str, path: Path_) -> str:
    """The name under which the model of a use case and path is registered.

    >>> model_name("de_load", "intraday")
    'model_id_de_load'
    """
    return f"{_PREFIX[path]}_{use_case}"


class Predictor(Protocol):
    """What a loaded model can do, whichever module loads it."""

    @property
    def features(self) -> tuple[str, ...]:
        """The features that a row must have, in order."""

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Quantile columns for rows of features."""


@dataclass(frozen=True)
class RegisteredModel:
    """A version of a registered model. ``raw`` is the object that its loader module made."""

    name: str
    version: str
    alias: Alias
    run_id: str
    raw: Predictor

    @property
    def features(self) -> tuple[str, ...]:
        """The features that a row must have, in order."""
        return self.raw.features

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Quantile columns for rows of features."""
        return self.raw.predict(rows)
