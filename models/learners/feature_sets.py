"""Feature sets for the members of an ensemble, so that a missing optional input degrades a forecast and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.inputs import Layout, ModelInputs


@dataclass(frozen=True)
class FeatureSet:
    """Some features, and those of them that must be known for the member to predict.

    ``fallback``: used only where no other set is usable.
    """

    name: str
    features: tuple[str, ...]
    needs: tuple[str, ...]
    fallback: bool = False

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """From ``vars`` of a feature set, read from JSON."""
        return cls(str(stored["name"]), tuple(stored["features"]), tuple(stored["needs"]), bool(stored["fallback"]))

    def usable(self, layout: Layout, inputs: ModelInputs) -> NDArray[np.bool_]:
        """Where all needed features are known, (n, H)."""
        known: NDArray[np.bool_] = np.isfinite(inputs.values[:, :, layout.columns(self.needs)]).all(axis=2)
        return known


def feature_sets(layout: Layout, inputs: ModelInputs) -> list[FeatureSet]:
    """All features; all without the reference forecast's; all without any optional variable's, as a fallback.

    Features that no training row knows are left out, and equal sets are made once.
    """
    known = known_features(layout, inputs)
    outside = () if layout.reference is None else (layout.reference,)
    wanted = (("all", (), False), ("own", outside, False), ("bare", (*outside, *layout.optional), True))
    sets: list[FeatureSet] = []
    for name, without, fallback in wanted:
        hidden = {feature for variable in without for feature in layout.readers[variable]}
        features = tuple(n for n in known if n not in hidden)
        if features and features not in [s.features for s in sets]:
            sets.append(FeatureSet(name, features, _needs(layout, features), fallback))
    return sets


def known_features(layout: Layout, inputs: ModelInputs, most_unknown: float = 1.0) -> tuple[str, ...]:
    """Features whose share of unknown values is below a limit; by default all that any row knows."""
    unknown = np.isnan(inputs.values).mean(axis=(0, 1))
    return tuple(n for n, share in zip(layout.features, unknown.tolist(), strict=True) if share < most_unknown)


def mostly_known(layout: Layout, inputs: ModelInputs, features: FeatureSet, most_unknown: float) -> tuple[str, ...]:
    """The features of a set whose share of unknown values is below a limit where the set is usable.

    Other rows do not count: a reference forecast that was missing for a year is known wherever the set is usable.
    """
    usable = features.usable(layout, inputs)[:, :, np.newaxis]
    unknown = np.isnan(inputs.values).sum(axis=(0, 1), where=usable)
    limit = most_unknown * max(int(usable.sum()), 1)
    return tuple(name for name in features.features if unknown[layout.column[name]] < limit)


def _needs(layout: Layout, features: Sequence[str]) -> tuple[str, ...]:
    optional = {*layout.optional, *(() if layout.reference is None else (layout.reference,))}
    return tuple(n for v in optional for n in layout.at_target[v] if n in features)
