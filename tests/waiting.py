"""Waiting for what happens elsewhere: asked again and again, until it is so or has taken too long."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], seconds: float, every: float = 0.1) -> float:
    """The seconds until something is so. Fails where it is not so within ``seconds``."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, "waited in vain"
        time.sleep(every)
    return time.monotonic() - begin
