"""Which features a member of an ensemble may know, so that a missing forecast of others degrades and does not break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.inputs import Layout, ModelInputs


@dataclass(frozen=True)
class FeatureSet:
    """Some features, and those among them without which a row must not be given to the member.

    ``fallback``: used only where no other set can say anything.
    """

    name: str
    features: tuple[str, ...]
    needs: tuple[str, ...]
    fallback: bool = False

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """From what ``vars`` gave and JSON kept."""
        return cls(str(stored["name"]), tuple(stored["features"]), tuple(stored["needs"]), bool(stored["fallback"]))

    def usable(self, layout: Layout, inputs: ModelInputs) -> NDArray[np.bool_]:
        """Where all that is needed is known, (n, H)."""
        known: NDArray[np.bool_] = np.isfinite(inputs.values[:, :, layout.columns(self.needs)]).all(axis=2)
        return known


def feature_sets(layout: Layout, inputs: ModelInputs) -> list[FeatureSet]:
    """All features; all without the reference forecast's; all without any optional variable's, as a fallback.

    Features that the training rows never know are left out, and sets that would be equal are made once.
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
    """Features whose share of unknown values is below a limit; by default those that are known at all."""
    unknown = np.isnan(inputs.values).mean(axis=(0, 1))
    return tuple(n for n, share in zip(layout.features, unknown.tolist(), strict=True) if share < most_unknown)


def mostly_known(layout: Layout, inputs: ModelInputs, features: FeatureSet, most_unknown: float) -> tuple[str, ...]:
    """The features of a set whose share of unknown values is below a limit where the set is usable.

    Elsewhere they do not count: a forecast of others that was away for a year is known whenever it is there.
    """
    usable = features.usable(layout, inputs)[:, :, np.newaxis]
    unknown = np.isnan(inputs.values).sum(axis=(0, 1), where=usable)
    limit = most_unknown * max(int(usable.sum()), 1)
    return tuple(name for name in features.features if unknown[layout.column[name]] < limit)


def _needs(layout: Layout, features: Sequence[str]) -> tuple[str, ...]:
    optional = {*layout.optional, *(() if layout.reference is None else (layout.reference,))}
    return tuple(n for v in optional for n in layout.at_target[v] if n in features)
