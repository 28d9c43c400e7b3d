"""Streaming features: chunks of values compared with one value at a time.

Both process the same synthetic history in one process, in turn; the median of several rounds is reported.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks.results import Row
from dualcast.catalogue import load_use_case
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.features.intraday.state import IntradayState
from dualcast.features.intraday.update import Update
from dualcast.timegrid import micros

_DAYS = 120
_CHUNK = 2000
_ROUNDS = 5


def measure() -> list[Row]:
    """Observations per second of the kernel's streaming features."""
    use_case = load_use_case("de_load", Path(__file__).parent.parent / "use_cases")
    plan = IntradayPlan(use_case, use_case.entities[0])
    update = _history(plan)
    few = _cut(update, 0, 2000)
    chunked = [_seconds(plan, update, _CHUNK) / len(update.slot) for _ in range(_ROUNDS)]
    single = [_seconds(plan, few, 1) / len(few.slot) for _ in range(_ROUNDS)]
    return [
        Row(
            "streaming features, chunks of 2,000",
            1 / median(chunked),
            "observations/s",
            median(single) / median(chunked),
        ),
        Row("streaming features, one at a time", 1 / median(single), "observations/s", 1.0),
    ]


def _history(plan: IntradayPlan) -> Update:
    """Target values only, one for each quarter-hour."""
    count = _DAYS * 96
    first = micros(datetime(2022, 1, 1, tzinfo=UTC)) // (plan.features.step * 10**6)
    slot = first + np.arange(count)
    value = 50000 * (1 + 0.2 * np.sin(np.arange(count) / 96 * 2 * np.pi))
    ones = np.ones(count, dtype=np.int64)
    return Update(plan.target * ones, slot, ones, value, (slot + 1) * plan.features.step * 10**6)


def _cut(update: Update, begin: int, end: int) -> Update:
    return Update(*(getattr(update, name)[begin:end] for name in ("variable", "slot", "span", "value", "published")))


def _seconds(plan: IntradayPlan, update: Update, chunk: int) -> float:
    state = IntradayState(plan)
    begin = perf_counter()
    for at in range(0, len(update.slot), chunk):
        state.apply(_cut(update, at, at + chunk))
    return perf_counter() - begin
