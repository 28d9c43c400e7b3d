"""How intervals add up: the sum or the mean of their parts, as the catalogue says of each variable.

An interval is known only where each of its parts is: one absent value (NaN) makes the whole NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dualcast.arrays import Flags, Floats, Slots, Texts
from dualcast.catalogue import UseCase

Aggregate = Literal["mean", "sum"]


def are_sums(use_case: UseCase, variables: Texts | Sequence[str]) -> Flags:
    """Whether each of some variables of a use case adds up over time, (n,)."""
    sums = {name for name, variable in use_case.variables.items() if variable.aggregate == "sum"}
    return np.array([name in sums for name in variables], dtype=bool)


def aggregate(parts: Floats, rule: Aggregate) -> Floats:
    """Intervals from their parts, (..., parts) -> (...)."""
    total: Floats = parts.sum(axis=-1)
    return total / parts.shape[-1] if rule == "mean" else total


def aggregate_known(total: Floats, known: Slots, parts: Floats, rule: Aggregate, least: float) -> Floats:
    """Intervals of which some parts may be absent, from the sum of the known ones and how many these are, (n,).

    A mean is that of the known parts, where they are more than the share ``least`` of all; a sum needs all parts.
    NaN where too few are known.
    """
    whole = known >= parts
    if rule == "sum":
        return np.where(whole, total, np.nan)
    return np.where(whole | (known > least * parts), total / known, np.nan)


def coarsen(values: Floats, ratio: int, rule: Aggregate) -> Floats:
    """Consecutive fine slots to coarse ones, ``ratio`` at a time: (n * ratio,) -> (n,)."""
    return values if ratio == 1 else aggregate(values.reshape(-1, ratio), rule)


def share(values: Floats, parts: Slots | int, *, sums: Flags | bool) -> Floats:
    """The value of each part of intervals: a mean holds for each part, a sum is divided by the number of parts."""
    shared: Floats = values / np.where(sums, parts, 1)
    return shared


def over_intervals(values: Floats, start: int, begin: Slots, end: Slots, rule: Aggregate) -> Floats:
    """Intervals of the slots [begin, end), which may differ in length, from values of consecutive slots.

    ``start`` is the slot of the first value; slots outside are unknown. ``begin`` and ``end`` have one shape, the
    result's. Local days of 23, 24 and 25 hours are such intervals.
    """
    out = np.full(begin.shape, np.nan)
    length = end - begin
    inside = (begin >= start) & (end <= start + len(values)) & (length > 0)
    for parts in np.unique(length[inside]).tolist():
        chosen = inside & (length == parts)
        out[chosen] = aggregate(values[(begin[chosen] - start)[:, np.newaxis] + np.arange(parts)], rule)
    return out
