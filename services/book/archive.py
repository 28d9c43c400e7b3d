"""Curves that are not in memory: read from the levels behind it, the quickest first, together for all who ask at once.

An archived question is answered from a book of its own, by the same rules as any other from the book in memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Self, TypeVar

import structlog
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from sqlalchemy import Engine

from dualcast.adapters.store.forecasts import IssueDay, issued_on
from dualcast.adapters.store.shared_days import SharedDays
from dualcast.catalogue import Path_, UseCase
from dualcast.curves.forecast import Forecast
from services.book.curves import CurveBook
from services.circuits import Circuits, Server
from services.http.problems import ProblemError

# Redis has shorter timeouts of its own, of which one read may take several.
_REDIS_SECONDS, _STORE_SECONDS = 1, 2
# A level that hangs keeps its threads, while those who asked have gone: each level has its own.
_THREADS = 4
_log = structlog.get_logger(__name__)
T = TypeVar("T")
Days = Mapping[IssueDay, Sequence[Forecast]]


@dataclass(frozen=True, slots=True)
class Issues:
    """The curves of one path and entity that were issued on some days, UTC, from the first to the last."""

    use_case: str
    path: Path_
    entity_id: str
    first: date
    last: date

    @classmethod
    def between(cls, use_case: str, path: Path_, entity_id: str, start: datetime, end: datetime) -> Self:
        """Those from one moment to another. Raises OverflowError outside the calendar."""
        return cls(use_case, path, entity_id, start.astimezone(UTC).date(), end.astimezone(UTC).date())

    def days(self) -> Iterator[IssueDay]:
        """Each of the days."""
        for i in range((self.last - self.first).days + 1):
            yield IssueDay(self.use_case, self.path, self.entity_id, self.first + timedelta(days=i))


class NotKeptError(ProblemError):
    """A problem 404, unless one of the curves that were issued on some days answers after all."""

    def __init__(self, detail: str, issues: Issues) -> None:
        super().__init__(404, "no-forecast", detail)
        self.issues = issues


@dataclass(frozen=True)
class Level:
    """Somewhere to read days of curves from; ``fill`` tells it what was found behind it.

    Both raise OSError where the server does not answer; it is waited for ``seconds``.
    """

    server: Server
    seconds: float
    read: Callable[[Collection[IssueDay]], Days]
    fill: Callable[[Days], None] = lambda _: None


def levels_of(redis: str, store: Engine) -> list[Level]:
    """Redis, and behind it the store, which has everything that was published."""
    shared = SharedDays(redis)
    return [
        Level("redis", _REDIS_SECONDS, shared.read, shared.fill),
        Level("store", _STORE_SECONDS, lambda days: issued_on(store, days, _STORE_SECONDS)),
    ]


class Archive:
    """Answers from memory where it can, and else from the levels behind it. Belongs to one event loop.

    ``reads`` counts by level and outcome: answers from memory, and days of curves behind it.
    """

    def __init__(self, catalogue: Mapping[str, UseCase], circuits: Circuits, levels: Sequence[Level] = ()) -> None:
        self._catalogue = catalogue
        self._circuits = circuits
        self._levels = levels
        self._pools = {level.server: ThreadPoolExecutor(_THREADS, level.server) for level in levels}
        self._loading: dict[tuple[Issues, ...], asyncio.Task[CurveBook]] = {}
        self.reads: Counter[tuple[str, str]] = Counter()
        metrics.get_meter(__name__).create_observable_counter(
            "dualcast.cache.reads", [self._observe], description="reads of published curves, by level and outcome"
        )

    async def answer(self, memory: CurveBook, question: Callable[[CurveBook], T]) -> T:
        """What memory answers, or else the archive; memory makes nobody wait.

        Raises what the question raises, and ProblemError 503 where a level that may have it is away.
        """
        try:
            found = question(memory)
        except NotKeptError as missed:
            self.reads["memory", "miss"] += 1
            return question(await self.book([missed.issues]))
        self.reads["memory", "hit"] += 1
        return found

    async def answers(self, memory: CurveBook, questions: Sequence[Callable[[CurveBook], T]]) -> list[T | ProblemError]:
        """The same of several questions, whose archived curves are read at once."""
        found = [_attempt(question, memory) for question in questions]
        missed = {i: answer.issues for i, answer in enumerate(found) if isinstance(answer, NotKeptError)}
        self.reads["memory", "hit"] += len(found) - len(missed)
        self.reads["memory", "miss"] += len(missed)
        if missed:
            try:
                book = await self.book(list(missed.values()))
            except ProblemError as error:
                return [error if i in missed else answer for i, answer in enumerate(found)]
            return [_attempt(questions[i], book) if i in missed else answer for i, answer in enumerate(found)]
        return found

    async def book(self, wanted: Sequence[Issues]) -> CurveBook:
        """A book of what was issued on some days. Those who ask for the same at once share one.

        Raises ProblemError 503 where a level that may have it is away.
        """
        asked = tuple(wanted)
        loading = self._loading.get(asked)
        if loading is None:
            loading = self._loading[asked] = asyncio.create_task(self._load(asked))
            loading.add_done_callback(lambda _: self._loading.pop(asked, None))
        return await asyncio.shield(loading)  # one who leaves spoils it for no other

    async def _load(self, asked: tuple[Issues, ...]) -> CurveBook:
        missing = {day for issues in asked for day in issues.days()}
        curves: list[Forecast] = []
        away = False
        for depth, level in enumerate(self._levels):
            try:
                found = await self._ask(level, partial(level.read, missing))
            except OSError:
                away = True
                self.reads[level.server, "away"] += len(missing)
                continue
            missing = missing - found.keys()
            self.reads[level.server, "hit"] += len(found)
            self.reads[level.server, "miss"] += len(missing)
            curves += [curve for issued in found.values() for curve in issued]
            for upper in self._levels[:depth]:
                with suppress(OSError):
                    await self._ask(upper, partial(upper.fill, found))
            if not missing:
                break
        if missing and away:
            text = "curves of then are no longer in memory, and the store does not answer"
            raise ProblemError(503, "archive-away", text, {"Retry-After": "5"})
        return await asyncio.to_thread(_book_of, self._catalogue, curves)

    async def _ask(self, level: Level, work: Callable[[], T]) -> T:
        """Raises OSError."""
        with self._circuits.asking(level.server):
            working = asyncio.get_running_loop().run_in_executor(self._pools[level.server], work)
            return await asyncio.wait_for(working, level.seconds)

    def _observe(self, _: CallbackOptions) -> list[Observation]:
        return [
            Observation(count, {"level": level, "outcome": outcome})
            for (level, outcome), count in list(self.reads.items())
        ]


def _attempt(question: Callable[[CurveBook], T], curves: CurveBook) -> T | ProblemError:
    try:
        return question(curves)
    except ProblemError as error:
        return error


def _book_of(catalogue: Mapping[str, UseCase], curves: Sequence[Forecast]) -> CurveBook:
    book = CurveBook(catalogue)
    for curve in curves:
        try:
            book.add(curve)
        except (LookupError, ValueError) as error:
            _log.warning("archived curve refused", entity_id=curve.entity_id, error=repr(error)[:200])
    return book
