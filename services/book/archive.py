"""Curves that are no longer in memory: read from Redis, then from the SQL store, into a temporary curve book.

A function that selects a curve from the book in memory can therefore select an archived one without a change.
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

from dualcast.adapters.store.engine import Engine
from dualcast.adapters.store.forecasts import IssueDay, read_days
from dualcast.adapters.store.redis_curves import RedisCurves
from dualcast.catalogue import Path_, UseCase
from dualcast.curves.forecast import Forecast
from dualcast.namespace import NO_NAMESPACE, Namespace
from services.book.curves import CurveCache
from services.circuits import Circuits, Server

# Redis has shorter timeouts of its own, of which one read may take several.
_REDIS_SECONDS, _STORE_SECONDS = 1, 2
# A read that hangs occupies its thread after its request has timed out, so each level has its own pool.
_THREADS = 4
# Reads that wait for a thread of their level. Further ones are refused: one caller's must not take the places of
# requests that memory can answer.
_MOST_WAITING = 8
_log = structlog.get_logger(__name__)
T = TypeVar("T")
Days = Mapping[IssueDay, Sequence[Forecast]]


@dataclass(frozen=True, slots=True)
class Issues:
    """The curves of one path and entity that were issued from the first to the last UTC day."""

    use_case: str
    path: Path_
    entity_id: str
    first: date
    last: date

    @classmethod
    def between(cls, use_case: str, path: Path_, entity_id: str, start: datetime, end: datetime) -> Self:
        """The days that hold ``start`` to ``end``."""
        return cls(use_case, path, entity_id, start.astimezone(UTC).date(), end.astimezone(UTC).date())

    def days(self) -> Iterator[IssueDay]:
        """Each of the days."""
        for i in range((self.last - self.first).days + 1):
            yield IssueDay(self.use_case, self.path, self.entity_id, self.first + timedelta(days=i))


class NoCurveError(LookupError):
    """A book holds no curve that was requested. If one exists, it was issued on the days of ``issues``."""

    def __init__(self, detail: str, issues: Issues) -> None:
        super().__init__(detail)
        self.issues = issues


class ArchiveUnavailableError(ConnectionError):
    """A level that may hold the curve did not respond."""


class BusyError(OSError):
    """Too many reads wait for a level."""


@dataclass(frozen=True)
class Level:
    """A source of archived curves. ``fill`` receives what was found in the levels behind this one.

    Both functions raise OSError if the server does not respond; a read is abandoned after ``seconds``.
    """

    server: Server
    seconds: float
    read: Callable[[Collection[IssueDay]], Days]
    fill: Callable[[Days], None] = lambda _: None


def levels_of(redis: str, store: Engine, names: Namespace = NO_NAMESPACE) -> list[Level]:
    """Redis as a cache of the SQL store, which holds every published curve."""
    shared = RedisCurves(redis, names)
    return [
        Level("redis", _REDIS_SECONDS, shared.read, shared.fill),
        Level("store", _STORE_SECONDS, lambda days: read_days(store, days, _STORE_SECONDS)),
    ]


class Archive:
    """Runs a selection on the book in memory and, if it finds no curve there, on archived curves.

    Belongs to one event loop. ``reads`` counts by level and outcome: selections from memory, and issue days read from
    the other levels.
    """

    def __init__(self, catalogue: Mapping[str, UseCase], circuits: Circuits, levels: Sequence[Level] = ()) -> None:
        self._catalogue = catalogue
        self._circuits = circuits
        self._levels = levels
        self._pools = {level.server: ThreadPoolExecutor(_THREADS, level.server) for level in levels}
        self._threads = {level.server: asyncio.Semaphore(_THREADS) for level in levels}
        self._waiting: Counter[Server] = Counter()
        self._loading: dict[tuple[Issues, ...], asyncio.Task[CurveCache]] = {}
        self.reads: Counter[tuple[str, str]] = Counter()
        metrics.get_meter(__name__).create_observable_counter(
            "dualcast.cache.reads", [self._observe], description="reads of published curves, by level and outcome"
        )

    async def select(self, memory: CurveCache, selection: Callable[[CurveCache], T]) -> T:
        """The result of ``selection`` on memory or, after a NoCurveError, on archived curves.

        Raises what ``selection`` raises, and ArchiveUnavailableError.
        """
        try:
            found = selection(memory)
        except NoCurveError as missed:
            self.reads["memory", "miss"] += 1
            return selection(await self.book([missed.issues]))
        self.reads["memory", "hit"] += 1
        return found

    async def select_all(
        self, memory: CurveCache, selections: Sequence[Callable[[CurveCache], T]]
    ) -> list[T | NoCurveError | ArchiveUnavailableError]:
        """The results of several selections, in order. Archived curves of all of them are read together.

        Raises what a selection raises besides NoCurveError.
        """
        found: list[T | NoCurveError | ArchiveUnavailableError] = [_attempt(select, memory) for select in selections]
        missed = {i: error.issues for i, error in enumerate(found) if isinstance(error, NoCurveError)}
        self.reads["memory", "hit"] += len(found) - len(missed)
        self.reads["memory", "miss"] += len(missed)
        if not missed:
            return found
        try:
            book = await self.book(list(missed.values()))
        except ArchiveUnavailableError as error:
            return [error if i in missed else result for i, result in enumerate(found)]
        return [_attempt(selections[i], book) if i in missed else result for i, result in enumerate(found)]

    async def book(self, wanted: Sequence[Issues]) -> CurveCache:
        """A book of the curves that were issued on some days. Equal concurrent calls share one read.

        Raises ArchiveUnavailableError.
        """
        key = tuple(wanted)
        loading = self._loading.get(key)
        if loading is None:
            loading = self._loading[key] = asyncio.create_task(self._load(key))
            loading.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(loading)  # a cancelled request must not cancel the read of the others

    async def _load(self, wanted: tuple[Issues, ...]) -> CurveCache:
        missing = {day for issues in wanted for day in issues.days()}
        curves: list[Forecast] = []
        failed = False
        for depth, level in enumerate(self._levels):
            try:
                found = await self._call(level, partial(level.read, missing))
            except OSError:
                failed = True
                self.reads[level.server, "unavailable"] += len(missing)
                continue
            missing = missing - found.keys()
            self.reads[level.server, "hit"] += len(found)
            self.reads[level.server, "miss"] += len(missing)
            curves += [curve for issued in found.values() for curve in issued]
            await self._fill(self._levels[:depth], found)
            if not missing:
                break
        if missing and failed:
            raise ArchiveUnavailableError("the curve is no longer in memory, and the store does not respond")
        return await asyncio.to_thread(_book_of, self._catalogue, curves)

    async def _fill(self, levels: Sequence[Level], found: Days) -> None:
        for level in levels:
            with suppress(OSError):
                await self._call(level, partial(level.fill, found))

    async def _call(self, level: Level, work: Callable[[], T]) -> T:
        """Do work in a thread of a level; the wait for the thread is no failure of its server. Raises OSError."""
        server, threads = level.server, self._threads[level.server]
        if self._waiting[server] >= _MOST_WAITING:
            raise BusyError(f"too many reads from {server}")
        self._waiting[server] += 1
        try:
            await threads.acquire()
        finally:
            self._waiting[server] -= 1
        try:
            with self._circuits.calling(server):
                working = asyncio.get_running_loop().run_in_executor(self._pools[server], work)
                return await asyncio.wait_for(working, level.seconds)
        finally:
            threads.release()

    def _observe(self, _: CallbackOptions) -> list[Observation]:
        return [
            Observation(count, {"level": level, "outcome": outcome})
            for (level, outcome), count in list(self.reads.items())
        ]


def _attempt(selection: Callable[[CurveCache], T], curves: CurveCache) -> T | NoCurveError:
    try:
        return selection(curves)
    except NoCurveError as error:
        return error


def _book_of(catalogue: Mapping[str, UseCase], curves: Sequence[Forecast]) -> CurveCache:
    book = CurveCache(catalogue)
    for curve in curves:
        try:
            book.add(curve)
        except (LookupError, ValueError) as error:
            _log.warning("archived curve refused", entity_id=curve.entity_id, error=repr(error)[:200])
    return book
