"""Garbage collection of a service: objects that were created at the start are left out of all later collections.

A full collection visits every object of the heap, and no thread runs until it ends. Most objects of a service exist
from its start (modules, schemas, routes, models) and are never garbage.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from functools import partial

import structlog

from services.background import Worker

_POLL_SECONDS = 0.2
# A request creates some hundred objects, nearly all without cycles: collections can be rarer than by default.
_YOUNG_OBJECTS = 10_000
_log = structlog.get_logger(__name__)


def freezing(started: Callable[[], bool]) -> Worker:
    """The thread that freezes the heap once ``started`` returns true."""
    return Worker("heap", partial(_freeze, started))


def _freeze(started: Callable[[], bool], stop: threading.Event) -> None:
    gc.freeze()  # the objects that the imports created
    while not started():
        if stop.wait(_POLL_SECONDS):
            return
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
    _log.info("heap frozen", objects=gc.get_freeze_count())
