"""Seeded noise that is a function of time: the same moment has the same value in whatever window it is asked for."""

from __future__ import annotations

from math import ceil, exp, sqrt
from zlib import crc32

import numpy as np
from scipy.signal import lfilter

from dualcast.arrays import Floats

_BLOCK = 4096
# A filter has forgotten its start, to one part in 3,000, after this many time constants.
_WARM_UP = 8


class Noise:
    """The streams of noise of one entity, each by its name."""

    def __init__(self, entity_id: str, seed: int) -> None:
        self._entity = entity_id
        self._seed = seed

    def white(self, stream: str, first: int, last: int) -> Floats:
        """Independent standard normal values of the slots [first, last)."""
        return self._drawn(stream, first, last, uniform=False)

    def uniform(self, stream: str, first: int, last: int) -> Floats:
        """Independent values in [0, 1) of the slots [first, last)."""
        return self._drawn(stream, first, last, uniform=True)

    def wander(self, stream: str, first: int, last: int, memory: float) -> Floats:
        """A Gauss-Markov process of unit variance on the slots [first, last), which forgets in ``memory`` slots.

        It is the stationary AR(1) process, an Ornstein-Uhlenbeck process at even times. Bitwise the same for the same
        ``first``; for another one equal to about 0.0003.
        """
        warm_up = ceil(_WARM_UP * memory)
        decay = exp(-1.0 / memory)
        shocks = self.white(stream, first - warm_up, last)
        path: Floats = lfilter([sqrt(1 - decay * decay)], [1.0, -decay], shocks)
        return path[warm_up:]

    def _drawn(self, stream: str, first: int, last: int, *, uniform: bool) -> Floats:
        begin, end = first // _BLOCK, -(-last // _BLOCK)
        name = crc32(f"{self._entity}/{stream}".encode())
        drawn = []
        for block in range(begin, end):
            rng = np.random.default_rng([self._seed, name, block])
            drawn.append(rng.random(_BLOCK) if uniform else rng.standard_normal(_BLOCK))
        return np.concatenate(drawn)[first - begin * _BLOCK : last - begin * _BLOCK]


def smoothed(values: Floats, memory: float) -> Floats:
    """An exponential mean of the past ``memory`` slots, which begins at the first value."""
    decay = exp(-1.0 / memory)
    out: Floats = lfilter([1 - decay], [1.0, -decay], values, zi=[decay * values[0]])[0]
    return out
