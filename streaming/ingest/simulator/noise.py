"""Seeded noise as a function of time: a moment has the same value in whichever window it is computed."""

from __future__ import annotations

from math import ceil, exp, sqrt
from zlib import crc32

import numpy as np
from scipy.signal import lfilter

from dualcast.arrays import Floats

_BLOCK = 4096
# After this many time constants a filter's start value has decayed to one part in 3,000.
_WARM_UP = 8


class Noise:
    """The named noise streams of one entity."""

    def __init__(self, entity_id: str, seed: int) -> None:
        self._entity = entity_id
        self._seed = seed

    def white(self, stream: str, first: int, last: int) -> Floats:
        """Independent standard normal values of the slots [first, last)."""
        return self._random(stream, first, last, uniform=False)

    def uniform(self, stream: str, first: int, last: int) -> Floats:
        """Independent values in [0, 1) of the slots [first, last)."""
        return self._random(stream, first, last, uniform=True)

    def wander(self, stream: str, first: int, last: int, memory: float) -> Floats:
        """A Gauss-Markov process of unit variance on the slots [first, last), with a time constant of ``memory`` slots.

        It is the stationary AR(1) process, an Ornstein-Uhlenbeck process sampled at equal steps. Bitwise equal for
        the same ``first``; values for another ``first`` differ by about 0.0003.
        """
        warm_up = ceil(_WARM_UP * memory)
        decay = exp(-1.0 / memory)
        shocks = self.white(stream, first - warm_up, last)
        path: Floats = lfilter([sqrt(1 - decay * decay)], [1.0, -decay], shocks)
        return path[warm_up:]

    def _random(self, stream: str, first: int, last: int, *, uniform: bool) -> Floats:
        begin, end = first // _BLOCK, -(-last // _BLOCK)
        name = crc32(f"{self._entity}/{stream}".encode())
        drawn = []
        for block in range(begin, end):
            rng = np.random.default_rng([self._seed, name, block])
            drawn.append(rng.random(_BLOCK) if uniform else rng.standard_normal(_BLOCK))
        return np.concatenate(drawn)[first - begin * _BLOCK : last - begin * _BLOCK]


def smoothed(values: Floats, memory: float) -> Floats:
    """An exponential moving average with a time constant of ``memory`` slots, starting at the first value."""
    decay = exp(-1.0 / memory)
    out: Floats = lfilter([1 - decay], [1.0, -decay], values, zi=[decay * values[0]])[0]
    return out
