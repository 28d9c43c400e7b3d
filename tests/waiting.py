"""Wait for a condition: poll it until it holds or a timeout expires."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], seconds: float, every: float = 0.1) -> float:
    """Poll a condition until it holds and return the elapsed seconds. Fails after ``seconds``."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, f"the condition did not hold within {seconds:.0f} s"
        time.sleep(every)
    return time.monotonic() - begin
