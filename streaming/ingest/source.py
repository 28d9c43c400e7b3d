"""What a source of observations is: columnar frames by time of publication, whatever they are read from.

A new source is one file with a class of this shape, and one line in ``sources.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import pandas as pd

from dualcast.observations import Extent


class Source(Protocol):
    """Observations of every entity of one use case, by time of publication."""

    @property
    def name(self) -> str:
        """What it is, for logs and for the memory of what was published."""

    @property
    def extent(self) -> Extent:
        """How far it reaches."""

    @property
    def notes(self) -> Sequence[str]:
        """What a user must know of it, such as what is missing or left out; one sentence each."""

    def observations(self, start: datetime, end: datetime) -> pd.DataFrame:
        """What became known in [start, end): a frame of COLUMNS in canonical order, empty where nothing did.

        Times are ``TIME_DTYPE``, resolution is ISO 8601 text, value a finite float. The same moment always gives the
        same rows, however the time is cut into windows.
        """
