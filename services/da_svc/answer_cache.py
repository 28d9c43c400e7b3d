"""Answers to repeated requests for published curves, made without another lookup of the curve.

An entry is dropped at its ``next_at``, when another curve can become the answer by time alone, and all are dropped
when a curve arrives. The age of the inputs and the response headers are computed for each response.
"""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import parse_qsl

from cachetools import LRUCache
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from dualcast.catalogue import Path_
from dualcast.timegrid import Clock
from services.access.call import current, note_answer
from services.api.answers import Answered, curve_response
from services.api.deps import ServiceDeps
from services.api.encoding import Shape
from services.api.queries import CurveKey, CurveQuery, DayAheadQuery
from services.book.curves import CurveCache
from services.http.problems import ProblemError

_MAX_ANSWERS = 4096
# A question that is longer than this is parsed each time: what a caller sends must not fill the memory.
_LONGEST_QUESTION = 500
# By the path above the entity: the forecast path, and the query without parameters.
_ROUTES: dict[str, tuple[Path_, CurveQuery]] = {
    "/api/v1/forecasts/day-ahead": ("day-ahead", DayAheadQuery()),
    "/api/v1/forecasts/intraday": ("intraday", CurveQuery()),
}


class AnswerCache:
    """Answers by the key of their curve. Belongs to one event loop."""

    def __init__(self, curves: CurveCache, clock: Clock) -> None:
        self._curves = curves
        self._clock = clock
        self._version = -1
        self._answers: LRUCache[CurveKey, Answered] = LRUCache(_MAX_ANSWERS)

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: CurveKey) -> Answered | None:
        """The answer for a key, if it is still valid."""
        version = self._curves.version
        if version != self._version:
            self._answers.clear()
            self._version = version
        found = self._answers.get(key)
        return found if found is not None and self._clock.now() < found.next_at else None

    def put(self, key: CurveKey, answered: Answered, version: int) -> None:
        """Keep an answer that was selected from the book at ``version``, unless a curve has arrived since."""
        if version == self._version == self._curves.version:
            self._answers[key] = answered


class Questions:
    """Parses what callers ask for. The same short question is parsed once."""

    def __init__(self, deps: ServiceDeps) -> None:
        self._deps = deps
        self._parsed: LRUCache[tuple[str, str, bytes, bytes], tuple[CurveKey, Shape]] = LRUCache(_MAX_ANSWERS)

    def __len__(self) -> int:
        return len(self._parsed)

    def parse(self, route: str, entity_id: str, query_string: bytes, accept: bytes) -> tuple[CurveKey, Shape] | None:
        """The curve that is asked for, and its shape; None if there is no such use case or it has no such path.

        Raises ValidationError, ProblemError 422.
        """
        sent = route, entity_id, query_string, accept
        found = self._parsed.get(sent)
        if found is None:
            path, query = _ROUTES[route]
            fields = dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))
            query = type(query).model_validate(fields)
            key = query.key(path, self._deps.settings.use_case, entity_id)
            use_case = self._deps.catalogue.get(key.use_case)
            if use_case is None or path not in use_case.paths:
                return None
            found = key, query.shape(use_case.part(path).resolution, accept.decode("latin-1") or None)
            if sum(map(len, sent)) <= _LONGEST_QUESTION:
                self._parsed[sent] = found
        return found


class CachedAnswers:
    """Middleware before the routes of published curves: it returns cached answers, after checking access.

    It leaves requests that a route would refuse to that route.
    """

    def __init__(self, app: ASGIApp, deps: ServiceDeps, answers: AnswerCache) -> None:
        self._app = app
        self._deps = deps
        self._answers = answers
        self._questions = Questions(deps)

    @classmethod
    def add_to(cls, app: FastAPI, deps: ServiceDeps, answers: AnswerCache) -> None:
        """Insert the middleware directly before the routes, after all other middleware."""
        app.user_middleware.append(Middleware(cls, deps=deps, answers=answers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        app = self._app
        if scope["type"] == "http" and scope["method"] == "GET":
            route, _, entity_id = scope["path"].rpartition("/")
            if route in _ROUTES:
                with suppress(ValidationError, ProblemError):
                    app = self._cached(scope, route, entity_id) or app
        await app(scope, receive, send)

    def _cached(self, scope: Scope, route: str, entity_id: str) -> ASGIApp | None:
        """The response from the cache, if any. Raises ValidationError, ProblemError 403 or 422."""
        headers = dict(reversed(scope["headers"]))  # of repeated headers the first, as FastAPI does
        question = self._questions.parse(route, entity_id, scope["query_string"], headers.get(b"accept", b""))
        answered = question and self._answers.get(question[0])
        if question is None or answered is None:
            return None
        (key, shape), if_none_match = question, headers.get(b"if-none-match")
        current().permit(key.use_case, entity_id)
        note_answer(answered.forecast)
        self._deps.archive.reads["memory", "hit"] += 1
        return curve_response(answered, shape, self._deps.clock, if_none_match and if_none_match.decode("latin-1"))
