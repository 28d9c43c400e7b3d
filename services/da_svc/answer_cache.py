"""Answers that are asked for again and again, remade from what the route found the first time.

Nothing is remembered that time alone could change, and nothing over the arrival of a curve. What is remade is the
age of the inputs and what a cache is told. It stands behind the gate, and whoever may not see the entity is sent on to
the route, which refuses.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from cachetools import LRUCache
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from dualcast.curves.forecast import Forecast
from dualcast.timegrid import Clock
from services.access.call import current, note_answer
from services.api.answers import Answered, one
from services.api.encoding import Shape
from services.book.curves import CurveBook
from services.da_svc.deps import DayAheadDeps
from services.http.problems import ProblemError

_MOST = 4096
_KEY = "remember"


@dataclass(frozen=True, slots=True)
class _Kept:
    answered: Answered
    shape: Shape


def remember(connection: HTTPConnection, answered: Answered, shape: Shape) -> None:
    """Called by a route: the same question has this answer until the next curve comes."""
    setattr(connection.state, _KEY, _Kept(answered, shape))


class Remembered:
    """Middleware in front of the routes of published curves."""

    def __init__(self, app: ASGIApp, curves: CurveBook, clock: Clock, reads: Counter[tuple[str, str]]) -> None:
        self._app = app
        self._reads = reads
        self._curves = curves
        self._clock = clock
        self._version = -1
        self._kept: LRUCache[tuple[str, bytes, bytes], _Kept] = LRUCache(_MOST)

    @classmethod
    def add_to(cls, app: FastAPI, deps: DayAheadDeps) -> None:
        """Put it right before the routes of an application, behind all other middleware."""
        app.user_middleware.append(Middleware(cls, curves=deps.curves, clock=deps.clock, reads=deps.archive.reads))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        question = scope["path"], scope["query_string"], headers.get(b"accept", b"")
        version = self._curves.version
        if version != self._version:
            self._kept.clear()
            self._version = version
        kept = self._kept.get(question)
        if kept is not None and self._clock.now() < kept.answered.next_at and _permitted(kept.answered.forecast):
            note_answer(kept.answered.forecast)
            self._reads["memory", "hit"] += 1
            sent = headers.get(b"if-none-match")
            answer = one(kept.answered, kept.shape, self._clock, None if sent is None else sent.decode("latin-1"))
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)
        found = scope.get("state", {}).get(_KEY)
        if found is not None and self._curves.version == version:
            self._kept[question] = found


def _permitted(forecast: Forecast) -> bool:
    try:
        current().permit(forecast.use_case, forecast.entity_id)
    except ProblemError:
        return False
    return True
